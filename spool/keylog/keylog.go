// Package keylog proves and checks what stands in a provider's key log, the
// append-only Merkle tree (RFC 6962 section 2.1) of what happened to the identities
// of its names. The server makes proofs from the tree's stored hashes; a client
// checks them against a head that the provider has announced to all, and follows
// the log record by record to see that each head continues the one before.
//
// The tree is golang.org/x/mod/sumdb/tlog's. This package neither stores nor asks
// for anything, and does not know which head is the right one. spool/server and
// proxy/monitor import it.
package keylog

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/spool"
)

// MaxProof bounds a proof, and an edge, in bytes: a hash for each level of the
// largest tree.
const MaxProof = 63 * tlog.HashSize

// ErrProof is wrapped by errors about hashes that do not lead to the head: a log
// that has them does not hold what it is said to hold.
var ErrProof = errors.New("key log does not hold what its provider says")

// Head returns the head of the first size records.
func Head(size uint64, r tlog.HashReader) (spool.LogHead, error) {
	root, err := tlog.TreeHash(int64(size), r)
	if err != nil {
		return spool.LogHead{}, fmt.Errorf("compute head of key log: %w", err)
	}
	return spool.LogHead{Size: size, Root: root}, nil
}

// Prove returns the proof that a record is among the first size records: the audit
// path of RFC 6962 section 2.1.1, the hash next to the leaf first.
func Prove(size, index uint64, r tlog.HashReader) ([]byte, error) {
	path, err := tlog.ProveRecord(int64(size), int64(index), r)
	if err != nil {
		return nil, fmt.Errorf("prove record of key log: %w", err)
	}
	return join(path), nil
}

// CheckRecord reports with an error that wraps ErrProof when proof does not show
// that the log with this head has this record at index.
func CheckRecord(head spool.LogHead, index uint64, record spool.LogRecord, proof []byte) error {
	if index >= head.Size || head.Size > spool.MaxLogSize {
		return fmt.Errorf("%w: record %d is not below its size of %d", ErrProof, index, head.Size)
	}
	path, err := split(proof)
	if err != nil {
		return err
	}
	leaf := tlog.RecordHash(record.Encode())
	if err := tlog.CheckRecord(path, int64(head.Size), head.Root, int64(index), leaf); err != nil {
		return fmt.Errorf("%w: the proof of record %d does not lead to its head of size %d", ErrProof, index, head.Size)
	}
	return nil
}

// EdgeSize is the size in bytes of the edge of a log of so many records.
func EdgeSize(size uint64) int { return bits.OnesCount64(size) * tlog.HashSize }

// Edge returns the hashes of the complete subtrees that the first size records
// consist of, from the largest to the smallest.
func Edge(size uint64, r tlog.HashReader) ([]byte, error) {
	var indexes []int64
	for rest, from := size, int64(0); rest > 0; {
		level := bits.Len64(rest) - 1
		indexes = append(indexes, tlog.StoredHashIndex(level, from>>level))
		from += 1 << level
		rest -= 1 << level
	}
	if len(indexes) == 0 {
		return nil, nil
	}
	hashes, err := r.ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("read edge of key log: %w", err)
	}
	return join(hashes), nil
}

// A Tree is what has to be kept of a log to go on with it: its size and its edge.
// The zero Tree is the empty log.
type Tree struct {
	size uint64
	edge []tlog.Hash // of the complete subtrees, the largest first
}

// NewTree returns the tree of a log of so many records with this edge. Whether the
// edge is right shows in Head.
func NewTree(size uint64, edge []byte) (*Tree, error) {
	if size > spool.MaxLogSize || len(edge) != EdgeSize(size) {
		return nil, fmt.Errorf("%w: an edge of %d bytes is not one of %d records", ErrProof, len(edge), size)
	}
	hashes, err := split(edge)
	if err != nil {
		return nil, err
	}
	return &Tree{size: size, edge: hashes}, nil
}

// Size returns the number of records.
func (t *Tree) Size() uint64 { return t.size }

// Edge returns what NewTree takes.
func (t *Tree) Edge() []byte { return join(t.edge) }

// Append adds the next record.
func (t *Tree) Append(record spool.LogRecord) {
	hash := tlog.RecordHash(record.Encode())
	// Each trailing one bit of the size is a subtree as large as what hash stands
	// for by then.
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.edge) - 1
		hash = tlog.NodeHash(t.edge[last], hash)
		t.edge = t.edge[:last]
	}
	t.edge = append(t.edge, hash)
	t.size++
}

// Head returns the tree's head.
func (t *Tree) Head() spool.LogHead {
	h := spool.LogHead{Size: t.size}
	if len(t.edge) == 0 {
		root, err := tlog.TreeHash(0, nil) // reads nothing, and so does not fail
		if err != nil {
			panic(err)
		}
		h.Root = root
		return h
	}
	root := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		root = tlog.NodeHash(t.edge[i], root)
	}
	h.Root = root
	return h
}

func join(hashes []tlog.Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

func split(b []byte) ([]tlog.Hash, error) {
	if len(b)%tlog.HashSize != 0 || len(b) > MaxProof {
		return nil, fmt.Errorf("%w: %d bytes are no hashes", ErrProof, len(b))
	}
	hashes := make([]tlog.Hash, len(b)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], b[i*tlog.HashSize:])
	}
	return hashes, nil
}
