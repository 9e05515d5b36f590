package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore/blockfile"
	"mailproxy/spool/server"
)

// removals is how many blocks one change removes at most.
const removals = 128

// Append implements server.Store.
func (s *Store) Append(ctx context.Context, a server.Append) (known bool, err error) {
	if len(a.Block) != spool.BlockSize || a.Lane >= server.Lanes {
		return false, fmt.Errorf("append: block has %d bytes, in lane %d", len(a.Block), a.Lane)
	}
	room := s.db.Room()
	err = s.update(ctx, smallChange, func(b *batch) (err error) {
		known, err = b.append(a, room)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("append: %w", err)
	}
	return known, nil
}

func (b *batch) append(a server.Append, room error) (have bool, err error) {
	r, err := b.spool(a.Spool)
	if err != nil {
		return false, err
	}
	if r.Erased {
		return false, server.ErrRevoked
	}
	idKey := key('i', a.Spool[:], a.ID[:])
	if have, err = b.Has(idKey); err != nil || have {
		return have, err
	}
	blocks, ids := r.Blocks[a.Lane]+1, r.Blocks[a.Lane]+r.Remembered[a.Lane]+1
	switch err := r.usable(); {
	case err != nil:
		return false, err
	case blocks > a.MaxBlocks || int64(blocks)*spool.BlockSize > a.MaxBytes || a.MaxIDs > 0 && ids > a.MaxIDs:
		return false, server.ErrFull
	case room != nil:
		return false, room
	}
	filed, err := b.s.files.Append(fileBlock(a.Spool, b.s.last(r)+1, a.Block))
	if err != nil {
		return false, store.FullOr(err)
	}
	r.Last = b.s.last(r) + 1
	if r.blocks() == 0 {
		r.First = r.Last
	}
	r.Blocks[a.Lane]++
	seq := number(r.Last)
	m := meta{at: [8]byte(stamp(a.Now)), lane: a.Lane, place: filed, id: a.ID}
	k := known{seq: r.Last}
	for _, kv := range [][2][]byte{
		{key('m', a.Spool[:], seq), m.encode()},
		{key('t', m.at[:], a.Spool[:], seq), nil},
		{idKey, k.encode()},
	} {
		if err := b.Set(kv[0], kv[1]); err != nil {
			return false, err
		}
	}
	b.setSpool(a.Spool, r)
	b.placed = append(b.placed, filed)
	b.stats.Blocks++
	b.stats.Bytes += spool.BlockSize
	if b.oldest.IsZero() || a.Now.Before(b.oldest) {
		b.oldest = a.Now
	}
	return false, nil
}

// Read implements server.Store.
func (s *Store) Read(ctx context.Context, id spool.ID, cursor, want uint64) (reply spool.ReadReply, err error) {
	if err := ctx.Err(); err != nil {
		return reply, err
	}
	r := s.summary(id)
	if r == nil {
		return reply, server.ErrNoSpool
	}
	if err := r.readable(); err != nil {
		return reply, err
	}
	if cursor >= r.Last || r.blocks() == 0 {
		return spool.ReadReply{Last: s.last(r)}, nil
	}
	for try := 0; ; try++ {
		reply, err = s.readFiled(id, cursor, want)
		// A block may have been moved since the snapshot was taken, and its file
		// removed: then it is elsewhere in the next.
		if err == nil || !errors.Is(err, blockfile.ErrGone) || try == 3 {
			break
		}
	}
	if err != nil {
		return spool.ReadReply{}, fmt.Errorf("read: %w", err)
	}
	return reply, nil
}

func (s *Store) readFiled(id spool.ID, cursor, want uint64) (reply spool.ReadReply, err error) {
	err = s.db.View(func(tx *store.Tx) error {
		// What is in memory may be of before this snapshot.
		r, err := readSpool(tx, id)
		if err == nil {
			err = r.readable()
		}
		if err != nil {
			return err
		}
		reply.Last = s.last(r)
		if cursor >= r.Last || r.blocks() == 0 {
			return nil
		}
		if reply.Lowest, err = edge(tx, id, max(cursor+1, r.First), false); err != nil || reply.Lowest == 0 {
			return err
		}
		if reply.Highest, err = edge(tx, id, r.Last, true); err != nil {
			return err
		}
		reply.Seq = reply.Lowest
		m := meta{}
		if want > cursor && want != reply.Lowest {
			switch m, err = getMeta(tx, id, want); {
			case err == nil:
				reply.Seq = want
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		if reply.Seq != want || want == reply.Lowest {
			if m, err = getMeta(tx, id, reply.Seq); err != nil {
				return err
			}
		}
		reply.Block, err = s.block(place{id, reply.Seq}, m)
		return err
	})
	return reply, err
}

// block reads a block from its file.
func (s *Store) block(p place, m meta) ([]byte, error) {
	filed, err := s.files.Read(m.place)
	if err != nil {
		return nil, fmt.Errorf("block %d of spool %x: %w", p.seq, p.spool[:4], err)
	}
	return unfile(filed, p, m)
}

// edge returns the number of the first block from one on, upwards or downwards;
// zero if there is none. Nearly always it is that very one.
func edge(tx *store.Tx, id spool.ID, from uint64, down bool) (seq uint64, err error) {
	if have, err := tx.Has(key('m', id[:], number(from))); err != nil || have {
		return from, err
	}
	prefix := key('m', id[:])
	err = tx.Iterate(store.Range{Prefix: prefix, From: key('m', id[:], number(from)), Reverse: down}, func(i store.Item) error {
		seq = binary.BigEndian.Uint64(i.Key[len(prefix):])
		return store.ErrStop
	})
	return seq, err
}

// Trim implements server.Store.
func (s *Store) Trim(ctx context.Context, id spool.ID, cursor uint64, now time.Time) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := s.summary(id)
		if r == nil {
			return server.ErrNoSpool
		}
		if r.blocks() == 0 || r.First > cursor {
			return nil
		}
		found, err := s.numbers(id, cursor)
		if err == nil && len(found) > 0 {
			_, err = s.remove(ctx, found, now)
		}
		if err != nil {
			return fmt.Errorf("trim: %w", err)
		}
		if len(found) < removals {
			return nil
		}
	}
}

// A place is where a block is.
type place struct {
	spool spool.ID
	seq   uint64
}

// numbers returns the lowest blocks of a spool up to cursor, at most removals.
func (s *Store) numbers(id spool.ID, cursor uint64) (found []place, err error) {
	err = s.db.View(func(tx *store.Tx) error {
		r, err := readSpool(tx, id)
		if err != nil || r.blocks() == 0 {
			return err
		}
		prefix := key('m', id[:])
		return tx.Iterate(store.Range{Prefix: prefix, From: key('m', id[:], number(r.First))}, func(i store.Item) error {
			seq := binary.BigEndian.Uint64(i.Key[len(prefix):])
			if seq > cursor || len(found) == removals {
				return store.ErrStop
			}
			found = append(found, place{id, seq})
			return nil
		})
	})
	return found, err
}

// remove removes the blocks that are still there, in one change, and remembers
// their ids. The places of one spool are in ascending order.
func (s *Store) remove(ctx context.Context, places []place, now time.Time) (removed int, err error) {
	err = s.update(ctx, len(places)*smallChange, func(b *batch) error {
		removed = 0
		for _, p := range places {
			r, err := b.spool(p.spool)
			if err != nil {
				return err
			}
			gone, err := b.removeBlock(p, r, now)
			if err != nil {
				return err
			}
			if gone {
				removed++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// removeBlock removes a block if it is there, and remembers its id unless the
// spool is erased, or now is zero. r is the spool's record, which it changes and sets.
func (b *batch) removeBlock(p place, r *spoolRecord, now time.Time) (gone bool, err error) {
	seq := number(p.seq)
	metaKey := key('m', p.spool[:], seq)
	m, err := getMeta(b.Tx, p.spool, p.seq)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // somebody else removed it
	}
	if err != nil {
		return false, err
	}
	for _, k := range [][]byte{metaKey, key('t', m.at[:], p.spool[:], seq)} {
		if err := b.Delete(k); err != nil {
			return false, err
		}
	}
	idKey := key('i', p.spool[:], m.id[:])
	if r.Erased || now.IsZero() {
		err = b.Delete(idKey)
	} else {
		k := known{lane: m.lane, at: [8]byte(stamp(now))}
		if err = b.Set(idKey, k.encode()); err == nil {
			err = b.Set(key('f', k.at[:], p.spool[:], m.id[:]), nil)
		}
		r.Remembered[m.lane]++
		b.stats.Remembered++
	}
	if err != nil {
		return false, err
	}
	r.Blocks[m.lane]--
	// Removal begins at First, save for a sweep after the clock was set back: then
	// First stays, and looking begins with a gap.
	if p.seq == r.First {
		r.First++
	}
	if r.blocks() == 0 {
		r.First = r.Last + 1
	}
	b.setSpool(p.spool, r)
	b.freed = append(b.freed, m.place)
	b.stats.Blocks--
	b.stats.Bytes -= spool.BlockSize
	return true, nil
}
