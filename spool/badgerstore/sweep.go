package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
)

// Sweep implements server.Store.
func (s *Store) Sweep(ctx context.Context, old, forget, now time.Time) (removed int, err error) {
	if err := s.finishErasing(ctx); err != nil {
		return 0, fmt.Errorf("erase: %w", err)
	}
	for from := []byte("t"); ; {
		var found []place
		err := s.before(ctx, from, old, func(k []byte) error {
			from = bytes.Clone(k)
			if len(k) != 1+8+spool.IDSize+8 {
				return fmt.Errorf("%w: key has %d bytes", ErrRecord, len(k))
			}
			found = append(found, place{spool.ID(k[9:]), binary.BigEndian.Uint64(k[9+spool.IDSize:])})
			return nil
		})
		if err == nil && len(found) > 0 {
			var n int
			n, err = s.remove(ctx, found, now)
			removed += n
		}
		if err != nil {
			return removed, fmt.Errorf("sweep blocks: %w", err)
		}
		if len(found) < removals {
			break
		}
	}
	for from := []byte("f"); ; {
		var found [][]byte
		err := s.before(ctx, from, forget, func(k []byte) error {
			from = bytes.Clone(k)
			if len(k) != 1+8+spool.IDSize+spool.BlockIDSize {
				return fmt.Errorf("%w: key has %d bytes", ErrRecord, len(k))
			}
			found = append(found, bytes.Clone(k))
			return nil
		})
		if err == nil && len(found) > 0 {
			err = s.forget(ctx, found)
		}
		if err != nil {
			return removed, fmt.Errorf("sweep ids: %w", err)
		}
		if len(found) < removals {
			break
		}
	}
	if err := s.forgetInvites(ctx, now); err != nil {
		return removed, fmt.Errorf("sweep invitations: %w", err)
	}
	return removed, nil
}

// SetLastSweep implements server.Store.
func (s *Store) SetLastSweep(ctx context.Context, t time.Time) error {
	if err := s.update(ctx, smallChange, func(b *batch) error { return b.Set(lastSweepKey, stamp(t)) }); err != nil {
		return fmt.Errorf("keep the time of a sweep: %w", err)
	}
	return nil
}

// LastSweep implements server.Store.
func (s *Store) LastSweep(ctx context.Context) (t time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return t, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		raw, err := tx.Get(lastSweepKey)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil
		case err != nil:
			return err
		case len(raw) != 8:
			return fmt.Errorf("%w: it has %d bytes", ErrRecord, len(raw))
		}
		t = unstamp(raw)
		return nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("read the time of the last sweep: %w", err)
	}
	return t, nil
}

// forget removes remembered ids, given by their keys in order of time.
func (s *Store) forget(ctx context.Context, keys [][]byte) error {
	return s.update(ctx, len(keys)*smallChange, func(b *batch) error {
		for _, k := range keys {
			idKey := key('i', k[9:])
			raw, err := b.Get(idKey)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err != nil {
				continue // another sweep was here
			}
			v, err := decodeKnown(raw)
			if err != nil {
				return err
			}
			if v.seq != 0 || !bytes.Equal(v.at[:], k[1:9]) {
				continue // forgotten meanwhile, it has come anew
			}
			id := spool.ID(k[9:])
			r, err := b.spool(id)
			if err != nil {
				return err
			}
			if err := errors.Join(b.Delete(idKey), b.Delete(k)); err != nil {
				return err
			}
			r.Remembered[v.lane]--
			b.setSpool(id, r)
			b.stats.Remembered--
		}
		return nil
	})
}

// before calls fn for the first keys from one on, of its kind, which is ordered by
// time: up to removals of them and as long as they are before t. Whoever removes
// them goes on from the last, since to go over what was removed takes Badger as
// long as if it were there.
func (s *Store) before(ctx context.Context, from []byte, t time.Time, fn func(key []byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	end, n := key(from[0], stamp(t)), 0
	return s.db.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: from[:1], From: from}, func(i store.Item) error {
			if bytes.Compare(i.Key, end) >= 0 || n == removals {
				return store.ErrStop
			}
			n++
			return fn(i.Key)
		})
	})
}

// finishErasing goes on with what a Revoke has begun.
func (s *Store) finishErasing(ctx context.Context) error {
	var ids []spool.ID
	err := s.db.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: []byte("e")}, func(i store.Item) error {
			if len(i.Key) != 1+spool.IDSize {
				return fmt.Errorf("%w: key has %d bytes", ErrRecord, len(i.Key))
			}
			ids = append(ids, spool.ID(i.Key[1:]))
			return nil
		})
	})
	for _, id := range ids {
		if err == nil {
			err = s.erase(ctx, id)
		}
	}
	return err
}

// erase removes all that a spool has, but for its record. Nothing comes to it any
// more.
func (s *Store) erase(ctx context.Context, id spool.ID) error {
	for {
		found, err := s.numbers(id, spool.MaxSequence)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			break
		}
		if _, err := s.remove(ctx, found, time.Time{}); err != nil {
			return err
		}
	}
	prefix := key('i', id[:])
	for from := prefix; ; {
		var ids []spool.BlockID
		err := s.db.View(func(tx *store.Tx) error {
			return tx.Iterate(store.Range{Prefix: prefix, From: from}, func(i store.Item) error {
				if len(i.Key) != len(prefix)+spool.BlockIDSize {
					return fmt.Errorf("%w: key has %d bytes", ErrRecord, len(i.Key))
				}
				if len(ids) == removals {
					return store.ErrStop
				}
				ids, from = append(ids, spool.BlockID(i.Key[len(prefix):])), bytes.Clone(i.Key)
				return nil
			})
		})
		if err != nil {
			return err
		}
		err = s.update(ctx, (len(ids)+1)*smallChange, func(b *batch) error { return b.forgetErased(id, ids) })
		if err != nil || len(ids) == 0 {
			return err
		}
	}
}

// forgetErased removes ids of an erased spool; if there are none, what says that
// there are.
func (b *batch) forgetErased(id spool.ID, ids []spool.BlockID) error {
	if len(ids) == 0 {
		return b.Delete(key('e', id[:]))
	}
	r, err := b.spool(id)
	if err != nil {
		return err
	}
	for _, block := range ids {
		idKey := key('i', id[:], block[:])
		raw, err := b.Get(idKey)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		v, err := decodeKnown(raw)
		if err != nil {
			return err
		}
		if v.seq != 0 {
			return fmt.Errorf("%w: an erased spool has a block", ErrRecord)
		}
		if err := errors.Join(b.Delete(idKey), b.Delete(key('f', v.at[:], id[:], block[:]))); err != nil {
			return err
		}
		r.Remembered[v.lane]--
		b.stats.Remembered--
	}
	b.setSpool(id, r)
	return nil
}
