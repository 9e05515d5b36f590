package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"mailproxy/spool"
)

// The errors by which a Store says why something was not done. Each means that
// nothing changed. All other errors of a Store are answered as temporary.
var (
	ErrNoName     = errors.New("no such name")
	ErrNoSpool    = errors.New("no such spool")
	ErrTaken      = errors.New("name belongs to another identity")
	ErrStale      = errors.New("key bundle is not newer")
	ErrWrongSpool = errors.New("spool does not belong to the name")
	ErrFull       = errors.New("spool is full")
)

// A Store keeps names and blocks. What a method has done is on disk when it
// returns nil, and done wholly or not at all, whatever else happens at the same
// time: in this process or, where the store can be shared, in another. Package
// storetest has the tests that every Store must pass.
type Store interface {
	// Publish puts e under its name if Admit allows it. With create, it also
	// makes the spool of a name that is new.
	Publish(ctx context.Context, e Entry, create bool) error

	// Lookup returns what is published under a name, or ErrNoName.
	Lookup(ctx context.Context, name string) (Entry, error)

	// Append stores a block under the spool's next sequence number, beginning
	// with 1. If the spool has a block with this id, or remembers one, nothing is
	// stored and known is true; only a block that is not known can meet ErrFull.
	Append(ctx context.Context, a Append) (known bool, err error)

	// Read returns what the spool holds above cursor, in one snapshot: the block
	// with the sequence number want, else the one with the lowest.
	Read(ctx context.Context, id spool.ID, cursor, want uint64) (spool.ReadReply, error)

	// Trim removes the blocks up to cursor and remembers their ids as of now. It
	// may be interrupted between blocks.
	Trim(ctx context.Context, id spool.ID, cursor uint64, now time.Time) error

	// Sweep removes the blocks that were appended before old, whose ids it
	// remembers as of now, and forgets the ids remembered before forget. It
	// returns how many blocks it removed. It may be interrupted between blocks.
	Sweep(ctx context.Context, old, forget, now time.Time) (removed int, err error)
}

// An Entry is what is published under a name.
type Entry struct {
	Name     string
	Identity ed25519.PublicKey
	Version  uint64
	Spool    spool.ID
	Bundle   spool.SignedBundle
}

// An Append is a block on its way into a spool.
type Append struct {
	Spool     spool.ID
	ID        spool.BlockID // of Block
	Block     []byte        // spool.BlockSize bytes
	Now       time.Time
	MaxBlocks int   // the spool may hold, with this one
	MaxBytes  int64 // the spool's blocks may have, with this one
}

// Admit decides whether e may be published, the one rule that every Store
// applies within its transaction. old is what the name has, nil for a new name;
// owner is the name that has e's spool, empty for none. write is false if e is
// published already.
func Admit(old *Entry, owner string, e Entry, create bool) (write bool, err error) {
	switch {
	case old == nil && !create:
		return false, ErrNoName
	case old == nil && owner != "":
		return false, ErrWrongSpool
	case old == nil:
		return true, nil
	case !bytes.Equal(old.Identity, e.Identity):
		return false, ErrTaken
	case old.Spool != e.Spool:
		return false, ErrWrongSpool
	case old.Version < e.Version:
		return true, nil
	case old.Version == e.Version && bytes.Equal(old.Bundle.Body, e.Bundle.Body):
		return false, nil
	}
	return false, ErrStale
}
