package spool

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// The key log of a provider is an append-only Merkle tree (RFC 6962 section 2.1,
// by golang.org/x/mod/sumdb/tlog) of what happened to the identities of its names.

// A LogKind says what happened to an identity.
type LogKind uint8

// The kinds of records.
const (
	LogMade    LogKind = 1 // a new name
	LogChanged LogKind = 2 // the name has another identity from now on
	LogRevoked LogKind = 3 // the name has no identity any more, for good
)

// LogRecordSize is the size of a record of the key log in bytes.
const LogRecordSize = 2 + sha256.Size + ed25519.PublicKeySize + 8

// MaxLogRecords is how many records one reply brings.
const MaxLogRecords = 100

// MaxLogSize bounds the number of records of a log. Package tlog does not end on
// sizes above 2^62.
const MaxLogSize = 1 << 40

// logFormat is the version of the records.
const logFormat = 1

// nameDomain separates the hashes of addresses in the log.
const nameDomain = "mailproxy/key-log/name/v1\x00"

// A NameHash stands for an address in the log: SHA-256(nameDomain ‖ canonical
// address). It keeps the log from being a list of users to read; it does not keep
// anybody from testing an address that they guess.
type NameHash [sha256.Size]byte

// HashName returns what stands for an address in the log.
func HashName(address string) NameHash { return sha256.Sum256([]byte(nameDomain + address)) }

// A LogRecord is one record of the key log.
type LogRecord struct {
	Kind     LogKind
	Name     NameHash
	Identity [ed25519.PublicKeySize]byte // the new one; with LogRevoked, the old one
	Version  uint64                      // of the key bundle that brought it
}

// Encode returns the record's bytes, which are a leaf of the tree: format (1) ‖
// kind (1) ‖ name (32) ‖ identity (32) ‖ version (8, big-endian).
func (r LogRecord) Encode() []byte {
	b := make([]byte, 0, LogRecordSize)
	b = append(b, logFormat, byte(r.Kind))
	b = append(b, r.Name[:]...)
	b = append(b, r.Identity[:]...)
	return binary.BigEndian.AppendUint64(b, r.Version)
}

// DecodeLogRecord reads a record.
func DecodeLogRecord(b []byte) (r LogRecord, err error) {
	switch {
	case len(b) != LogRecordSize:
		return r, fmt.Errorf("%w: record of the key log has %d bytes", ErrReply, len(b))
	case b[0] != logFormat:
		return r, fmt.Errorf("%w: record of the key log has format %d, this program reads %d", ErrReply, b[0], logFormat)
	}
	r.Kind = LogKind(b[1])
	if r.Kind < LogMade || r.Kind > LogRevoked {
		return r, fmt.Errorf("%w: record of the key log has kind %d", ErrReply, r.Kind)
	}
	copy(r.Name[:], b[2:])
	copy(r.Identity[:], b[2+sha256.Size:])
	r.Version = binary.BigEndian.Uint64(b[LogRecordSize-8:])
	return r, nil
}

// A LogHead is the state of a log: how many records, and the hash of their tree
// (RFC 6962 section 2.1).
type LogHead struct {
	Size uint64
	Root [sha256.Size]byte
}

// noticeFormat is the version of what a spool service announces.
const noticeFormat = 1

// noticeSize is format, size and root.
const noticeSize = 1 + 8 + sha256.Size

// Notice returns the head as the service announces it in its descriptor, and so
// in the network's snapshot: format (1) ‖ size (8, big-endian) ‖ root (32).
func (h LogHead) Notice() []byte {
	b := make([]byte, 0, noticeSize)
	b = append(b, noticeFormat)
	b = binary.BigEndian.AppendUint64(b, h.Size)
	return append(b, h.Root[:]...)
}

// ParseNotice reads what a spool service announces.
func ParseNotice(b []byte) (h LogHead, err error) {
	if len(b) != noticeSize || b[0] != noticeFormat {
		return h, fmt.Errorf("%w: what the service announces in the network's snapshot cannot be read", ErrReply)
	}
	h.Size = binary.BigEndian.Uint64(b[1:])
	if h.Size > MaxLogSize {
		return h, fmt.Errorf("%w: the key log has an impossible size", ErrReply)
	}
	copy(h.Root[:], b[9:])
	return h, nil
}
