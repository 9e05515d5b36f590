package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore/blockfile"
	"mailproxy/spool/server"
)

// maxChanges and maxWeight bound what one transaction has (see store.Tx.Set):
// changes, and the keys and small values of all of them, about.
const (
	maxChanges = 512
	maxWeight  = 256 << 10
)

// A change is work for the writer.
type change struct {
	run    func(w *batch) error
	weight int
	done   chan error // takes one
}

// A batch is the transaction in which the writer makes changes, and what they make
// of the state in memory.
type batch struct {
	*store.Tx
	s      *Store
	spools map[spool.ID]*spoolRecord // changed in this batch
	stats  server.Stats
	oldest time.Time // of the blocks that it appends; zero: none
	placed []blockfile.Place
	freed  []blockfile.Place
}

// smallChange is the weight of most changes, in bytes.
const smallChange = 1 << 10

// errAlone tells the writer that a change failed after it had written something:
// the others must be made without it.
var errAlone = errors.New("change must be made alone")

// update lets the writer run fn, together with others, and returns when what it
// did is on disk. fn is the only one that runs; it may run more than once, and
// must write either everything or, with an error, nothing, or the batch is
// begun anew without it. It must not write more than weight bytes by much.
func (s *Store) update(ctx context.Context, weight int, fn func(w *batch) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &change{run: fn, weight: weight, done: make(chan error, 1)}
	select {
	case <-s.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case s.changes <- c:
	}
	// The change is made whether or not the caller still waits. Not to wait would
	// leave them without knowing.
	select {
	case err := <-c.done:
		return err
	case <-s.closing:
	}
	s.writer.Wait()
	select {
	case err := <-c.done:
		return err
	default:
		return ErrClosed
	}
}

// write is the writer.
func (s *Store) write() {
	var next *change // taken, and too heavy for the batch before
	for {
		var changes []*change
		weight := 0
		take := func(c *change) bool {
			if len(changes) > 0 && weight+c.weight > maxWeight {
				next = c
				return false
			}
			weight += c.weight
			changes = append(changes, c)
			return len(changes) < maxChanges
		}
		if next != nil {
			c := next
			next = nil
			take(c)
		} else {
			select {
			case c := <-s.changes:
				take(c)
			case <-s.closing:
				// What came before goes first; whoever comes now is told.
				select {
				case c := <-s.changes:
					take(c)
				default:
					return
				}
			}
		}
	more:
		for {
			select {
			case c := <-s.changes:
				if !take(c) {
					break more
				}
			default:
				break more
			}
		}
		s.commit(changes)
	}
}

// commit makes changes in one transaction and answers them.
func (s *Store) commit(changes []*change) {
	if err := s.ready(); err != nil {
		for _, c := range changes {
			c.done <- err
		}
		return
	}
	results := make([]error, len(changes))
	var b *batch
	ran := false // all of them, and what they wrote is to be committed
	err := s.db.Update(func(tx *store.Tx) error {
		s.mu.RLock()
		b = &batch{Tx: tx, s: s, spools: make(map[spool.ID]*spoolRecord), stats: s.stats}
		s.mu.RUnlock()
		for i, c := range changes {
			writes := tx.Writes()
			if results[i] = c.run(b); results[i] != nil && tx.Writes() != writes {
				return fmt.Errorf("%w: %w", errAlone, results[i])
			}
		}
		for id, r := range b.spools {
			r.Format = recordFormat
			if err := put(tx, key('s', id[:]), r); err != nil {
				return err
			}
		}
		// The blocks are on disk before anything says that they are.
		if err := s.files.Sync(); err != nil {
			return store.FullOr(err)
		}
		ran = true
		return nil
	})
	if err == nil && s.fault != nil {
		err = s.fault()
	}
	if errors.Is(err, errAlone) && len(changes) > 1 {
		for _, c := range changes {
			s.commit([]*change{c})
		}
		return
	}
	switch {
	case err == nil:
		s.mu.Lock()
		for id, r := range b.spools {
			s.spools[id] = r
		}
		s.stats = b.stats
		s.mu.Unlock()
		if !b.oldest.IsZero() {
			s.ages.added(b.oldest)
		}
		s.usage.changed(b.placed, b.freed)
	case ran:
		// Nobody knows what of it is on disk: nothing more is changed before what
		// is there was read.
		s.unsure = fmt.Errorf("an earlier change failed: %w", err)
		s.log.Error("spool store: a change failed; none is made until what is on disk was read", "err", err)
	}
	for i, c := range changes {
		if results[i] == nil || errors.Is(err, errAlone) {
			results[i] = err
		}
		c.done <- results[i]
	}
}

// ready says whether changes can be made. After one that failed it finds out how
// things are on disk: what was refused may be there all the same, wholly, and is
// then as if its answer had been lost.
func (s *Store) ready() error {
	if err := s.db.Brink(); err != nil {
		return err
	}
	if s.unsure == nil {
		return nil
	}
	if time.Since(s.tried) < time.Second {
		return s.unsure
	}
	s.tried = time.Now()
	// That this comes to disk means that all before it has.
	err := s.db.Update(func(tx *store.Tx) error { return tx.Set(layoutKey, number(layout)) })
	if err == nil && s.fault != nil {
		err = s.fault()
	}
	if err == nil {
		err = s.load()
	}
	if err == nil {
		err = s.recount()
	}
	if err != nil {
		return fmt.Errorf("%w; and now: %w", s.unsure, err)
	}
	s.unsure = nil
	s.log.Info("spool store: changes can be made again")
	return nil
}

// Ready says why the store cannot change anything now, if so: its disk is full, or
// failed. It goes on by itself when it can.
func (s *Store) Ready(ctx context.Context) error {
	return s.update(ctx, 0, func(*batch) error { return nil })
}

// recount counts the blocks in files anew. Only the writer may call it. Until it is
// done, the old count stays, and no file goes.
func (s *Store) recount() error {
	<-s.counted
	s.counting.Lock()
	defer s.counting.Unlock()
	return s.db.View(func(tx *store.Tx) error {
		found, err := count(context.Background(), tx)
		if err == nil {
			s.usage.replace(found)
		}
		return err
	})
}

// spool returns a copy of a spool's record, or ErrNoSpool.
func (b *batch) spool(id spool.ID) (*spoolRecord, error) {
	r := b.spools[id]
	if r == nil {
		if r = b.s.summary(id); r == nil {
			return nil, server.ErrNoSpool
		}
	}
	c := *r
	return &c, nil
}

// setSpool has the batch write r, which must not be changed any more. It is not
// counted as a write: whoever calls it must not fail.
func (b *batch) setSpool(id spool.ID, r *spoolRecord) { b.spools[id] = r }

// summary returns what is known of a spool, or nil. It must not be changed.
func (s *Store) summary(id spool.ID) *spoolRecord {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.spools[id]
}

// load reads what is kept in memory.
func (s *Store) load() error {
	spools, stats := make(map[spool.ID]*spoolRecord), server.Stats{}
	var floor uint64
	err := s.db.View(func(tx *store.Tx) error {
		generation, err := getGeneration(tx)
		if err != nil {
			return err
		}
		floor = generation << generationShift
		err = tx.Iterate(store.Range{Prefix: []byte("s"), Values: true}, func(i store.Item) error {
			raw, err := i.Value()
			if err != nil {
				return err
			}
			r, err := decodeSpool(raw)
			if err != nil || len(i.Key) != 1+spool.IDSize {
				return errors.Join(fmt.Errorf("spool %x", i.Key[1:]), err)
			}
			spools[spool.ID(i.Key[1:])] = r
			stats.Blocks += r.blocks()
			stats.Remembered += r.remembered()
			switch {
			case r.Revoked:
				stats.Revoked++
			case r.Suspended:
				stats.Suspended++
				fallthrough
			default:
				stats.Names++
			}
			if !r.Erased {
				stats.Spools++
			}
			return nil
		})
		if err != nil {
			return err
		}
		stats.Bytes = int64(stats.Blocks) * spool.BlockSize
		if stats.LogSize, err = logSize(tx); err != nil {
			return err
		}
		stats.Invites, err = openInvites(tx)
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spools, s.stats = spools, stats
	if s.floor != floor {
		s.floor = floor // when it is opened, and never after: only Restore changes it
	}
	return nil
}
