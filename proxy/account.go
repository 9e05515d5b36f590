package proxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

// accountVersion is the version of an account's record. Version 1 had no field after
// Registered, version 2 none after Ending.
const accountVersion = 3

// Cost of Argon2id (RFC 9106 section 4 recommends more memory; a password that
// we made has 100 bits, and one that the user chose guards a loopback port).
const (
	argonTime   = 3
	argonMemory = 16 << 10 // KiB
	argonLanes  = 1
	minPassword = 12 // characters of a password that the user chose
)

// accountRecord is what is kept of an account beside its keys.
type accountRecord struct {
	Version     uint8  `cbor:"1,keyasint"`
	Address     string `cbor:"2,keyasint"`
	DisplayName string `cbor:"3,keyasint,omitempty"`
	Salt        []byte `cbor:"4,keyasint"`
	Hash        []byte `cbor:"5,keyasint"` // Argon2id of the password
	Registered  bool   `cbor:"6,keyasint,omitempty"`
	Invite      []byte `cbor:"7,keyasint,omitempty"` // to register with
	Ending      Ending `cbor:"8,keyasint,omitempty"`
	// Owner is the account whose alias this is, empty for an account. An alias has no
	// password and no folders.
	Owner    string `cbor:"9,keyasint,omitempty"`
	Retiring bool   `cbor:"10,keyasint,omitempty"` // it is to be taken back at a random time
}

// An Ending says how far an account is taken back.
type Ending uint8

// The endings. An account never goes back to an earlier one.
const (
	Active  Ending = 0
	Revoked Ending = 1 // its identity is taken back: it can only be read
	Deleted Ending = 2 // its keys are erased; its mail is here until that is removed too
)

// String returns the ending in a word, nothing for an account that goes on.
func (e Ending) String() string {
	switch e {
	case Active:
		return ""
	case Revoked:
		return "revoked"
	case Deleted:
		return "deleted"
	}
	return fmt.Sprintf("ending %d", uint8(e))
}

const accountPrefix = "account/"

func accountKey(address string) []byte { return []byte(accountPrefix + address) }

func (r *accountRecord) put(tx *store.Tx) error {
	r.Version = accountVersion
	b, err := codec.Marshal(r)
	if err != nil {
		return err
	}
	return tx.Set(accountKey(r.Address), b)
}

func listAccounts(st *store.Store) ([]*accountRecord, error) {
	var list []*accountRecord
	err := st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: []byte(accountPrefix), Values: true}, func(i store.Item) error {
			v, err := i.Value()
			if err != nil {
				return err
			}
			var r accountRecord
			if err := codec.Unmarshal(v, &r); err != nil {
				return err
			}
			if r.Version == 0 || r.Version > accountVersion {
				return fmt.Errorf("an account has version %d, this program reads up to %d", r.Version, accountVersion)
			}
			list = append(list, &r)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	return list, nil
}

// NewPassword makes a password of 100 random bits in groups that can be typed.
func NewPassword() string {
	b := make([]byte, 13)
	rand.Read(b) // never fails
	s := strings.ToLower(base32.StdEncoding.EncodeToString(b))[:20]
	return s[:5] + "-" + s[5:10] + "-" + s[10:15] + "-" + s[15:]
}

// setPassword hashes password into r.
func (r *accountRecord) setPassword(password string) error {
	if len(password) < minPassword {
		return fmt.Errorf("the password has fewer than %d characters; choose a longer one, or none and one is made", minPassword)
	}
	r.Salt = make([]byte, 16)
	rand.Read(r.Salt)
	r.Hash = r.hash(password)
	return nil
}

func (r *accountRecord) hash(password string) []byte {
	return argon2.IDKey([]byte(password), r.Salt, argonTime, argonMemory, argonLanes, 32)
}

// passwords checks logins. Mail clients log in several times a minute with the
// same password, so one that was right is remembered, as a MAC under a key that
// lives as long as the process.
type passwords struct {
	key [32]byte

	hashing sync.Mutex // keeps Argon2id, and the memory it takes, to one at a time; taken before mu

	// mu guards right. It is never held while something is hashed: whoever keeps
	// guessing has others wait for hashing, but nobody whose login is remembered.
	mu    sync.Mutex
	right map[string][sha256.Size]byte
}

func newPasswords() *passwords {
	p := &passwords{right: map[string][sha256.Size]byte{}}
	rand.Read(p.key[:])
	return p
}

var errPassword = fmt.Errorf("check password: %w", mailbox.ErrBadPassword)

// check compares password with r's. A nil r takes as long as a wrong password.
func (p *passwords) check(r *accountRecord, password string) error {
	mac := hmac.New(sha256.New, p.key[:])
	if r != nil {
		mac.Write(r.Hash)
	}
	mac.Write([]byte(password))
	sum := [sha256.Size]byte(mac.Sum(nil))
	if r != nil && p.remembered(r.Address, sum) {
		return nil
	}
	p.hashing.Lock()
	defer p.hashing.Unlock()
	if r == nil {
		(&accountRecord{Salt: make([]byte, 16)}).hash(password)
		return errPassword
	}
	// A mail program makes several connections at once: the first may have been
	// hashed while this one waited.
	if p.remembered(r.Address, sum) {
		return nil
	}
	if subtle.ConstantTimeCompare(r.hash(password), r.Hash) != 1 {
		return errPassword
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.right[r.Address] = sum
	return nil
}

// remembered reports whether sum is of the login that was right before.
func (p *passwords) remembered(address string, sum [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.right[address]
	return ok && subtle.ConstantTimeCompare(known[:], sum[:]) == 1
}

// errAddressTaken is returned for an alias that is, or was, an address of this daemon.
var errAddressTaken = errors.New("this address is one of yours, or was; choose another name")

// ErrAccountExists is returned when an account is added twice.
var ErrAccountExists = errors.New("the account is here already; \"mailproxy account settings\" says what to enter in a mail program")
