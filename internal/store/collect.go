package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// gcEvery is how often value-log files with mostly dead bytes are rewritten.
const gcEvery = 10 * time.Minute

// pushAfter is by how many bytes the value log grows before Collect pushes the memory
// table out: two of its files.
const pushAfter = 128 << 20

// pushWait bounds how long Collect waits for the table to be on disk.
const pushWait = 30 * time.Second

// fillerKey begins the keys of what is written to push a memory table out. The same
// ones are written each time, and stay.
var fillerKey = []byte("\x00store/filler/")

// collect collects the value log's dead bytes until ctx ends.
func (s *Store) collect(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(gcEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.Collect(ctx); err != nil && ctx.Err() == nil {
			log.Warn("store: value log collection failed", "err", err)
		}
	}
}

// Collect rewrites the value-log files that are mostly dead bytes, until ctx ends. The
// store does it every ten minutes by itself.
//
// Badger learns that a value is dead when a table that has its removal is compacted
// with one that has the value. A memory table is written to the first such table when it is full
// of keys, and a few thousand mails, which may be gigabytes, do not fill it. So when
// the value log has grown by pushAfter, Collect fills it. The first table of a store has none
// to be compacted with, so what it knows to be dead is collected with the second.
func (s *Store) Collect(ctx context.Context) error {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	if !s.tables {
		size, err := s.valueLog()
		if err != nil {
			return err
		}
		if size < s.pushed { // files were removed by the last collection
			s.pushed = size
		}
		if size-s.pushed >= s.pushAfter {
			if err := s.push(ctx); err != nil {
				return err
			}
			s.pushed = size
		}
	}
	for ctx.Err() == nil {
		err := s.db.RunValueLogGC(0.5)
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("collect value log: %w", FullOr(err))
		}
	}
	return ctx.Err()
}

// valueLog returns how many bytes the value log's files have.
func (s *Store) valueLog() (int64, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "*.vlog"))
	if err != nil {
		return 0, fmt.Errorf("measure value log: %w", err)
	}
	var total int64
	for _, f := range files {
		info, err := os.Stat(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // rewritten meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("measure value log: %w", err)
		}
		total += info.Size()
	}
	return total, nil
}

// push has the memory table written to disk, and all tables compacted.
func (s *Store) push(ctx context.Context) error {
	if err := s.Room(); err != nil {
		return nil // what makes no room yet waits until there is some
	}
	newest := s.newestTable()
	opt := s.db.Opts()
	value := make([]byte, opt.ValueThreshold-1) // so that it is in the table itself
	n := uint64(0)
	for written := int64(0); written <= opt.MemTableSize; {
		err := s.Update(func(tx *Tx) error {
			for range 256 {
				n++
				if err := tx.Set(binary.BigEndian.AppendUint64(append([]byte(nil), fillerKey...), n), value); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("collect value log: %w", err)
		}
		written += 256 * int64(len(value))
	}
	for end := time.Now().Add(pushWait); s.newestTable() == newest; {
		if time.Now().After(end) {
			return errors.New("collect value log: the memory table is not written")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := s.db.Flatten(2); err != nil {
		return fmt.Errorf("collect value log: %w", FullOr(err))
	}
	return nil
}

// newestTable returns the number of the table that was made last.
func (s *Store) newestTable() uint64 {
	newest := uint64(0)
	for _, t := range s.db.Tables() {
		newest = max(newest, t.ID)
	}
	return newest
}
