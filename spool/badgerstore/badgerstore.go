// Package badgerstore keeps the names and blocks of a spool service in
// internal/store, in one directory that one process opens.
//
// It implements server.Store and knows nothing of requests, signatures or
// networks. cmd opens it and hands it to spool/server.
//
// The keys, each beginning with a letter; numbers are big-endian, times are Unix
// nanoseconds:
//
//	n name                   → CBOR of a name's record
//	s spool                  → CBOR of a spool's record
//	b spool sequence         → the block
//	m spool sequence         → time of its append, its id
//	t time spool sequence    → nothing: blocks by age
//	i spool id               → nothing: the block is in the spool or remembered
//	f time spool id          → nothing: remembered ids, by the time of removal
package badgerstore

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// recordFormat is the version of the records that this package writes.
const recordFormat = 1

// DefaultReserve is how much of the disk is left alone by default, in bytes: room
// for the logs and tables that Badger writes at any time, and for trimming.
const DefaultReserve = 512 << 20

// ErrRecord is wrapped by the errors about records that this release cannot read.
var ErrRecord = errors.New("record of the spool store cannot be read")

// Options say what to open.
type Options struct {
	Dir string
	// Key encrypts the files at rest, store.KeySize bytes; nil for none.
	Key []byte
	// Reserve is how many bytes of the disk must be free for a block or a name to
	// be taken; DefaultReserve if zero. A full disk does not fail Badger's writes,
	// it ends the process (see store.Store.Room).
	Reserve int64
	// Free replaces the question to the system of how much is free, in tests.
	Free   func() (int64, error)
	Logger *slog.Logger // nil: none
}

// A Store is a server.Store on disk.
type Store struct {
	db *store.Store

	// locks keep writers of the same spool or name from running into each other's
	// conflicts again and again. Transactions are right without them.
	locks [256]sync.Mutex
	seed  maphash.Seed
}

var _ server.Store = (*Store)(nil)

// Open opens or makes the store in o.Dir. It fails with the errors of
// store.Open.
func Open(o Options) (*Store, error) {
	if o.Reserve == 0 {
		o.Reserve = DefaultReserve
	}
	db, err := store.Open(store.Options{Dir: o.Dir, Key: o.Key, Reserve: o.Reserve, Free: o.Free, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("open spool store: %w", err)
	}
	s := &Store{db: db, seed: maphash.MakeSeed()}
	return s, nil
}

// Close closes the files.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close spool store: %w", err)
	}
	return nil
}

// lock takes the lock of a spool or name; the caller releases it.
func (s *Store) lock(key []byte) *sync.Mutex {
	m := &s.locks[maphash.Bytes(s.seed, key)%uint64(len(s.locks))]
	m.Lock()
	return m
}

// spoolRecord is what is known of a spool itself.
type spoolRecord struct {
	Format uint8  `cbor:"1,keyasint"`
	Name   string `cbor:"2,keyasint"` // that it belongs to
	Last   uint64 `cbor:"3,keyasint"` // sequence number given last; zero: none
	First  uint64 `cbor:"4,keyasint"` // none below is present: where to begin looking
	Blocks int    `cbor:"5,keyasint"` // that are present
}

// nameRecord is what is published under a name.
type nameRecord struct {
	Format   uint8              `cbor:"1,keyasint"`
	Identity ed25519.PublicKey  `cbor:"2,keyasint"`
	Version  uint64             `cbor:"3,keyasint"`
	Spool    spool.ID           `cbor:"4,keyasint"`
	Bundle   spool.SignedBundle `cbor:"5,keyasint"`
}

func getSpool(tx *store.Tx, id spool.ID) (*spoolRecord, error) {
	raw, err := tx.Get(key('s', id[:]))
	if errors.Is(err, store.ErrNotFound) {
		return nil, server.ErrNoSpool
	}
	if err != nil {
		return nil, err
	}
	var r spoolRecord
	if err := decode(raw, &r, &r.Format); err != nil {
		return nil, err
	}
	return &r, nil
}

func putSpool(tx *store.Tx, id spool.ID, r *spoolRecord) error {
	r.Format = recordFormat
	raw, err := codec.Marshal(r)
	if err != nil {
		return err
	}
	return tx.Set(key('s', id[:]), raw)
}

func getName(tx *store.Tx, name string) (*server.Entry, error) {
	raw, err := tx.Get(key('n', []byte(name)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, server.ErrNoName
	}
	if err != nil {
		return nil, err
	}
	var r nameRecord
	if err := decode(raw, &r, &r.Format); err != nil {
		return nil, err
	}
	return &server.Entry{Name: name, Identity: r.Identity, Version: r.Version, Spool: r.Spool, Bundle: r.Bundle}, nil
}

func decode(raw []byte, record any, format *uint8) error {
	if err := codec.Unmarshal(raw, record); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if *format != recordFormat {
		return fmt.Errorf("%w: format %d, this program reads %d", ErrRecord, *format, recordFormat)
	}
	return nil
}

// Publish implements server.Store.
func (s *Store) Publish(ctx context.Context, e server.Entry, create bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.db.Room(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	defer s.lock([]byte(e.Name)).Unlock()
	err := s.db.Update(func(tx *store.Tx) error {
		old, err := getName(tx, e.Name)
		if err != nil && !errors.Is(err, server.ErrNoName) {
			return err
		}
		have, err := getSpool(tx, e.Spool)
		if err != nil && !errors.Is(err, server.ErrNoSpool) {
			return err
		}
		owner := ""
		if have != nil {
			owner = have.Name
		}
		write, err := server.Admit(old, owner, e, create)
		if err != nil || !write {
			return err
		}
		raw, err := codec.Marshal(nameRecord{
			Format: recordFormat, Identity: e.Identity, Version: e.Version, Spool: e.Spool, Bundle: e.Bundle,
		})
		if err != nil {
			return err
		}
		if err := tx.Set(key('n', []byte(e.Name)), raw); err != nil {
			return err
		}
		if have != nil {
			return nil
		}
		return putSpool(tx, e.Spool, &spoolRecord{Name: e.Name, First: 1})
	})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Lookup implements server.Store.
func (s *Store) Lookup(ctx context.Context, name string) (e server.Entry, err error) {
	if err := ctx.Err(); err != nil {
		return e, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		got, err := getName(tx, name)
		if err == nil {
			e = *got
		}
		return err
	})
	if err != nil {
		return e, fmt.Errorf("look up: %w", err)
	}
	return e, nil
}

func key(kind byte, parts ...[]byte) []byte {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	k := append(make([]byte, 0, n), kind)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// stamp orders times as keys do. Before 1970 there is no mail.
func stamp(t time.Time) []byte { return number(uint64(max(0, t.UnixNano()))) }
