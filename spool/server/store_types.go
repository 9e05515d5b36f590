package server

import (
	"crypto/ed25519"
	"time"

	"mailproxy/spool"
)

// Lanes is how many lanes there are: spool.LaneOpen, LaneContacts and
// LaneStrangers.
const Lanes = 3

// An Entry is what is published under a name.
type Entry struct {
	Name     string
	Hash     spool.NameHash // of the name's address: it stands for it in the key log
	Identity ed25519.PublicKey
	Version  uint64
	Spool    spool.ID
	Bundle   spool.SignedBundle

	// Publish does not look at these; Lookup returns them.
	Log       LogPlace
	Suspended bool
}

// A LogPlace says where the newest record about a name is in the key log, and what
// it says.
type LogPlace struct {
	Index   uint64
	Kind    spool.LogKind
	Version uint64
}

// A Publication says how an entry comes to be published.
type Publication struct {
	Create     bool     // make the name and its spool if it is new
	NeedInvite bool     // a new name must bring an invitation
	Invite     [32]byte // SHA-256 of its code
	Now        time.Time
}

// An Append is a block on its way into a spool.
type Append struct {
	Spool     spool.ID
	ID        spool.BlockID // of Block
	Block     []byte        // spool.BlockSize bytes
	Lane      spool.Lane    // below Lanes
	Now       time.Time
	MaxBlocks int   // of this lane that the spool may hold, with this one
	MaxBytes  int64 // that these may have
	// MaxIDs is how many block ids of this lane the spool may have, present and
	// remembered, with this one; zero for no bound. Without it, whoever appends as
	// fast as the owner trims could make the store remember any number.
	MaxIDs int
}

// SpoolInfo is what is known of a spool itself.
type SpoolInfo struct {
	Name          string
	Suspended     bool
	Revoked       bool              // its name is
	AppendKey     ed25519.PublicKey // nil: none was set
	AppendVersion uint64
	Blocks        [Lanes]int // present, by lane
	Remembered    [Lanes]int // ids of blocks that were removed, by lane
	Last          uint64     // sequence number given last; zero: none
}

// A User is a name, for the operator.
type User struct {
	Name      string
	Identity  ed25519.PublicKey
	Version   uint64
	Spool     spool.ID
	Suspended bool
	Revoked   bool
	Blocks    [Lanes]int // by lane
	Oldest    time.Time  // when the oldest block came; zero: there is none
	Since     time.Time  // when the name was made
}

// An Invite lets one new name be made. Only the hash of its code is kept: who reads
// the store cannot use it.
type Invite struct {
	Hash    [32]byte // SHA-256 of the code
	Created time.Time
	Expires time.Time // zero: never
	Note    string
	UsedBy  string // the name; empty: nobody yet
}

// Good says whether a new name may be made with the invitation.
func (i *Invite) Good(now time.Time) bool {
	return i.UsedBy == "" && (i.Expires.IsZero() || !now.After(i.Expires))
}

// Stats are the sizes of a store.
type Stats struct {
	Names      int // that can be looked up, suspended or not
	Suspended  int // of Names
	Revoked    int // not in Names
	Spools     int // that hold blocks, or may: not those erased
	Blocks     int
	Bytes      int64     // of the blocks
	Remembered int       // ids of blocks that were removed
	Oldest     time.Time // when the oldest block came; zero: there is none
	LogSize    uint64    // records in the key log
	Invites    int       // that nobody has used, expired or not
}
