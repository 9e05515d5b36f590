package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"mailproxy/internal/store"
	"mailproxy/spool"
)

// kindAppend is where the append key is kept.
const kindAppend = "append"

// An AppendKey gives the right to append to the account's spool by the contacts'
// lane. It travels inside sealed mail; whoever must not have it any more is shut out
// by another one.
type AppendKey struct {
	Key     ed25519.PrivateKey
	Version uint64 // grows with every new key; never zero
}

// String hides the key from logs.
func (AppendKey) String() string { return "keys.AppendKey(secret)" }

// GoString hides the key from logs.
func (k AppendKey) GoString() string { return k.String() }

// appendRecord is the stored form of the append key. An account of before there
// were any has none: Load makes it.
type appendRecord struct {
	Format  uint8  `cbor:"1,keyasint"`
	Seed    []byte `cbor:"2,keyasint"` // Ed25519 (RFC 8032)
	Version uint64 `cbor:"3,keyasint"`
	// Published says that the spool is known to have it.
	Published bool `cbor:"4,keyasint,omitempty"`
}

func (r *appendRecord) key() AppendKey {
	return AppendKey{Key: ed25519.NewKeyFromSeed(r.Seed), Version: r.Version}
}

// readAppend returns the append key's record, or nil if there is none yet.
func readAppend(tx *store.Tx, addr string) (*appendRecord, error) {
	var r appendRecord
	err := get(tx, key(addr, kindAppend), &r)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case r.Format != recordFormat:
		return nil, fmt.Errorf("%w: append key has format %d, this program reads %d", ErrRecord, r.Format, recordFormat)
	case len(r.Seed) != ed25519.SeedSize || r.Version == 0:
		return nil, fmt.Errorf("%w: append key has a seed of %d bytes, version %d", ErrRecord, len(r.Seed), r.Version)
	}
	return &r, nil
}

// newAppend makes an append key with this version, and stores it.
func newAppend(tx *store.Tx, addr string, version uint64) (*appendRecord, error) {
	r := &appendRecord{Format: recordFormat, Seed: make([]byte, ed25519.SeedSize), Version: version}
	if _, err := io.ReadFull(rand.Reader, r.Seed); err != nil {
		return nil, fmt.Errorf("make append key: %w", err)
	}
	return r, put(tx, key(addr, kindAppend), r)
}

// loadAppend reads the append key, or makes the first. It is for Load alone.
func (a *Account) loadAppend(tx *store.Tx) error {
	r, err := readAppend(tx, a.address)
	if err == nil && r == nil {
		r, err = newAppend(tx, a.address, 1)
	}
	if err != nil {
		return err
	}
	a.append, a.appendPublished = r.key(), r.Published
	return nil
}

// AppendKey returns the account's append key, and whether its spool is known to
// have it.
func (a *Account) AppendKey() (k AppendKey, published bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.append, a.appendPublished
}

// RotateAppend makes a new append key in tx, with the next version. It is the
// account's once tx is committed.
func (a *Account) RotateAppend(tx *store.Tx) error {
	return a.replaceAppend(tx, func(version uint64) uint64 { return version + 1 })
}

// SkipAppend is RotateAppend, durable when it returns, for a spool that has a
// higher version: this store was restored from a backup. How much higher is not
// known; twice the version reaches it in a few steps.
func (a *Account) SkipAppend() error {
	return a.store.Update(func(tx *store.Tx) error {
		return a.replaceAppend(tx, func(version uint64) uint64 { return min(2*version, spool.MaxSequence) })
	})
}

func (a *Account) replaceAppend(tx *store.Tx, next func(version uint64) uint64) error {
	r, err := readAppend(tx, a.address)
	if err == nil && r == nil {
		err = fmt.Errorf("%w: there is no append key", ErrRecord)
	}
	if err == nil {
		r, err = newAppend(tx, a.address, next(r.Version))
	}
	if err != nil {
		return fmt.Errorf("replace append key: %w", err)
	}
	a.adoptAppend(tx, r)
	return nil
}

// AppendKeyTx returns the account's append key as tx sees it: for whoever decides by
// what else is in the store who may have it.
func (a *Account) AppendKeyTx(tx *store.Tx) (AppendKey, error) {
	r, err := readAppend(tx, a.address)
	if err == nil && r == nil {
		err = fmt.Errorf("%w: there is no append key", ErrRecord)
	}
	if err != nil {
		return AppendKey{}, fmt.Errorf("read append key: %w", err)
	}
	return r.key(), nil
}

// AppendPublished records, durably, that the spool has the append key of this
// version. It changes nothing if there is another by now.
func (a *Account) AppendPublished(version uint64) error {
	err := a.store.Update(func(tx *store.Tx) error {
		r, err := readAppend(tx, a.address)
		if err != nil || r == nil || r.Version != version || r.Published {
			return err
		}
		r.Published = true
		a.adoptAppend(tx, r)
		return put(tx, key(a.address, kindAppend), r)
	})
	if err != nil {
		return fmt.Errorf("record published append key: %w", err)
	}
	return nil
}

// adoptAppend makes r the account's once tx is committed.
func (a *Account) adoptAppend(tx *store.Tx, r *appendRecord) {
	k, published := r.key(), r.Published
	tx.OnCommit(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		// Of two commits the later may come to this first.
		if k.Version >= a.append.Version {
			a.append, a.appendPublished = k, published
		}
	})
}
