// Package keys holds an account's own keys: the identity that signs its bundle,
// the static key by which it is known as a sender, the read key and the append key of
// its spool, and the prekeys to which others seal. It makes them, keeps them in the
// store, replaces prekeys weekly and erases those that nothing can be sealed to any
// more.
//
// It publishes nothing and opens nothing: the caller asks the provider to publish
// a bundle and says when that is done; proxy/seal opens with what Recipient
// returns. Other people's keys are in proxy/contacts. It may be imported by proxy
// and the packages beneath it.
//
// A key is erased from the store by deleting its record. Its bytes leave the disk
// when the store next compacts the files they are in; until then only the
// encryption of the store protects them from who takes the disk.
package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flynn/noise"

	"mailproxy/internal/address"
	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
)

// How long a prekey lives. Mail sealed to a prekey may arrive as long after its
// successor is published as a sender goes on using a cached bundle, keeps the
// sealed blocks in the outbox, and the spool keeps them for a recipient.
const (
	// PrekeyLife is the age at which a prekey is replaced; PrekeyJitter is the
	// most that is added, drawn for each, so that the bundles of an account and
	// its aliases are not replaced in one breath.
	PrekeyLife   = 7 * 24 * time.Hour
	PrekeyJitter = 24 * time.Hour

	BundleCache = 24 * time.Hour      // how long others use a bundle they fetched
	OutboxLife  = 5 * 24 * time.Hour  // how long an outbox retries sealed blocks
	SpoolAge    = 14 * 24 * time.Hour // how long a spool keeps a block
	// PrekeyRetention is how long a prekey outlives the publication of its
	// successor.
	PrekeyRetention = BundleCache + OutboxLife + SpoolAge
	// EraseGrace is how long a prekey must have been due for erasure before it is
	// erased, so that a clock which is wrong for a day destroys no mail.
	EraseGrace = 24 * time.Hour
	// ClockDoubt is how long a clock that went back is taken to be wrong; nothing
	// is erased then.
	ClockDoubt = 3 * 24 * time.Hour
)

// InstanceSize is the length of a reader instance's id in bytes.
const InstanceSize = 8

var (
	// ErrExists is returned by Create for an address that has keys already.
	ErrExists = errors.New("account has keys already")
	// ErrNoAccount is returned by Load for an address that has none.
	ErrNoAccount = errors.New("no keys for this address")
	// ErrRecord is wrapped when what is stored cannot be read.
	ErrRecord = errors.New("stored keys are not readable")
)

// An Account holds the keys of one address. Its methods may be called from any
// goroutine.
type Account struct {
	store    *store.Store
	address  string
	now      func() time.Time
	identity ed25519.PrivateKey
	static   seal.StaticKey
	read     ed25519.PrivateKey
	instance [InstanceSize]byte
	nonce    atomic.Uint64 // the last one given out

	// mu guards what follows, a copy of what the store holds.
	mu      sync.RWMutex
	current *spool.SignedBundle
	bundle  *spool.Bundle
	prekeys []seal.Prekey // the newest first
	append  AppendKey
	// appendPublished says that the spool is known to have append.
	appendPublished bool
	generation      uint64 // of the provider's store, as it was seen last
}

// Create makes the keys of addr and its first bundle, in tx. It fails with
// ErrExists, and with address.ErrInvalid for what is no address of the network.
func Create(tx *store.Tx, addr string, now time.Time) error {
	addr, err := canonical(addr)
	if err != nil {
		return fmt.Errorf("create keys: %w", err)
	}
	if there, err := tx.Has(key(addr, kindAccount)); err != nil || there {
		if there {
			err = ErrExists
		}
		return fmt.Errorf("create keys: %w", err)
	}
	acc := accountRecord{Format: recordFormat, IdentitySeed: make([]byte, ed25519.SeedSize), ReadSeed: make([]byte, ed25519.SeedSize), Instance: make([]byte, InstanceSize)}
	for _, b := range [][]byte{acc.IdentitySeed, acc.ReadSeed, acc.Instance} {
		if _, err := io.ReadFull(rand.Reader, b); err != nil {
			return fmt.Errorf("create keys: %w", err)
		}
	}
	static, err := noise.DH25519.GenerateKeypair(rand.Reader)
	if err != nil {
		return fmt.Errorf("create keys: %w", err)
	}
	acc.StaticPrivate, acc.StaticPublic = static.Private, static.Public
	if err := put(tx, key(addr, kindAccount), &acc); err != nil {
		return fmt.Errorf("create keys: %w", err)
	}
	// Counting starts at a random number: equal counts would show a provider which
	// spools are read by one daemon.
	boot := make([]byte, 4)
	if _, err := io.ReadFull(rand.Reader, boot); err != nil {
		return fmt.Errorf("create keys: %w", err)
	}
	boot[0] &= 0x7f
	if err := tx.Set(key(addr, kindBoot), boot); err != nil {
		return fmt.Errorf("create keys: %w", err)
	}
	state := &stateRecord{Format: recordFormat}
	if err := acc.newPrekey(tx, addr, state, now); err != nil {
		return fmt.Errorf("create keys: %w", err)
	}
	return nil
}

// CreateIn is Create in a transaction of its own.
func CreateIn(s *store.Store, addr string, now time.Time) error {
	return s.Update(func(tx *store.Tx) error { return Create(tx, addr, now) })
}

// List returns the addresses that have keys, in order.
func List(tx *store.Tx) ([]string, error) {
	var out []string
	err := tx.Iterate(store.Range{Prefix: []byte(prefix)}, func(i store.Item) error {
		addr, kind, _ := strings.Cut(strings.TrimPrefix(string(i.Key), prefix), "\x00")
		if kind == kindAccount {
			out = append(out, addr)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return out, nil
}

// Delete erases all keys of addr: mail to it can then never be opened again.
func Delete(tx *store.Tx, addr string) error {
	addr, err := canonical(addr)
	if err != nil {
		return fmt.Errorf("delete keys: %w", err)
	}
	var found [][]byte
	err = tx.Iterate(store.Range{Prefix: key(addr, "")}, func(i store.Item) error {
		found = append(found, bytes.Clone(i.Key))
		return nil
	})
	if err == nil && len(found) == 0 {
		err = ErrNoAccount
	}
	for _, k := range found {
		err = errors.Join(err, tx.Delete(k))
	}
	if err != nil {
		return fmt.Errorf("delete keys: %w", err)
	}
	return nil
}

// Load reads the keys of addr and counts this start, so that no nonce is given out
// twice. It fails with ErrNoAccount or ErrRecord. An account is loaded once per
// process.
func Load(s *store.Store, addr string, now func() time.Time) (*Account, error) {
	addr, err := canonical(addr)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	var a *Account
	err = s.Update(func(tx *store.Tx) error {
		var rec accountRecord
		if err := get(tx, key(addr, kindAccount), &rec); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return ErrNoAccount
			}
			return err
		}
		if err := rec.check(); err != nil {
			return err
		}
		boot, err := nextBoot(tx, addr)
		if err != nil {
			return err
		}
		a = &Account{
			store: s, address: addr, now: now,
			identity: ed25519.NewKeyFromSeed(rec.IdentitySeed),
			static:   seal.StaticKey{Private: rec.StaticPrivate, Public: rec.StaticPublic},
			read:     ed25519.NewKeyFromSeed(rec.ReadSeed),
			instance: [InstanceSize]byte(rec.Instance),
		}
		// Of two daemons on copies of one store, which count their starts alike, the
		// one that began higher makes the nonces of the other too old. So the provider
		// refuses one of them, rather than now the one and now the other.
		a.nonce.Store(uint64(boot)<<32 | uint64(mathrand.Uint32N(1<<31)))
		if err := a.loadAppend(tx); err != nil {
			return err
		}
		v, err := readView(tx, addr)
		if err != nil {
			return err
		}
		return a.adopt(v)
	})
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	return a, nil
}

// nextBoot counts a start of the daemon.
func nextBoot(tx *store.Tx, addr string) (uint32, error) {
	b, err := tx.Get(key(addr, kindBoot))
	if err != nil {
		return 0, err
	}
	if len(b) != 4 {
		return 0, fmt.Errorf("%w: start counter has %d bytes", ErrRecord, len(b))
	}
	boot := binary.BigEndian.Uint32(b) + 1
	return boot, tx.Set(key(addr, kindBoot), binary.BigEndian.AppendUint32(nil, boot))
}

// Address returns the account's address in its canonical form.
func (a *Account) Address() string { return a.address }

// Identity returns the public key that signs the account's bundles.
func (a *Account) Identity() ed25519.PublicKey { return a.identity.Public().(ed25519.PublicKey) }

// IdentityKey returns the private identity key, which signs what replaces the
// account's bundle at the provider.
func (a *Account) IdentityKey() ed25519.PrivateKey { return a.identity }

// ReadKey returns the private key that signs reads of the account's spool.
func (a *Account) ReadKey() ed25519.PrivateKey { return a.read }

// Spool returns the id of the account's spool.
func (a *Account) Spool() spool.ID { return spool.IDOf(a.read.Public().(ed25519.PublicKey)) }

// Instance identifies this installation to the spool, so that a second daemon on
// the same account is recognised. It is random and stays for the store's life.
func (a *Account) Instance() [InstanceSize]byte { return a.instance }

// Nonce returns a number that this account has never used: the count of starts in
// the upper 32 bits; in the lower a random number that each call counts on from,
// which lasts 68 years at one call a second.
func (a *Account) Nonce() uint64 { return a.nonce.Add(1) }

// Bundle returns the current bundle and its signed form. It need not be the one
// that the provider publishes: see Unpublished.
func (a *Account) Bundle() (*spool.Bundle, *spool.SignedBundle) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.bundle, a.current
}

// Sender returns what sealing as this account takes.
func (a *Account) Sender() seal.Sender {
	_, signed := a.Bundle()
	return seal.Sender{Static: a.static, Bundle: signed}
}

// Recipient returns what opening blocks sealed to this account takes, with every
// prekey that is still kept, the newest first.
func (a *Account) Recipient() seal.Recipient {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return seal.Recipient{
		Address: a.address, Identity: a.Identity(), Static: a.static,
		Prekeys: append([]seal.Prekey(nil), a.prekeys...),
	}
}

// String hides the keys, and whose they are, from logs.
func (a *Account) String() string { return "keys.Account(secret)" }

// GoString hides the keys from logs.
func (a *Account) GoString() string { return a.String() }

func canonical(addr string) (string, error) { return address.Canonical(addr) }

// put stores v as CBOR.
func put(tx *store.Tx, key []byte, v any) error {
	b, err := codec.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Set(key, b)
}

// get reads what put stored.
func get(tx *store.Tx, key []byte, v any) error {
	b, err := tx.Get(key)
	if err != nil {
		return err
	}
	if err := codec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return nil
}
