package badgerstore

import (
	"context"
	"maps"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// A snapshot is the whole store at one moment, on disk and in memory, while it goes
// on being used.
type snapshot struct {
	*store.Tx
	spools map[spool.ID]*spoolRecord
	stats  server.Stats
	live   map[uint32]int64 // blocks by file
	close  func() error
}

// snapshot takes a snapshot; the caller closes it. Until then no file of blocks
// is removed.
func (s *Store) snapshot(ctx context.Context) (*snapshot, error) {
	select {
	case <-s.counted:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var snap *snapshot
	// So heavy a change is alone in its batch: all before it are done.
	err := s.update(ctx, maxWeight, func(*batch) error {
		tx, done := s.db.Snapshot()
		unpin := s.files.Pin()
		s.mu.RLock()
		defer s.mu.RUnlock()
		s.usage.mu.Lock()
		defer s.usage.mu.Unlock()
		snap = &snapshot{
			Tx: tx, spools: maps.Clone(s.spools), stats: s.stats, live: maps.Clone(s.usage.live),
			close: func() error { done(); return unpin() },
		}
		return nil
	})
	return snap, err
}

// each calls fn for every key of a kind, and its value, until ctx ends.
func (s *snapshot) each(ctx context.Context, kind byte, fn func(key, value []byte) error) error {
	n := 0
	return s.Iterate(store.Range{Prefix: []byte{kind}, Values: true}, func(i store.Item) error {
		if n++; n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		v, err := i.Value()
		if err != nil {
			return err
		}
		return fn(i.Key, v)
	})
}

// has is Has without its errors, which the snapshot would have met before.
func (s *snapshot) has(key []byte) bool {
	have, err := s.Has(key)
	return err == nil && have
}
