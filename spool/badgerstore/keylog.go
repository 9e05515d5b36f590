package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// appendLog appends a record to the key log, with the hashes that it completes.
func (b *batch) appendLog(r spool.LogRecord) (place server.LogPlace, err error) {
	n := b.stats.LogSize
	data := r.Encode()
	hashes, err := tlog.StoredHashes(int64(n), data, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		return readHashes(b.Tx, indexes)
	}))
	if err != nil {
		return place, err
	}
	first := tlog.StoredHashIndex(0, int64(n))
	for i := range hashes {
		if err := b.Set(key('h', number(uint64(first)+uint64(i))), hashes[i][:]); err != nil {
			return place, err
		}
	}
	if err := b.Set(key('l', number(n)), data); err != nil {
		return place, err
	}
	b.stats.LogSize++
	return server.LogPlace{Index: n, Kind: r.Kind, Version: r.Version}, nil
}

func readHashes(tx *store.Tx, indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		raw, err := tx.Get(key('h', number(uint64(index))))
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, server.ErrNoLog
		case err != nil:
			return nil, err
		case len(raw) != tlog.HashSize:
			return nil, fmt.Errorf("%w: hash %d of the key log has %d bytes", ErrRecord, index, len(raw))
		}
		copy(hashes[i][:], raw)
	}
	return hashes, nil
}

// logSize finds the end of the log.
func logSize(tx *store.Tx) (n uint64, err error) {
	err = tx.Iterate(store.Range{Prefix: []byte("l"), Reverse: true}, func(i store.Item) error {
		if len(i.Key) != 1+8 {
			return fmt.Errorf("%w: key of the key log has %d bytes", ErrRecord, len(i.Key))
		}
		n = binary.BigEndian.Uint64(i.Key[1:]) + 1
		return store.ErrStop
	})
	return n, err
}

// LogSize implements server.Store.
func (s *Store) LogSize(ctx context.Context) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.stats.LogSize, ctx.Err()
}

// LogRecords implements server.Store.
func (s *Store) LogRecords(ctx context.Context, from, to uint64) ([]byte, error) {
	size, err := s.LogSize(ctx)
	if err == nil && (from > to || to > size) {
		err = server.ErrNoLog
	}
	if err != nil || from == to {
		return nil, err
	}
	records := make([]byte, 0, (to-from)*spool.LogRecordSize)
	err = s.db.View(func(tx *store.Tx) error {
		for n := from; n < to; n++ {
			raw, err := tx.Get(key('l', number(n)))
			if err != nil {
				return err
			}
			if len(raw) != spool.LogRecordSize {
				return fmt.Errorf("%w: record %d of the key log has %d bytes", ErrRecord, n, len(raw))
			}
			records = append(records, raw...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read key log: %w", err)
	}
	return records, nil
}

// LogHashes implements server.Store.
func (s *Store) LogHashes(ctx context.Context, indexes []int64) (hashes []tlog.Hash, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		hashes, err = readHashes(tx, indexes)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read hashes of the key log: %w", err)
	}
	return hashes, nil
}
