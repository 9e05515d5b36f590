package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/spool"
)

// The errors by which a Store says why something was not done. Each means that
// nothing changed. All other errors of a Store are answered as temporary.
var (
	ErrNoName     = errors.New("no such name")
	ErrNoSpool    = errors.New("no such spool")
	ErrTaken      = errors.New("name belongs to another identity")
	ErrStale      = errors.New("version is not newer")
	ErrWrongSpool = errors.New("spool does not belong to the name")
	ErrFull       = errors.New("spool is full")
	// ErrRevoked: the name's identity was revoked, or its account deleted. It
	// stays so.
	ErrRevoked = errors.New("name was revoked")
	// ErrInvite: a new name needs an invitation, and there is none with this hash,
	// or it was used, or has expired.
	ErrInvite = errors.New("no valid invitation")
	// ErrSuspended: the operator has suspended the name.
	ErrSuspended = errors.New("name is suspended")
	// ErrNoLog: the key log has not that many records, or hashes.
	ErrNoLog = errors.New("key log is shorter")
)

// A Store keeps names, blocks, invitations and the key log. What a method has done
// is on disk when it returns nil, and done wholly or not at all, whatever else
// happens at the same time: in this process or, where the store can be shared, in
// another. Package storetest has the tests that every Store must pass.
//
// Nothing here needs one process, or an order of all that happens. In a
// PostgreSQL-compatible database the names are a table with unique name and
// unique spool, the spools one with the counts of their lanes, the blocks one with
// the keys (spool, sequence number) and (spool, block id), of which trimming
// keeps the id; each method is one transaction, and its comment says what it
// locks. Counts and sequence numbers are columns of a spool's row, and change under its lock.
type Store interface {
	// Publish puts e under its name if Admit allows it: it locks the name's row,
	// or inserts it, where the unique keys decide who was first. With p.Create, it
	// also makes the spool of a name that is new, uses up its invitation (the
	// invitation's row, locked), and appends to the key log (its last row, locked,
	// so that records have one order). A registration that was done needs no
	// invitation when it is repeated; to whoever needs one and has none, ErrInvite is
	// all that is said, whatever the name is. It can meet ErrSuspended and ErrInvite, and
	// all that Admit returns.
	Publish(ctx context.Context, e Entry, p Publication) error

	// Lookup returns what is published under a name, or ErrNoName. With ErrRevoked
	// comes the entry, without a bundle. A suspended name is looked up as any
	// other, and says so.
	Lookup(ctx context.Context, name string) (Entry, error)

	// Revoke takes a name back for good and appends that to the key log. Lookup
	// and Publish then fail with ErrRevoked, and so do appends to the spool; what
	// it holds can be read, unless the name is suspended, which it stays. With erase, the spool goes as well: it is as if revoked
	// at once, reads fail with ErrRevoked, and the blocks are gone when Revoke
	// returns. If it is interrupted, Sweep goes on with it. Neither the name nor the spool's
	// id is ever free again. It may be repeated, also to erase what was only
	// revoked. It locks the rows of the name, the spool, and the log's last.
	Revoke(ctx context.Context, name string, erase bool, now time.Time) error

	// Suspend keeps a name from publishing, and its spool from taking and giving
	// blocks, with ErrSuspended, until it is called with false. Of a revoked name it
	// keeps the spool from giving blocks; only where that was erased it fails with
	// ErrRevoked. It locks the rows of the name and the spool.
	Suspend(ctx context.Context, name string, suspended bool) error

	// SetAppendKey sets the append key of a spool. It fails with ErrStale unless
	// the version is higher than the one here, or both are the same as here. It
	// locks the spool's row.
	SetAppendKey(ctx context.Context, id spool.ID, key ed25519.PublicKey, version uint64) error

	// Spool returns what is known of a spool, or ErrNoSpool; also if it is revoked
	// or suspended.
	Spool(ctx context.Context, id spool.ID) (SpoolInfo, error)

	// Append stores a block under the spool's next sequence number, beginning
	// with 1. If the spool has a block with this id, or remembers one, nothing is
	// stored and known is true; only a block that is not known can meet ErrFull.
	// It locks the spool's row, which numbers and counts.
	Append(ctx context.Context, a Append) (known bool, err error)

	// Read returns what the spool holds above cursor, in one snapshot: the block
	// with the sequence number want, else the one with the lowest. It locks
	// nothing.
	Read(ctx context.Context, id spool.ID, cursor, want uint64) (spool.ReadReply, error)

	// Trim removes the blocks up to cursor and remembers their ids as of now. It
	// may be interrupted between blocks. It locks the spool's row. Where nothing
	// is to be removed it is cheap, and writes nothing.
	Trim(ctx context.Context, id spool.ID, cursor uint64, now time.Time) error

	// Sweep removes the blocks that were appended before old, whose ids it
	// remembers as of now, and forgets the ids remembered before forget and the
	// invitations that expired before now; used ones 180 days after that. It returns how many blocks it removed.
	// It may be interrupted between blocks. Several processes may sweep at once.
	Sweep(ctx context.Context, old, forget, now time.Time) (removed int, err error)

	// SetLastSweep keeps when a sweep was last made by a clock that was trusted,
	// and LastSweep returns it: zero, if none was. It tells a service that starts
	// whether its clock has jumped. What is kept belongs to this copy of the store:
	// a backup does not have it.
	SetLastSweep(ctx context.Context, t time.Time) error
	LastSweep(ctx context.Context) (time.Time, error)

	// Users lists names in ascending order, from the first after the one given, at
	// most n.
	Users(ctx context.Context, after string, n int) ([]User, error)

	// AddInvite keeps an invitation. It fails with ErrInvite if there is one with
	// this hash.
	AddInvite(ctx context.Context, i Invite) error

	// Invites lists the invitations, used or not, by their creation.
	Invites(ctx context.Context) ([]Invite, error)

	// DeleteInvite withdraws an invitation, or fails with ErrInvite.
	DeleteInvite(ctx context.Context, hash [32]byte) error

	// Stats is cheap enough to be asked every few seconds: the counts are kept,
	// not counted. A shared store keeps them in rows of its own, several of each,
	// so that they are no lock that everybody waits for.
	Stats(ctx context.Context) (Stats, error)

	// LogSize returns how many records the key log has.
	LogSize(ctx context.Context) (uint64, error)

	// LogRecords returns the records from one number to before another,
	// spool.LogRecordSize bytes each, or ErrNoLog.
	LogRecords(ctx context.Context, from, to uint64) ([]byte, error)

	// LogHashes returns hashes of the key log by their stored index
	// (tlog.StoredHashIndex), or ErrNoLog. It is a tlog.HashReader, so that
	// whoever has it can prove any record, and any head to a later one.
	LogHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
}

// Admit decides whether e may be published, the one rule that every Store
// applies within its transaction. old is what the name has, nil for a new name;
// owner is the name that has e's spool, empty for none. write is false if e is
// published already. A revoked name is the Store's to refuse, before it asks.
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
