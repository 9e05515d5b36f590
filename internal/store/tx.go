package store

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

// A Tx is a transaction: a snapshot to read from and, in Update, the writes to
// be made together. It must not be used after the function it was given to.
type Tx struct {
	txn      *badger.Txn
	onCommit []func()
	writes   int
	st       *Store
}

// Update runs fn in a read-write transaction and commits it. When Update
// returns nil, all writes are synced to disk and the functions registered with
// OnCommit have run; when it returns an error, nothing was written. fn is run
// again if another transaction changed what it read, so it must have no effect
// other than through tx.
//
// On the brink of a full disk (see Brink) it fails with ErrFull before it begins:
// Badger's write would end the process.
func (s *Store) Update(fn func(tx *Tx) error) error {
	if err := s.Brink(); err != nil {
		return err
	}
	for {
		tx := &Tx{txn: s.db.NewTransaction(true), st: s}
		err := fn(tx)
		if err == nil {
			err = tx.txn.Commit()
		}
		tx.txn.Discard()
		switch {
		case errors.Is(err, badger.ErrConflict):
			continue
		case err != nil:
			return FullOr(err)
		}
		for _, f := range tx.onCommit {
			f()
		}
		s.release()
		return nil
	}
}

// View runs fn on a read-only snapshot.
func (s *Store) View(fn func(tx *Tx) error) error {
	tx := &Tx{txn: s.db.NewTransaction(false), st: s}
	defer tx.txn.Discard()
	return fn(tx)
}

// Snapshot returns a transaction that can only read, for longer than a function
// takes. The caller ends it by done.
func (s *Store) Snapshot() (tx *Tx, done func()) {
	tx = &Tx{txn: s.db.NewTransaction(false), st: s}
	return tx, tx.txn.Discard
}

// OnCommit registers f to run once, in order, after the transaction is durable.
func (tx *Tx) OnCommit(f func()) { tx.onCommit = append(tx.onCommit, f) }

// Get returns a copy of the value of key, or ErrNotFound.
func (tx *Tx) Get(key []byte) ([]byte, error) {
	item, err := tx.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	v, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	tx.st.hasRead(len(v))
	return v, nil
}

// GetOnce is Get of what will hardly be read again: the memory that it takes to read it
// is given back soon.
func (tx *Tx) GetOnce(key []byte) ([]byte, error) {
	v, err := tx.Get(key)
	if len(v) < leastRead && len(v) >= leastWritten { // else Get has counted it, or it is in the tables
		tx.st.passed(faultAround)
	}
	return v, err
}

// Read calls fn with the value of key, which is valid until fn returns and may not be
// changed, or returns ErrNotFound. Where a part of the value is wanted, or it is
// decoded, it saves Get's copy.
func (tx *Tx) Read(key []byte, fn func(value []byte) error) error {
	item, err := tx.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	var failed error // fn's own, which is not the store's
	size := 0
	if err := item.Value(func(v []byte) error {
		size, failed = len(v), fn(v)
		return nil
	}); err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	tx.st.hasRead(size)
	return failed
}

// Has reports whether key is there, without reading its value.
func (tx *Tx) Has(key []byte) (bool, error) {
	_, err := tx.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read store: %w", err)
	}
	return true, nil
}

// Set writes value under key. Neither may be changed until Update returns. One
// transaction holds about 1 MB of keys and values below 1 KiB, and about ten
// thousand entries; larger values count only by their keys.
func (tx *Tx) Set(key, value []byte) error {
	tx.writes++
	tx.st.pages.wrote(len(value))
	if err := tx.txn.Set(key, value); err != nil {
		return fmt.Errorf("write store: %w", err)
	}
	return nil
}

// Delete removes key, which need not be there. The key may not be changed until
// Update returns.
func (tx *Tx) Delete(key []byte) error {
	tx.writes++
	if err := tx.txn.Delete(key); err != nil {
		return fmt.Errorf("write store: %w", err)
	}
	return nil
}

// Writes returns how often Set and Delete were called.
func (tx *Tx) Writes() int { return tx.writes }

// An Item is one entry during iteration; its slices are valid until the
// iteration goes on.
type Item struct {
	Key  []byte
	item *badger.Item
}

// Value returns a copy of the entry's value.
func (i Item) Value() ([]byte, error) {
	v, err := i.item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	return v, nil
}

// Read calls fn with the entry's value, which is valid until fn returns and may not
// be changed. For many small values it is several times as fast as Value, most of all
// without Range.Values, which has a goroutine fetch each one.
func (i Item) Read(fn func(value []byte) error) error {
	var failed error // fn's own, which is not the store's
	if err := i.item.Value(func(v []byte) error {
		failed = fn(v)
		return nil
	}); err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	return failed
}

// ErrStop ends an iteration early without an error.
var ErrStop = errors.New("stop iterating")

// Range tells Iterate where to go.
type Range struct {
	Prefix []byte // only keys with this prefix
	From   []byte // start at the first key >= From; nil for the whole prefix
	// Values prefetches values; leave it false to read keys alone.
	Values bool
	// Reverse goes from the last key of the prefix (or the last <= From) downwards.
	Reverse bool
}

// Iterate calls fn for each entry of r in key order until fn fails; ErrStop ends
// it without an error. In an Update it sees the transaction's own writes.
func (tx *Tx) Iterate(r Range, fn func(Item) error) error {
	opt := badger.DefaultIteratorOptions
	opt.Prefix, opt.PrefetchValues, opt.Reverse = r.Prefix, r.Values, r.Reverse
	if r.Values {
		opt.PrefetchSize = 16
	}
	it := tx.txn.NewIterator(opt)
	defer it.Close()
	seek := r.From
	if seek == nil {
		seek = r.Prefix
		if r.Reverse {
			// The last key of a prefix sorts below the prefix followed by 0xff bytes.
			seek = append(append([]byte(nil), r.Prefix...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		}
	}
	for it.Seek(seek); it.ValidForPrefix(r.Prefix); it.Next() {
		item := it.Item()
		if err := fn(Item{Key: item.Key(), item: item}); err != nil {
			if errors.Is(err, ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

// FullOr marks an error that means the disk has no room left, or that this user may
// have no more of it.
func FullOr(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
