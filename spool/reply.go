package spool

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// MaxSequence bounds sequence numbers, so that one can always be added to.
const MaxSequence = math.MaxInt64

// Empty is the reply to Register, Replace, Append, Access and Revoke.
type Empty struct{}

// LookupReply is the reply to Lookup.
type LookupReply struct {
	Bundle SignedBundle `cbor:"1,keyasint"`
	// Where the name's newest record is in the key log, and what it says beside the
	// name and the bundle's identity.
	Index   uint64  `cbor:"2,keyasint"`
	Kind    LogKind `cbor:"3,keyasint"`
	Version uint64  `cbor:"4,keyasint"`
	// Proof shows that the record is in the log of the size asked for: the hashes
	// of RFC 6962 section 2.1.1, 32 bytes each, one after the other. Empty if none
	// was asked for, or the record is newer than that.
	Proof []byte `cbor:"5,keyasint,omitempty"`
	// Terms are what a stranger's block costs.
	Terms Terms `cbor:"6,keyasint"`
}

// LogReply is the reply to Log.
type LogReply struct {
	// Records are the records from From on, LogRecordSize bytes each, at most
	// MaxLogRecords and all below Size.
	Records []byte `cbor:"1,keyasint,omitempty"`
	// Edge has the hashes of the complete subtrees of the log of size From, from
	// the largest to the smallest, 32 bytes each, if they were asked for.
	Edge []byte `cbor:"2,keyasint,omitempty"`
}

// ReadReply is the reply to Read: one block, and what the spool holds above the
// cursor. All of it is one snapshot. A sequence number up to Last that the spool
// does not hold will never be held again.
type ReadReply struct {
	Seq     uint64 `cbor:"1,keyasint,omitempty"` // of Block; zero: there is none above the cursor
	Block   []byte `cbor:"2,keyasint,omitempty"`
	Lowest  uint64 `cbor:"3,keyasint,omitempty"` // present above the cursor; zero: none
	Highest uint64 `cbor:"4,keyasint,omitempty"` // present above the cursor; zero: none
	Last    uint64 `cbor:"5,keyasint,omitempty"` // the last that was ever given; zero: none
}

// refusal is the body of every reply that is no success.
type refusal struct {
	Time  int64  `cbor:"1,keyasint"`
	Last  uint64 `cbor:"2,keyasint,omitempty"`
	Terms *Terms `cbor:"3,keyasint,omitempty"`
}

// EncodeReply returns the bytes of a reply that is a success. body is an Empty, a
// LookupReply, a ReadReply or a LogReply.
func EncodeReply(s Status, body any) ([]byte, error) {
	b, err := frame(byte(s), body)
	if err != nil {
		return nil, fmt.Errorf("encode spool reply: %w", err)
	}
	return b, nil
}

// EncodeRefused returns the bytes of a reply that refuses.
func EncodeRefused(r Refused) ([]byte, error) {
	return EncodeReply(r.Status, refusal{Time: r.Time.Unix(), Last: r.Last, Terms: r.Terms})
}

// DecodeReply reads a reply, padded or not, into body, a pointer to what answers
// the request. A refusal becomes an error that is a *Refused, a reply that cannot
// be read one that wraps ErrReply.
func DecodeReply(b []byte, body any) (Status, error) {
	if len(b) < headerSize {
		return 0, fmt.Errorf("%w: %d bytes", ErrReply, len(b))
	}
	if b[0] != Version {
		return 0, fmt.Errorf("%w: version %d, this program reads %d", ErrReply, b[0], Version)
	}
	status := Status(b[1])
	if !status.Known() {
		return 0, fmt.Errorf("%w: unknown %w", ErrReply, status)
	}
	if n := headerSize + int(binary.BigEndian.Uint16(b[2:])); n > MaxReplySize {
		return 0, fmt.Errorf("%w: %d bytes", ErrReply, n)
	}
	raw, err := unframe(b)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrReply, err)
	}
	if status.Success() {
		if err := decodeExact(raw, body); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrReply, err)
		}
		return status, nil
	}
	var r refusal
	if err := decodeExact(raw, &r); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrReply, err)
	}
	return status, &Refused{Status: status, Time: time.Unix(r.Time, 0), Last: r.Last, Terms: r.Terms}
}

// Check says whether the reply is one that a read with this cursor can have.
func (r *ReadReply) Check(cursor uint64) error {
	has := r.Seq != 0
	switch {
	case r.Last > MaxSequence || r.Highest > r.Last || r.Lowest > r.Highest || cursor > r.Last:
		return fmt.Errorf("%w: sequence numbers are out of order", ErrReply)
	case has != (r.Lowest != 0) || has != (r.Highest != 0) || has != (len(r.Block) != 0):
		return fmt.Errorf("%w: it has a block and has none", ErrReply)
	case has && (len(r.Block) != BlockSize || r.Lowest <= cursor || r.Seq < r.Lowest || r.Seq > r.Highest):
		return fmt.Errorf("%w: its block was not asked for", ErrReply)
	}
	return nil
}
