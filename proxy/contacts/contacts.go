// Package contacts holds other people's keys, for each of the user's accounts
// apart: which identity key is pinned to an address, whether the user has verified
// it, the latest key bundle, and what is to be decided where a key has changed.
//
// A key is trusted on first use. A bundle is signed by the very identity it names,
// so by itself it proves nothing about its address: anybody can sign one for
// anybody's. It is the provider that says which bundle belongs to an address. So a
// bundle that came in mail can introduce a contact (StateNew, until the provider
// says the same), but only one that the provider publishes can put a contact whose
// key is pinned into StateChanged. Were it otherwise, one mail from a stranger
// would hold the mail between two others.
//
// It fetches nothing and sends nothing, and decides nothing that is the user's to
// decide. It may be imported by proxy, the packages beneath it and
// cmd/mailproxy.
package contacts

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/spool"
)

const (
	// Fresh is how long a fetched bundle is used before it is fetched again. It
	// must not be longer than owners of bundles assume (keys.BundleCache).
	Fresh = 24 * time.Hour
	// PrekeyWarnAge is the age of a prekey from which a contact's daemon seems not
	// to have run for a while: it would have replaced it.
	PrekeyWarnAge = 14 * 24 * time.Hour
	// maxRejected is how many rejected keys are remembered for a contact.
	maxRejected = 16
)

var (
	// ErrUnknown is returned for an address that is no contact.
	ErrUnknown = errors.New("no such contact")
	// ErrFetch is returned by ForSealing when a bundle has to be fetched first.
	ErrFetch = errors.New("key bundle has to be fetched")
	// ErrHeld is returned by ForSealing while the user has to decide on a changed
	// key: mail to the contact waits.
	ErrHeld = errors.New("identity key has changed, and the user has not decided")
	// ErrAddress is returned for a bundle that is for another address than asked.
	ErrAddress = errors.New("key bundle is for another address")
	// ErrRollback is returned for a published bundle of a lower version than one
	// seen before.
	ErrRollback = errors.New("key bundle is older than one seen before")
	// ErrConflict is returned for a published bundle of the version seen before but
	// of other content.
	ErrConflict = errors.New("two key bundles have the same version")
	// ErrRejected is returned for a published bundle of an identity that the user
	// has rejected.
	ErrRejected = errors.New("identity key was rejected by the user")
	// ErrDecision is returned when the user's decision is on another key than the
	// one that waits for it: it has changed since it was shown.
	ErrDecision = errors.New("the key to decide on is another one")
	// ErrRecord is wrapped when what is stored cannot be read.
	ErrRecord = errors.New("stored contact is not readable")
)

// A State is how well a contact's key is known.
type State uint8

const (
	// StateNew: known from mail only; the provider has not confirmed the key.
	StateNew State = iota + 1
	// StatePinned: the provider has published this key, and no other since.
	StatePinned
	// StateVerified: pinned, and the user has compared safety numbers.
	StateVerified
	// StateChanged: the provider publishes another identity key. Mail to the
	// contact and mail sealed with the new key is held until the user decides. Mail
	// sealed with the pinned one is theirs as before.
	StateChanged
)

// String returns the state as the user is shown it.
func (s State) String() string {
	switch s {
	case StateNew:
		return "new"
	case StatePinned:
		return "pinned"
	case StateVerified:
		return "verified"
	case StateChanged:
		return "changed"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// A Verdict is what is to be done with a mail, by the key that sealed it.
type Verdict uint8

const (
	// Deliver: the key is the contact's; Contact.State says how well it is known.
	Deliver Verdict = iota + 1
	// Hold: the key is another than the contact's, and it is not decided yet which
	// is right. Keep the mail, and ask Judge when the contact has changed.
	Hold
	// Refuse: the key is not the contact's. The user has rejected it, or the
	// provider has since published the pinned key again.
	Refuse
)

// String names the verdict.
func (v Verdict) String() string {
	switch v {
	case Deliver:
		return "deliver"
	case Hold:
		return "hold"
	case Refuse:
		return "refuse"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// A Contact is another person, as one of the user's accounts knows them.
type Contact struct {
	Address  string
	Identity ed25519.PublicKey // the pinned key
	State    State
	Verified bool // the pinned key was verified, also while State is StateChanged
	// Bundle is the latest of the pinned identity; Fetched is when the provider
	// was last asked and named that identity, zero if never.
	Bundle  *spool.Bundle
	Fetched time.Time
	Since   time.Time // when Identity was pinned
	// Pending is the identity key that waits for the user's decision, if any:
	// published by the provider in StateChanged, else only claimed in a mail.
	Pending      ed25519.PublicKey
	PendingSince time.Time
	// PendingTold says that the user has been told of Pending, as far as it is now.
	PendingTold bool
	// Dropped counts the mails under this address that were dropped because their key
	// is not the contact's, DroppedTold those of them that the user was told of, at
	// the time DroppedAt.
	Dropped, DroppedTold uint64
	DroppedAt            time.Time
	// Fetches counts the answers of the provider about this contact.
	Fetches uint64
	// Blocked says that the user wants no mail from this address.
	Blocked bool
	// Given is the version of the account's own append key that the contact was
	// given last; zero if the user has never written to them.
	Given uint64
	// Lane is how to append to the contact's spool.
	Lane Lane
}

// PrekeyOld reports whether the contact's daemon seems not to have run lately, so
// that mail may not be read soon.
func (c *Contact) PrekeyOld(now time.Time) bool {
	return now.Sub(c.Bundle.PrekeyCreated()) > PrekeyWarnAge
}

// A Book holds the contacts of one account. Its methods work within the caller's
// transactions, and may be called from any goroutine.
type Book struct {
	own string
	now func() time.Time
}

// NewBook returns the contacts of the account own.
func NewBook(own string, now func() time.Time) (*Book, error) {
	own, err := address.Canonical(own)
	if err != nil {
		return nil, fmt.Errorf("open contacts: %w", err)
	}
	return &Book{own: own, now: now}, nil
}

const prefix = "contacts/"

// key returns where a contact is kept: "contacts/" own NUL address.
func (b *Book) key(addr string) []byte { return append(Prefix(b.own), addr...) }

// recordFormat is the version of record. Format 1 had no field after Confirmed, format
// 2 none after Terms.
const recordFormat = 3

// record is the stored form of a contact. Times are Unix seconds, 0 for never.
type record struct {
	Format    uint8               `cbor:"1,keyasint"`
	Bundle    *spool.SignedBundle `cbor:"2,keyasint"` // latest of the pinned identity
	Since     int64               `cbor:"3,keyasint"`
	Fetched   int64               `cbor:"4,keyasint"`
	Fetches   uint64              `cbor:"5,keyasint"`
	Verified  bool                `cbor:"6,keyasint"`
	Pending   *spool.SignedBundle `cbor:"7,keyasint,omitempty"`
	PendingAt int64               `cbor:"8,keyasint,omitempty"`
	// Published says that the provider published Pending.
	Published bool     `cbor:"9,keyasint,omitempty"`
	Rejected  [][]byte `cbor:"10,keyasint,omitempty"` // identity keys, the oldest first
	// Confirmed is the newest version of the pinned identity's that the provider
	// has published, 0 for none. Bundle may be newer, when it came in mail.
	Confirmed uint64 `cbor:"11,keyasint,omitempty"`
	Blocked   bool   `cbor:"12,keyasint,omitempty"`
	// Given is the version of our append key that the contact was given last.
	Given uint64 `cbor:"13,keyasint,omitempty"`
	// AppendSeed and AppendVersion are the contact's append key, and
	// AppendRefused says that their service does not take it. Terms are what a
	// stranger's block costs there, as it was told last.
	AppendSeed    []byte       `cbor:"14,keyasint,omitempty"`
	AppendVersion uint64       `cbor:"15,keyasint,omitempty"`
	AppendRefused bool         `cbor:"16,keyasint,omitempty"`
	Terms         *spool.Terms `cbor:"17,keyasint,omitempty"`
	// Told is the pending identity that the user has been told of, and ToldPublished
	// says that it was published then.
	Told          []byte `cbor:"18,keyasint,omitempty"`
	ToldPublished bool   `cbor:"19,keyasint,omitempty"`
	// Dropped counts mails that were dropped for their key; DroppedTold and
	// DroppedAt say what the user was told of that, and when.
	Dropped     uint64 `cbor:"20,keyasint,omitempty"`
	DroppedTold uint64 `cbor:"21,keyasint,omitempty"`
	DroppedAt   int64  `cbor:"22,keyasint,omitempty"`

	bundle, pending *spool.Bundle // opened
}

// load reads the record of addr, or returns ErrUnknown.
func (b *Book) load(tx *store.Tx, addr string) (*record, error) {
	raw, err := tx.Get(b.key(addr))
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	return decodeRecord(raw)
}

func decodeRecord(raw []byte) (*record, error) {
	var r record
	if err := codec.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Format == 0 || r.Format > recordFormat || r.Bundle == nil {
		return nil, fmt.Errorf("%w: it has format %d, this program reads up to %d", ErrRecord, r.Format, recordFormat)
	}
	if n := len(r.AppendSeed); n != 0 && n != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: append key has a seed of %d bytes", ErrRecord, n)
	}
	var err error
	if r.bundle, err = r.Bundle.Open(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Pending != nil {
		if r.pending, err = r.Pending.Open(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}
	return &r, nil
}

func (b *Book) save(tx *store.Tx, addr string, r *record) (*Contact, error) {
	r.Format = recordFormat
	raw, err := codec.Marshal(r)
	if err != nil {
		return nil, err
	}
	if err := tx.Set(b.key(addr), raw); err != nil {
		return nil, err
	}
	return r.contact(), nil
}

// contact returns what r says.
func (r *record) contact() *Contact {
	c := &Contact{
		Address: r.bundle.Address, Identity: r.bundle.Identity, Bundle: r.bundle,
		State: StateNew, Verified: r.Verified, Since: unix(r.Since), Fetched: unix(r.Fetched), Fetches: r.Fetches,
		Blocked: r.Blocked, Given: r.Given, Lane: r.lane(),
		Dropped: r.Dropped, DroppedTold: r.DroppedTold, DroppedAt: unix(r.DroppedAt),
	}
	switch {
	case r.pending != nil && r.Published:
		c.State = StateChanged
	case r.Verified:
		c.State = StateVerified
	case r.Confirmed != 0:
		c.State = StatePinned
	}
	if r.pending != nil {
		c.Pending, c.PendingSince = r.pending.Identity, unix(r.PendingAt)
		c.PendingTold = bytes.Equal(r.Told, r.pending.Identity) && (r.ToldPublished || !r.Published)
	}
	return c
}

func unix(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(t, 0)
}

func (r *record) rejected(identity []byte) bool {
	for _, k := range r.Rejected {
		if bytes.Equal(k, identity) {
			return true
		}
	}
	return false
}

// Get returns the contact with that address, or ErrUnknown.
func (b *Book) Get(tx *store.Tx, addr string) (*Contact, error) {
	addr, err := address.Canonical(addr)
	if err != nil {
		return nil, fmt.Errorf("get contact: %w", err)
	}
	r, err := b.load(tx, addr)
	if err != nil {
		return nil, fmt.Errorf("get contact: %w", err)
	}
	return r.contact(), nil
}

// List returns all contacts in the order of their addresses.
func (b *Book) List(tx *store.Tx) ([]*Contact, error) {
	var out []*Contact
	err := tx.Iterate(store.Range{Prefix: b.key(""), Values: true}, func(i store.Item) error {
		raw, err := i.Value()
		if err != nil {
			return err
		}
		r, err := decodeRecord(raw)
		if err != nil {
			return fmt.Errorf("contact %q: %w", strings.TrimPrefix(string(i.Key), string(b.key(""))), err)
		}
		out = append(out, r.contact())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list contacts: %w", err)
	}
	return out, nil
}

// ForSealing returns the bundle to seal mail to addr with. It fails with ErrFetch
// if there is none that is fresh: ask the provider, hand the answer to Fetched and
// try again. It fails with ErrHeld while the user has to decide.
func (b *Book) ForSealing(tx *store.Tx, addr string) (*spool.Bundle, error) {
	addr, err := address.Canonical(addr)
	if err != nil {
		return nil, fmt.Errorf("find key: %w", err)
	}
	r, err := b.load(tx, addr)
	if errors.Is(err, ErrUnknown) {
		return nil, fmt.Errorf("find key: %w", ErrFetch)
	}
	if err != nil {
		return nil, fmt.Errorf("find key: %w", err)
	}
	if r.contact().State == StateChanged {
		return nil, fmt.Errorf("find key: %w", ErrHeld)
	}
	// A time ahead of now is of a clock that was wrong: it proves no freshness.
	age := b.now().Sub(unix(r.Fetched))
	if r.Fetched == 0 || age < 0 || age >= Fresh {
		return nil, fmt.Errorf("find key: %w", ErrFetch)
	}
	return r.bundle, nil
}
