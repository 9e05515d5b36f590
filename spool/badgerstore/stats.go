package badgerstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// ages knows where to look for the oldest block. Without it, whoever asks would go
// over the keys of all blocks that were trimmed, until Badger has dropped them.
type ages struct {
	looking sync.Mutex // held while somebody looks

	mu    sync.Mutex // guards what is below
	from  time.Time  // no block is older
	since time.Time  // the oldest that came while somebody looked; zero: none
}

// added notes that there is a block with this time.
func (a *ages) added(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.Before(a.from) {
		a.from = t
	}
	if a.since.IsZero() || t.Before(a.since) {
		a.since = t
	}
}

// Stats implements server.Store.
func (s *Store) Stats(ctx context.Context) (server.Stats, error) {
	if err := ctx.Err(); err != nil {
		return server.Stats{}, err
	}
	s.mu.RLock()
	stats := s.stats
	s.mu.RUnlock()
	if stats.Blocks == 0 {
		return stats, nil
	}
	s.ages.looking.Lock()
	defer s.ages.looking.Unlock()
	s.ages.mu.Lock()
	from := s.ages.from
	s.ages.since = time.Time{}
	s.ages.mu.Unlock()
	err := s.db.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: []byte("t"), From: key('t', stamp(from))}, func(i store.Item) error {
			if len(i.Key) != 1+8+spool.IDSize+8 {
				return fmt.Errorf("%w: key has %d bytes", ErrRecord, len(i.Key))
			}
			stats.Oldest = unstamp(i.Key[1:9])
			return store.ErrStop
		})
	})
	if err != nil {
		return server.Stats{}, fmt.Errorf("find oldest block: %w", err)
	}
	if !stats.Oldest.IsZero() {
		s.ages.mu.Lock()
		s.ages.from = stats.Oldest
		if !s.ages.since.IsZero() && s.ages.since.Before(s.ages.from) {
			s.ages.from = s.ages.since
		}
		s.ages.mu.Unlock()
	}
	return stats, nil
}

// oldestOf returns when the first block of a spool came; zero if there is none.
func oldestOf(tx *store.Tx, id spool.ID, r *spoolRecord) (time.Time, error) {
	if r.blocks() == 0 {
		return time.Time{}, nil
	}
	seq, err := edge(tx, id, r.First, false)
	if err != nil || seq == 0 {
		return time.Time{}, err
	}
	m, err := getMeta(tx, id, seq)
	return unstamp(m.at[:]), err
}
