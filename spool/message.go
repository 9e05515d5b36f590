package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"mailproxy/internal/codec"
)

// Version is the version of the requests and replies, their first byte.
const Version = 2

// Sizes in bytes.
const (
	// BlockSize is the size of every block, exactly.
	BlockSize = 8192
	// MaxRequestSize bounds an encoded request without its padding: what a packet
	// of the built-in network carries.
	MaxRequestSize = 8512
	// AppendOverhead is what an append without a lane proof adds to its block at
	// most. The rest up to MaxRequestSize is for the proof.
	AppendOverhead = 200
	// MaxReplySize bounds an encoded reply without its padding.
	MaxReplySize = BlockSize + 128
	// MaxProofSize bounds the proof of a lane.
	MaxProofSize = 256
	// MaxInviteSize bounds an invitation's code.
	MaxInviteSize = 64
	// InstanceSize is the size of a reader instance's id.
	InstanceSize = 8
	// BlockIDSize is the size of a block's id.
	BlockIDSize = sha256.Size
	// headerSize is version, type or status, and the body's length (2 bytes).
	headerSize = 4
)

// ErrReply is wrapped by the errors about a reply that no honest service gives.
var ErrReply = errors.New("reply of the spool is not valid")

// A Type says what a request asks for; it is a request's second byte.
type Type uint8

// The types of requests.
const (
	TypeRegister Type = 1
	TypeReplace  Type = 2
	TypeLookup   Type = 3
	TypeAppend   Type = 4
	TypeRead     Type = 5
	TypeAccess   Type = 6
	TypeRevoke   Type = 7
	TypeLog      Type = 8
)

// A BlockID is the SHA-256 of a block: the same block appended twice is one.
type BlockID [BlockIDSize]byte

// BlockIDOf returns the id of a block.
func BlockIDOf(block []byte) BlockID { return sha256.Sum256(block) }

// An Instance names one daemon, so that a second one on the same account is
// noticed. It is random, made once per installation and kept with the account: a
// daemon that restarts must be the same instance.
type Instance [InstanceSize]byte

// EncodeRequest returns the bytes of r. It fails for a request that the service
// would find malformed or too big.
func EncodeRequest(r Request) ([]byte, error) {
	if s := r.check(); s != StatusOK {
		return nil, fmt.Errorf("encode spool request: %w", s)
	}
	b, err := frame(byte(r.Type()), r)
	if err != nil {
		return nil, fmt.Errorf("encode spool request: %w", err)
	}
	if len(b) > MaxRequestSize {
		return nil, fmt.Errorf("encode spool request: %w", StatusTooBig)
	}
	return b, nil
}

// DecodeRequest reads a request, padded or not. The status is StatusOK, or why
// there is none; the type is what the header says, zero if that cannot be read.
func DecodeRequest(b []byte) (Request, Type, Status) {
	if len(b) < headerSize {
		return nil, 0, StatusMalformed
	}
	if b[0] != Version {
		return nil, 0, StatusVersion
	}
	t := Type(b[1])
	r, status := newRequest(t)
	if status != StatusOK {
		return nil, 0, status
	}
	if headerSize+int(binary.BigEndian.Uint16(b[2:])) > MaxRequestSize {
		return nil, t, StatusTooBig
	}
	body, err := unframe(b)
	if err != nil {
		return nil, t, StatusMalformed
	}
	if err := decodeExact(body, r); err != nil {
		return nil, t, StatusMalformed
	}
	if s := r.check(); s != StatusOK {
		return nil, t, s
	}
	return r, t, StatusOK
}

func newRequest(t Type) (Request, Status) {
	switch t {
	case TypeRegister:
		return new(Register), StatusOK
	case TypeReplace:
		return new(Replace), StatusOK
	case TypeLookup:
		return new(Lookup), StatusOK
	case TypeAppend:
		return new(Append), StatusOK
	case TypeRead:
		return new(Read), StatusOK
	case TypeAccess:
		return new(Access), StatusOK
	case TypeRevoke:
		return new(Revoke), StatusOK
	case TypeLog:
		return new(Log), StatusOK
	}
	return nil, StatusUnknownRequest
}

// frame puts the header before the encoding of v.
func frame(kind byte, v any) ([]byte, error) {
	body, err := codec.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(body) > 0xffff {
		return nil, fmt.Errorf("body has %d bytes", len(body))
	}
	b := make([]byte, 0, headerSize+len(body))
	b = append(b, Version, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...), nil
}

// unframe returns the body of a message whose header is there. What follows it
// must be padding: zeros.
func unframe(b []byte) ([]byte, error) {
	n := headerSize + int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b) {
		return nil, fmt.Errorf("%d bytes of %d", len(b), n)
	}
	for rest := b[n:]; len(rest) > 0; {
		k := min(len(rest), len(zeros))
		if !bytes.Equal(rest[:k], zeros[:k]) {
			return nil, errors.New("bytes after the end")
		}
		rest = rest[k:]
	}
	return b[headerSize:n], nil
}

// zeros is compared with, many times faster than one byte after the other: a
// read's padding is most of its packet.
var zeros [4096]byte

// decodeExact decodes b into v and insists on the one deterministic encoding:
// CBOR decoding alone lets a short byte string fill a longer array, and null
// stand for an empty string.
func decodeExact(b []byte, v any) error {
	if err := codec.Unmarshal(b, v); err != nil {
		return err
	}
	again, err := codec.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, again) {
		return errors.New("encoding is not deterministic")
	}
	return nil
}
