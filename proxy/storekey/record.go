package storekey

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// magic begins a File that is not Plain, so that a person who looks into it knows
// what it is. A Plain one has store.KeySize bytes, which is fewer than this has.
const magic = "mailproxy: the key of the store, sealed\n"

// recordVersion is the version of the record that this program reads and writes.
const recordVersion = 1

// sumSize is how many bytes of a SHA-256 end the file: by them damage is told from a
// wrong passphrase, which the seal alone cannot.
const sumSize = 8

// A record is what a File that is not Plain holds: magic, this in CBOR, and a sum of
// both.
type record struct {
	Version uint8  `cbor:"1,keyasint"`
	Way     Way    `cbor:"2,keyasint"`
	Cost    Cost   `cbor:"3,keyasint,omitempty"`
	Salt    []byte `cbor:"4,keyasint,omitempty"`
	KeyFile string `cbor:"5,keyasint,omitempty"`
	Item    []byte `cbor:"6,keyasint,omitempty"` // names the keychain's item
	// Sealed is the store key under AES-256-GCM with a random nonce before it, and
	// this record without it as additional data.
	Sealed []byte `cbor:"7,keyasint,omitempty"`
}

// Cost are the parameters of Argon2id (RFC 9106 section 3.1).
type Cost struct {
	Time   uint32 `cbor:"1,keyasint" json:"time"`       // passes over the memory
	Memory uint32 `cbor:"2,keyasint" json:"memory_kib"` // KiB
	Lanes  uint8  `cbor:"3,keyasint" json:"lanes"`
}

// DefaultCost is the second recommended option of RFC 9106 section 4, for where 2 GiB
// of memory cannot be had: a daemon beside a mail program has not so much to spare.
// It takes 64 MiB and some tenths of a second at each start.
func DefaultCost() Cost { return Cost{Time: 3, Memory: 64 << 10, Lanes: 4} }

// saltSize is what RFC 9106 section 4 recommends, in bytes.
const saltSize = 16

// check bounds what a file may ask this computer for.
func (c Cost) check() error {
	if c.Time < 1 || c.Time > 1<<10 || c.Lanes < 1 || c.Memory < 8*uint32(c.Lanes) || c.Memory > 4<<20 {
		return fmt.Errorf("it asks for %d passes over %d KiB in %d lanes", c.Time, c.Memory, c.Lanes)
	}
	return nil
}

// derive makes the sealing key of a passphrase.
func (c Cost) derive(passphrase string, salt []byte) ([]byte, error) {
	p, err := prepare(passphrase)
	if err != nil {
		return nil, err
	}
	key := argon2.IDKey(p, salt, c.Time, c.Memory, c.Lanes, store.KeySize)
	debug.FreeOSMemory() // the daemon that goes on has no use for 64 MiB
	return key, nil
}

// prepare makes one form of what keyboards give in several (RFC 8265 section 4.2).
func prepare(passphrase string) ([]byte, error) {
	p, err := precis.OpaqueString.Bytes([]byte(passphrase))
	if err != nil {
		return nil, fmt.Errorf("a passphrase is of letters, digits, signs and spaces, and not empty: %w", err)
	}
	return p, nil
}

// header is what the seal covers beside the key.
func (r record) header() ([]byte, error) {
	r.Sealed = nil
	b, err := codec.Marshal(r)
	return append([]byte(magic), b...), err
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal puts the store key into the record.
func (r *record) seal(with, key []byte) error {
	head, err := r.header()
	if err != nil {
		return err
	}
	aead, err := gcm(with)
	if err != nil {
		return err
	}
	r.Sealed = aead.Seal(nil, nil, key, head)
	return nil
}

var errSeal = errors.New("the key does not fit the seal")

// open returns the store key, or errSeal.
func (r *record) open(with []byte) ([]byte, error) {
	head, err := r.header()
	if err != nil {
		return nil, err
	}
	aead, err := gcm(with)
	if err != nil {
		return nil, err
	}
	key, err := aead.Open(nil, nil, r.Sealed, head)
	if err != nil || len(key) != store.KeySize {
		return nil, errSeal
	}
	return key, nil
}

// encode returns the bytes of File.
func (r *record) encode() ([]byte, error) {
	b, err := codec.Marshal(r)
	if err != nil {
		return nil, err
	}
	b = append([]byte(magic), b...)
	sum := sha256.Sum256(b)
	return append(b, sum[:sumSize]...), nil
}

// parse reads the bytes of File. For a Plain one, the record says that and no more.
func parse(dir string, raw []byte) (*record, error) {
	if len(raw) == store.KeySize {
		return &record{Way: Plain}, nil
	}
	damaged := func(format string, a ...any) error {
		return fmt.Errorf("%w: key file %s %s: restore it from a backup", ErrDamaged, filepath.Join(dir, File), fmt.Sprintf(format, a...))
	}
	if !bytes.HasPrefix(raw, []byte(magic)) {
		return nil, damaged("has %d bytes, want %d", len(raw), store.KeySize)
	}
	body := raw[:max(len(raw)-sumSize, 0)]
	sum := sha256.Sum256(body)
	if len(body) <= len(magic) || !bytes.Equal(raw[len(body):], sum[:sumSize]) {
		return nil, damaged("is not as it was written")
	}
	var r record
	if err := codec.Unmarshal(body[len(magic):], &r); err != nil {
		return nil, damaged("cannot be read: %v", err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("key file %s has version %d, this program reads %d; another release may fit", filepath.Join(dir, File), r.Version, recordVersion)
	}
	switch r.Way {
	case Passphrase:
		if err := r.Cost.check(); err != nil {
			return nil, damaged("cannot be used: %v", err)
		}
	case KeyFile, Keychain:
	default:
		return nil, damaged("says nothing of how the key is kept")
	}
	return &r, nil
}
