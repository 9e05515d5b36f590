package spool

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/codec"
)

// BundleFormat is the version of the key bundle's encoding.
const BundleFormat = 1

// Sizes of a bundle's parts, in bytes.
const (
	IDSize       = 32   // a spool id
	StaticSize   = 32   // an X25519 public key
	PrekeySize   = 1216 // an X-Wing (MLKEM768-X25519) public key
	PrekeyIDSize = 8
	// MaxBundleSize bounds an encoded signed bundle.
	MaxBundleSize = 2048
	// MaxAddressSize bounds an address, local part and domain (RFC 5321 section
	// 4.5.3.1 allows more; a packet has no room to spare).
	MaxAddressSize = 128
)

// bundleDomain separates bundle signatures from all others by the same key.
const bundleDomain = "mailproxy/key-bundle/v1\x00"

var (
	// ErrBundle is wrapped by every error about a bundle that cannot be right.
	ErrBundle = errors.New("invalid key bundle")
)

// An ID names a spool. It is the SHA-256 of the spool's Ed25519 read key, so that
// whoever proves the key proves the spool.
type ID [IDSize]byte

// IDOf returns the id of the spool whose requests read signs.
func IDOf(read ed25519.PublicKey) ID { return sha256.Sum256(read) }

// A Prekey is an X-Wing public key (HPKE KEM 0x647a, MLKEM768-X25519) to which
// senders seal, and which is replaced weekly.
type Prekey struct {
	ID      []byte `cbor:"1,keyasint"` // PrekeyIDSize random bytes
	Public  []byte `cbor:"2,keyasint"` // PrekeySize bytes
	Created int64  `cbor:"3,keyasint"` // Unix seconds
}

// A Bundle is a user's public keys. It is published at the user's provider and
// travels inside sealed mail, always as a SignedBundle.
type Bundle struct {
	Format   uint8             `cbor:"1,keyasint"` // BundleFormat
	Address  string            `cbor:"2,keyasint"` // local@provider
	Version  uint64            `cbor:"3,keyasint"` // grows with every replacement
	Spool    ID                `cbor:"4,keyasint"` // where to append
	Identity ed25519.PublicKey `cbor:"5,keyasint"` // signs this bundle
	Static   []byte            `cbor:"6,keyasint"` // X25519, authenticates as sender (Noise_X)
	Prekey   Prekey            `cbor:"7,keyasint"`
}

// A SignedBundle is a bundle's exact bytes and the identity key's signature.
type SignedBundle struct {
	Body      []byte `cbor:"1,keyasint"` // CBOR of Bundle
	Signature []byte `cbor:"2,keyasint"` // Ed25519 over bundleDomain and Body
}

// Sign encodes and signs b, whose Identity must be the public half of identity.
func (b *Bundle) Sign(identity ed25519.PrivateKey) (*SignedBundle, error) {
	if !bytes.Equal(identity.Public().(ed25519.PublicKey), b.Identity) {
		return nil, fmt.Errorf("sign key bundle: %w: identity is another key", ErrBundle)
	}
	body, err := codec.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("sign key bundle: %w", err)
	}
	s := &SignedBundle{Body: body, Signature: ed25519.Sign(identity, append([]byte(bundleDomain), body...))}
	if _, err := s.Open(); err != nil {
		return nil, fmt.Errorf("sign key bundle: %w", err)
	}
	return s, nil
}

// Open checks the signature and every size, and returns the bundle. It does not
// say whether the identity is the right one: that is for the caller to compare.
func (s *SignedBundle) Open() (*Bundle, error) {
	if len(s.Body)+len(s.Signature) > MaxBundleSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrBundle, len(s.Body)+len(s.Signature))
	}
	var b Bundle
	if err := codec.Unmarshal(s.Body, &b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	switch {
	case b.Format != BundleFormat:
		return nil, fmt.Errorf("%w: format %d, this program reads %d", ErrBundle, b.Format, BundleFormat)
	case len(b.Identity) != ed25519.PublicKeySize:
		return nil, fmt.Errorf("%w: identity key has %d bytes", ErrBundle, len(b.Identity))
	case len(b.Static) != StaticSize:
		return nil, fmt.Errorf("%w: static key has %d bytes", ErrBundle, len(b.Static))
	case len(b.Prekey.ID) != PrekeyIDSize || len(b.Prekey.Public) != PrekeySize:
		return nil, fmt.Errorf("%w: prekey has %d and %d bytes", ErrBundle, len(b.Prekey.ID), len(b.Prekey.Public))
	case len(b.Address) > MaxAddressSize:
		return nil, fmt.Errorf("%w: address has %d bytes", ErrBundle, len(b.Address))
	case !ed25519.Verify(b.Identity, append([]byte(bundleDomain), s.Body...), s.Signature):
		return nil, fmt.Errorf("%w: signature does not verify", ErrBundle)
	}
	return &b, nil
}

// PrekeyCreated returns when the prekey was made.
func (b *Bundle) PrekeyCreated() time.Time { return time.Unix(b.Prekey.Created, 0) }
