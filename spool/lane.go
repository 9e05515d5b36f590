package spool

import (
	"crypto/ed25519"
	"crypto/sha256"
)

// A Lane is a way into a spool with conditions and a quota of its own.
type Lane uint8

// The lanes.
const (
	// LaneOpen asks for nothing; a service may close it.
	LaneOpen Lane = 0
	// LaneContacts is for whom the spool's owner has given the append key. The
	// proof is SignContact's.
	LaneContacts Lane = 1
	// LaneStrangers is for everybody else, who pays by work: see package
	// spool/work for the proof.
	LaneStrangers Lane = 2
)

// A LaneProof shows that the sender may use a lane.
type LaneProof struct {
	Lane  Lane   `cbor:"1,keyasint"` // not zero: the open lane has no proof
	Proof []byte `cbor:"2,keyasint"` // 1 to MaxProofSize bytes; what it holds is the lane's
}

// Terms say what work a stranger's block costs at a service: one evaluation of
// Argon2id (RFC 9106) with this memory and time for every guess, and Bits leading
// zero bits to be found. All zero: the open lane is open.
type Terms struct {
	Memory uint32 `cbor:"1,keyasint,omitempty"` // KiB
	Time   uint32 `cbor:"2,keyasint,omitempty"` // passes
	Bits   uint8  `cbor:"3,keyasint,omitempty"`
}

// appendDomain separates proofs of the contacts' lane, and the work of the
// strangers', from all else that is signed or hashed.
const appendDomain = "mailproxy/spool-append/v1\x00"

// AppendInput is what a lane's proof is about: SHA-256(appendDomain ‖ lane ‖
// service ‖ spool ‖ block id). A proof is good for this block only, which the
// spool takes only once.
func AppendInput(lane Lane, service ServiceID, spool ID, block BlockID) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte(appendDomain))
	h.Write([]byte{byte(lane)})
	h.Write(service[:])
	h.Write(spool[:])
	h.Write(block[:])
	return [sha256.Size]byte(h.Sum(nil))
}

// SignContact proves, by a spool's append key, the right to append a block.
func SignContact(key ed25519.PrivateKey, service ServiceID, spool ID, block BlockID) *LaneProof {
	input := AppendInput(LaneContacts, service, spool, block)
	return &LaneProof{Lane: LaneContacts, Proof: ed25519.Sign(key, input[:])}
}

// VerifyContact checks a proof of the contacts' lane against the spool's append
// key.
func VerifyContact(key ed25519.PublicKey, service ServiceID, spool ID, block BlockID, proof []byte) bool {
	input := AppendInput(LaneContacts, service, spool, block)
	return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, input[:], proof)
}
