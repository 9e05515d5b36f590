package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore/blockfile"
)

// What the files may have too much.
const (
	// fileSlots is how many blocks a file has: 64 MiB of them.
	fileSlots = 64 << 20 / spool.BlockSize
	// slackBytes of removed blocks are no reason to move others.
	slackBytes = 256 << 20
	// collectEvery is how often it is looked at.
	collectEvery = 2 * time.Second
	// moves is how many blocks one change moves at most.
	moves = 64
)

// usage counts the blocks in each file that are present.
type usage struct {
	mu      sync.Mutex // guards what is below
	live    map[uint32]int64
	damaged map[uint32]bool // files that have a block that cannot be moved
}

func (u *usage) changed(placed, freed []blockfile.Place) {
	if len(placed)+len(freed) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range placed {
		u.live[p.File]++
	}
	for _, p := range freed {
		u.live[p.File]--
	}
}

func (u *usage) of(n uint32) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.live[n]
}

// count counts the blocks that a snapshot has, by file.
func count(ctx context.Context, tx *store.Tx) (map[uint32]int64, error) {
	found := make(map[uint32]int64)
	n := 0
	err := tx.Iterate(store.Range{Prefix: []byte("m"), Values: true}, func(i store.Item) error {
		raw, err := i.Value()
		if err != nil {
			return err
		}
		m, err := decodeMeta(raw)
		if err != nil {
			return err
		}
		found[m.place.File]++
		if n++; n%1024 == 0 {
			return ctx.Err()
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count blocks in files: %w", err)
	}
	return found, nil
}

// add adds what a snapshot had to what has changed since it was taken. While it was
// counted, blocks may have been removed, so that there were less than none.
func (u *usage) add(found map[uint32]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for file, n := range found {
		u.live[file] += n
	}
}

// replace puts a new count in the old one's place, all at once: to see a file
// without its blocks, for a moment, is to remove it.
func (u *usage) replace(found map[uint32]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.live = found
}

// collectUntil removes files without blocks and moves blocks out of others, until
// ctx ends. First it counts them, as of the snapshot that was taken before
// anything could change.
func (s *Store) collectUntil(ctx context.Context, counted func() error) {
	if err := counted(); err != nil {
		if ctx.Err() == nil {
			s.log.Error("spool store: room of removed blocks is not given back", "err", err)
		}
		close(s.counted)
		return
	}
	s.countedOK = true
	close(s.counted)
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		slack := s.slack
		if s.db.Room() != nil {
			slack = 0 // what is refused for want of room is worth the work
		}
		if err := s.collect(ctx, slack); err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			s.log.Error("spool store: giving back the room of removed blocks failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// collect removes the files that have no block any more, and as long as removed
// blocks take more than half of what the present ones do, and slack bytes, moves
// the blocks out of the emptiest file. With slack below zero it does so as long as
// a file has a tenth of removed ones.
func (s *Store) collect(ctx context.Context, slack int64) error {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	for {
		var files []blockfile.File
		// The writer makes and ends files.
		if err := s.update(ctx, 0, func(*batch) error { files = s.files.Files(); return nil }); err != nil {
			return err
		}
		var live, dead int64
		var emptiest blockfile.File
		share := 1.0
		for _, f := range files {
			n, gone, err := s.removeEmpty(f)
			if err != nil {
				return err
			}
			if gone {
				continue
			}
			live += n
			dead += int64(f.Slots) - n
			if of := float64(n) / float64(max(f.Slots, 1)); !f.Open && of < share && !s.isDamaged(f.Number) {
				emptiest, share = f, of
			}
		}
		size := s.files.SlotSize()
		enough := dead*size <= live*size/2+slack
		if slack < 0 {
			enough = share > 0.9
		}
		if share == 1 || enough {
			return nil
		}
		if err := s.empty(ctx, emptiest); err != nil {
			return err
		}
	}
}

// removeEmpty removes a file that has no block any more and gets none, or says how
// many it has. Nobody counts meanwhile.
func (s *Store) removeEmpty(f blockfile.File) (n int64, gone bool, err error) {
	s.counting.Lock()
	defer s.counting.Unlock()
	if n = s.usage.of(f.Number); n != 0 || f.Open {
		return n, false, nil
	}
	if err := s.files.Remove(f.Number); err != nil {
		return 0, false, err
	}
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	delete(s.usage.live, f.Number)
	return 0, true, nil
}

// GC gives back to the disk all that removed blocks and records still take, and
// returns how many bytes that was. The store does it by itself as far as it is
// worth the work.
func (s *Store) GC(ctx context.Context) (freed int64, err error) {
	select {
	case <-s.counted:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	before, err := store.SizeOnDisk(s.dir)
	if err == nil && !s.countedOK {
		err = errors.New("the blocks could not be counted when the store was opened")
	}
	if err == nil {
		err = s.collect(ctx, -1)
	}
	if err == nil {
		err = s.db.Compact()
	}
	var after int64
	if err == nil {
		after, err = store.SizeOnDisk(s.dir)
	}
	if err != nil {
		return 0, fmt.Errorf("give back room: %w", err)
	}
	return before - after, nil
}

func (s *Store) isDamaged(n uint32) bool {
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	return s.usage.damaged[n]
}

// empty moves all blocks out of a file. What is damaged stays where it is.
func (s *Store) empty(ctx context.Context, f blockfile.File) error {
	type move struct {
		place
		from  blockfile.Place
		filed []byte
	}
	var list []move
	flush := func() error {
		defer func() { list = list[:0] }()
		return s.update(ctx, len(list)*smallChange/4, func(b *batch) error {
			for _, mv := range list {
				m, err := getMeta(b.Tx, mv.spool, mv.seq)
				if errors.Is(err, store.ErrNotFound) || err == nil && m.place != mv.from {
					continue // removed meanwhile
				}
				if err != nil {
					return err
				}
				if m.place, err = b.s.files.Append(mv.filed); err != nil {
					return store.FullOr(err)
				}
				if err := b.Set(key('m', mv.spool[:], number(mv.seq)), m.encode()); err != nil {
					return err
				}
				b.placed, b.freed = append(b.placed, m.place), append(b.freed, mv.from)
			}
			return nil
		})
	}
	damaged := func(slot uint32, err error) {
		s.usage.mu.Lock()
		defer s.usage.mu.Unlock()
		if !s.usage.damaged[f.Number] {
			s.log.Error("spool store: a block cannot be moved, and its file stays", "file", f.Number, "slot", slot, "err", err)
		}
		s.usage.damaged[f.Number] = true
	}
	for slot := range f.Slots {
		from := blockfile.Place{File: f.Number, Slot: slot}
		filed, err := s.files.Read(from)
		if err != nil {
			if errors.Is(err, blockfile.ErrDamaged) {
				// It may be one that was never synced, or is not of use: then the
				// count tells in the end.
				continue
			}
			return err
		}
		p := filedPlace(filed)
		var m meta
		err = s.db.View(func(tx *store.Tx) (err error) {
			m, err = getMeta(tx, p.spool, p.seq)
			return err
		})
		switch {
		case errors.Is(err, store.ErrNotFound) || err == nil && m.place != from:
			continue
		case err != nil:
			return err
		}
		if _, err := unfile(filed, p, m); err != nil {
			damaged(slot, err)
			continue
		}
		if list = append(list, move{p, from, filed}); len(list) == moves {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if n := s.usage.of(f.Number); n != 0 {
		damaged(f.Slots, fmt.Errorf("%w: %d blocks are not found in it", ErrDamaged, n))
	}
	return nil
}
