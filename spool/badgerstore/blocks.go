package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// batch is how many blocks one transaction removes at most: few enough for a
// transaction's bounds (see store.Tx.Set).
const batch = 256

// Append implements server.Store.
func (s *Store) Append(ctx context.Context, a server.Append) (known bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if len(a.Block) != spool.BlockSize {
		return false, fmt.Errorf("append: block has %d bytes", len(a.Block))
	}
	room := s.db.Room()
	defer s.lock(a.Spool[:]).Unlock()
	err = s.db.Update(func(tx *store.Tx) error {
		known = false
		r, err := getSpool(tx, a.Spool)
		if err != nil {
			return err
		}
		idKey := key('i', a.Spool[:], a.ID[:])
		if known, err = tx.Has(idKey); err != nil || known {
			return err
		}
		if r.Blocks+1 > a.MaxBlocks || int64(r.Blocks+1)*spool.BlockSize > a.MaxBytes {
			return server.ErrFull
		}
		if room != nil {
			return room
		}
		r.Last++
		r.Blocks++
		seq, at := number(r.Last), stamp(a.Now)
		for _, kv := range [][2][]byte{
			{key('b', a.Spool[:], seq), a.Block},
			{key('m', a.Spool[:], seq), append(at, a.ID[:]...)},
			{key('t', at, a.Spool[:], seq), nil},
			{idKey, nil},
		} {
			if err := tx.Set(kv[0], kv[1]); err != nil {
				return err
			}
		}
		return putSpool(tx, a.Spool, r)
	})
	if err != nil {
		return false, fmt.Errorf("append: %w", err)
	}
	return known, nil
}

// Read implements server.Store.
func (s *Store) Read(ctx context.Context, id spool.ID, cursor, want uint64) (reply spool.ReadReply, err error) {
	if err := ctx.Err(); err != nil {
		return reply, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		r, err := getSpool(tx, id)
		if err != nil {
			return err
		}
		reply.Last = r.Last
		if cursor >= r.Last || r.Blocks == 0 {
			return nil
		}
		prefix := key('m', id[:])
		edge := func(reverse bool, from uint64) (seq uint64, err error) {
			err = tx.Iterate(store.Range{Prefix: prefix, From: key('m', id[:], number(from)), Reverse: reverse}, func(i store.Item) error {
				seq = binary.BigEndian.Uint64(i.Key[len(prefix):])
				return store.ErrStop
			})
			return seq, err
		}
		if reply.Lowest, err = edge(false, max(cursor+1, r.First)); err != nil || reply.Lowest == 0 {
			return err
		}
		if reply.Highest, err = edge(true, r.Last); err != nil {
			return err
		}
		reply.Seq = reply.Lowest
		if want > cursor {
			have, err := tx.Has(key('m', id[:], number(want)))
			if err != nil {
				return err
			}
			if have {
				reply.Seq = want
			}
		}
		reply.Block, err = tx.Get(key('b', id[:], number(reply.Seq)))
		return err
	})
	if err != nil {
		return spool.ReadReply{}, fmt.Errorf("read: %w", err)
	}
	return reply, nil
}

// A place is where a block is.
type place struct {
	spool spool.ID
	seq   uint64
}

// Trim implements server.Store.
func (s *Store) Trim(ctx context.Context, id spool.ID, cursor uint64, now time.Time) error {
	defer s.lock(id[:]).Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var found []place
		err := s.db.View(func(tx *store.Tx) (err error) {
			r, err := getSpool(tx, id)
			if err != nil || r.Blocks == 0 || r.First > cursor {
				return err
			}
			prefix := key('m', id[:])
			return tx.Iterate(store.Range{Prefix: prefix, From: key('m', id[:], number(r.First))}, func(i store.Item) error {
				seq := binary.BigEndian.Uint64(i.Key[len(prefix):])
				if seq > cursor || len(found) == batch {
					return store.ErrStop
				}
				found = append(found, place{id, seq})
				return nil
			})
		})
		if err == nil && len(found) > 0 {
			_, err = s.remove(found, now)
		}
		if err != nil {
			return fmt.Errorf("trim: %w", err)
		}
		if len(found) < batch {
			return nil
		}
	}
}

// remove removes the blocks that are still there, in one transaction, and
// remembers their ids. The places of one spool are in ascending order.
func (s *Store) remove(places []place, now time.Time) (removed int, err error) {
	err = s.db.Update(func(tx *store.Tx) error {
		removed = 0
		records := make(map[spool.ID]*spoolRecord)
		for _, p := range places {
			seq := number(p.seq)
			metaKey := key('m', p.spool[:], seq)
			have, err := tx.Has(metaKey)
			if err != nil {
				return err
			}
			if !have {
				continue // somebody else removed it
			}
			meta, err := tx.Get(metaKey)
			if err != nil {
				return err
			}
			if len(meta) != 8+spool.BlockIDSize {
				return fmt.Errorf("%w: a block's has %d bytes", ErrRecord, len(meta))
			}
			at, blockID := meta[:8], meta[8:]
			for _, k := range [][]byte{metaKey, key('b', p.spool[:], seq), key('t', at, p.spool[:], seq)} {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			if err := tx.Set(key('f', stamp(now), p.spool[:], blockID), nil); err != nil {
				return err
			}
			r := records[p.spool]
			if r == nil {
				if r, err = getSpool(tx, p.spool); err != nil {
					return err
				}
				records[p.spool] = r
			}
			r.Blocks--
			removed++
			// Removal begins at First, save for a sweep after the clock was set
			// back: then First stays, and looking begins with a gap.
			if p.seq == r.First {
				r.First++
			}
		}
		for id, r := range records {
			if r.Blocks == 0 {
				r.First = r.Last + 1
			}
			if err := putSpool(tx, id, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// Sweep implements server.Store.
func (s *Store) Sweep(ctx context.Context, old, forget, now time.Time) (removed int, err error) {
	for {
		var found []place
		err := s.before(ctx, 't', old, func(k []byte) error {
			if len(k) != 1+8+spool.IDSize+8 {
				return fmt.Errorf("%w: key has %d bytes", ErrRecord, len(k))
			}
			found = append(found, place{spool.ID(k[9:]), binary.BigEndian.Uint64(k[9+spool.IDSize:])})
			return nil
		})
		if err == nil && len(found) > 0 {
			var n int
			n, err = s.remove(found, now)
			removed += n
		}
		if err != nil {
			return removed, fmt.Errorf("sweep blocks: %w", err)
		}
		if len(found) < batch {
			break
		}
	}
	for {
		var found [][]byte
		err := s.before(ctx, 'f', forget, func(k []byte) error {
			found = append(found, bytes.Clone(k))
			return nil
		})
		if err == nil && len(found) > 0 {
			err = s.db.Update(func(tx *store.Tx) error {
				for _, k := range found {
					// Forgotten meanwhile, the block may have come anew.
					if have, err := tx.Has(k); err != nil {
						return err
					} else if !have {
						continue
					}
					if err := tx.Delete(key('i', k[9:])); err != nil {
						return err
					}
					if err := tx.Delete(k); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			return removed, fmt.Errorf("sweep ids: %w", err)
		}
		if len(found) < batch {
			return removed, nil
		}
	}
}

// before calls fn for the first keys of a kind that is ordered by time, up to
// batch of them and as long as they are before t.
func (s *Store) before(ctx context.Context, kind byte, t time.Time, fn func(key []byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	end, n := key(kind, stamp(t)), 0
	return s.db.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: []byte{kind}}, func(i store.Item) error {
			if bytes.Compare(i.Key, end) >= 0 || n == batch {
				return store.ErrStop
			}
			n++
			return fn(i.Key)
		})
	})
}
