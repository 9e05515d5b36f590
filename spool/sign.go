package spool

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// MaxExpiry is how far ahead of the service's clock a request may expire.
const MaxExpiry = 10 * time.Minute

// requestDomain separates request signatures from all others by the same key.
const requestDomain = "mailproxy/spool-request/v1\x00"

// serviceDomain separates the hash that stands for a service.
const serviceDomain = "mailproxy/service/v1\x00"

// A ServiceID stands for a service in signatures: a request that was signed for
// one provider is worth nothing to another.
type ServiceID [sha256.Size]byte

// ServiceOf returns the id of the spool of a provider, whose domain is in its
// normal form: SHA-256(serviceDomain ‖ "spool" ‖ 0 ‖ domain).
func ServiceOf(provider string) ServiceID {
	return sha256.Sum256([]byte(serviceDomain + "spool\x00" + provider))
}

// Auth makes a request that changes or reads something its sender's own.
type Auth struct {
	Instance  Instance `cbor:"1,keyasint"`
	Nonce     uint64   `cbor:"2,keyasint"` // a counter: never twice with the same key and instance
	Expiry    int64    `cbor:"3,keyasint"` // Unix seconds, at most MaxExpiry ahead
	Signature []byte   `cbor:"4,keyasint"` // Ed25519
}

func (a *Auth) sized() bool { return len(a.Signature) == ed25519.SignatureSize }

// The roles in which a key signs.
const (
	roleRegister     = 1 // Register, the identity key
	roleRegisterRead = 2 // Register, the read key
	roleReplace      = 3 // Replace, the identity key
	roleRead         = 4 // Read, the read key
	roleAccess       = 5 // Access, the read key
	roleRevoke       = 6 // Revoke, the identity key
)

// input is what is signed. Every part has a fixed length, 148 bytes in all.
func (a *Auth) input(role byte, service ServiceID, spool ID, subject [32]byte) []byte {
	b := make([]byte, 0, len(requestDomain)+1+32+32+32+InstanceSize+8+8)
	b = append(b, requestDomain...)
	b = append(b, role)
	b = append(b, service[:]...)
	b = append(b, spool[:]...)
	b = append(b, subject[:]...)
	b = append(b, a.Instance[:]...)
	b = binary.BigEndian.AppendUint64(b, a.Nonce)
	return binary.BigEndian.AppendUint64(b, uint64(a.Expiry))
}

// content is the subject of a request that publishes a bundle. The signature has
// a fixed length, so the two parts cannot be cut elsewhere.
func (s *SignedBundle) content() [32]byte {
	h := sha256.New()
	h.Write(s.Body)
	h.Write(s.Signature)
	return [32]byte(h.Sum(nil))
}

// subject is that of a read: cursor, want, and 16 zero bytes.
func (r *Read) subject() (b [32]byte) {
	binary.BigEndian.PutUint64(b[0:], r.Cursor)
	binary.BigEndian.PutUint64(b[8:], r.Want)
	return b
}

// Sign signs the request with both keys. Bundle and the unsigned fields of Auth
// must be set.
func (r *Register) Sign(service ServiceID, identity, read ed25519.PrivateKey) {
	r.ReadKey = read.Public().(ed25519.PublicKey)
	id, subject := IDOf(r.ReadKey), r.Bundle.content()
	r.Auth.Signature = ed25519.Sign(identity, r.Auth.input(roleRegister, service, id, subject))
	r.Proof = ed25519.Sign(read, r.Auth.input(roleRegisterRead, service, id, subject))
}

// Verify checks both signatures; identity is the one in the bundle.
func (r *Register) Verify(service ServiceID, identity ed25519.PublicKey) bool {
	id, subject := IDOf(r.ReadKey), r.Bundle.content()
	return ed25519.Verify(identity, r.Auth.input(roleRegister, service, id, subject), r.Auth.Signature) &&
		ed25519.Verify(r.ReadKey, r.Auth.input(roleRegisterRead, service, id, subject), r.Proof)
}

// Sign signs the request for the spool that the bundle names.
func (r *Replace) Sign(service ServiceID, spool ID, identity ed25519.PrivateKey) {
	r.Auth.Signature = ed25519.Sign(identity, r.Auth.input(roleReplace, service, spool, r.Bundle.content()))
}

// Verify checks the signature; identity and spool are those in the bundle.
func (r *Replace) Verify(service ServiceID, spool ID, identity ed25519.PublicKey) bool {
	return ed25519.Verify(identity, r.Auth.input(roleReplace, service, spool, r.Bundle.content()), r.Auth.Signature)
}

// Sign signs the request with the read key. Cursor, Want and the unsigned fields
// of Auth must be set.
func (r *Read) Sign(service ServiceID, read ed25519.PrivateKey) {
	r.ReadKey = read.Public().(ed25519.PublicKey)
	r.Auth.Signature = ed25519.Sign(read, r.Auth.input(roleRead, service, IDOf(r.ReadKey), r.subject()))
}

// Signed returns what the signature is over. Whoever verifies many reads at once
// needs it; for one there is Verify.
func (r *Read) Signed(service ServiceID) []byte {
	return r.Auth.input(roleRead, service, IDOf(r.ReadKey), r.subject())
}

// Verify checks the signature of the read key that the request names.
func (r *Read) Verify(service ServiceID) bool {
	return ed25519.Verify(r.ReadKey, r.Signed(service), r.Auth.Signature)
}

// subject is that of an access: SHA-256(append key ‖ version).
func (r *Access) subject() [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(bytes.Clone(r.AppendKey), r.Version))
}

// Sign signs the request with the read key. AppendKey, Version and the unsigned
// fields of Auth must be set.
func (r *Access) Sign(service ServiceID, read ed25519.PrivateKey) {
	r.ReadKey = read.Public().(ed25519.PublicKey)
	r.Auth.Signature = ed25519.Sign(read, r.Auth.input(roleAccess, service, IDOf(r.ReadKey), r.subject()))
}

// Verify checks the signature of the read key that the request names.
func (r *Access) Verify(service ServiceID) bool {
	return ed25519.Verify(r.ReadKey, r.Auth.input(roleAccess, service, IDOf(r.ReadKey), r.subject()), r.Auth.Signature)
}

// subject is that of a revocation: SHA-256(name ‖ 00 or, to erase, 01).
func (r *Revoke) subject() [32]byte {
	erase := byte(0)
	if r.Erase {
		erase = 1
	}
	return sha256.Sum256(append([]byte(r.Name), erase))
}

// Sign signs the request with the name's identity key.
func (r *Revoke) Sign(service ServiceID, identity ed25519.PrivateKey) {
	r.Auth.Signature = ed25519.Sign(identity, r.Auth.input(roleRevoke, service, r.Spool, r.subject()))
}

// Verify checks the signature by the identity that the name has.
func (r *Revoke) Verify(service ServiceID, identity ed25519.PublicKey) bool {
	return ed25519.Verify(identity, r.Auth.input(roleRevoke, service, r.Spool, r.subject()), r.Auth.Signature)
}
