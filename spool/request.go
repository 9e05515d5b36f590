package spool

import "crypto/ed25519"

// A Request is one of *Register, *Replace, *Lookup, *Append, *Read,
// *Access, *Revoke and *Log.
type Request interface {
	Type() Type
	// check says what is wrong with the decoded fields, StatusOK if nothing is.
	check() Status
}

// Register gives a name its spool: the local part of the bundle's address is the
// name, IDOf(ReadKey) the spool. It is idempotent, and with a higher version it
// replaces the bundle.
type Register struct {
	Bundle  SignedBundle      `cbor:"1,keyasint"`
	ReadKey ed25519.PublicKey `cbor:"2,keyasint"`
	Auth    Auth              `cbor:"3,keyasint"` // signed by the identity key
	Proof   []byte            `cbor:"4,keyasint"` // signature by the read key
	// Invite is the code of an invitation, where the provider wants one for a new
	// name. Who shows it has it: nothing signs it.
	Invite []byte `cbor:"5,keyasint,omitempty"`
}

// Replace publishes a new bundle under a name that the identity has. The same
// bundle again is done already; any other needs a higher version.
type Replace struct {
	Bundle SignedBundle `cbor:"1,keyasint"`
	Auth   Auth         `cbor:"2,keyasint"` // signed by the identity key
}

// Lookup asks for the bundle of a name, which is given in its normal form.
type Lookup struct {
	Name string `cbor:"1,keyasint"`
	// Size is that of the key log for which the name's record is to be proved: the
	// asker's newest head. Zero asks for no proof.
	Size uint64 `cbor:"2,keyasint,omitempty"`
}

// Append puts a block of BlockSize bytes into a spool, once.
type Append struct {
	Spool ID     `cbor:"1,keyasint"`
	Block []byte `cbor:"2,keyasint"`
	// Lane says by which right the sender appends; nil is the open lane.
	Lane *LaneProof `cbor:"3,keyasint,omitempty"`
}

// Read trims all blocks with sequence numbers up to Cursor and asks for one: Want
// if the spool has it, else the lowest above Cursor.
type Read struct {
	ReadKey ed25519.PublicKey `cbor:"1,keyasint"` // the spool is IDOf(ReadKey)
	Cursor  uint64            `cbor:"2,keyasint"` // all up to here is stored safely
	Want    uint64            `cbor:"3,keyasint"`
	Auth    Auth              `cbor:"4,keyasint"` // signed by the read key
}

// Access sets the append key of a spool: who proves it may append by the contacts'
// lane. The version grows with every change; the same key and version again is
// done already.
type Access struct {
	ReadKey   ed25519.PublicKey `cbor:"1,keyasint"` // the spool is IDOf(ReadKey)
	AppendKey ed25519.PublicKey `cbor:"2,keyasint"`
	Version   uint64            `cbor:"3,keyasint"` // not zero
	Auth      Auth              `cbor:"4,keyasint"` // signed by the read key
}

// Revoke takes a name's identity back for good: nobody finds its bundle any more,
// and nobody can have the name again. It may be repeated.
type Revoke struct {
	Name  string `cbor:"1,keyasint"`
	Spool ID     `cbor:"2,keyasint"`
	// Erase removes the spool and what it holds as well. Without it, what has
	// arrived can still be read.
	Erase bool `cbor:"3,keyasint,omitempty"`
	Auth  Auth `cbor:"4,keyasint"` // signed by the identity key
}

// Log asks for records of the key log.
type Log struct {
	From uint64 `cbor:"1,keyasint"` // the first record asked for
	// Size bounds what is returned: records below it.
	Size uint64 `cbor:"2,keyasint"`
	// Edge asks for the hashes of the complete subtrees of the log of size From,
	// from which whoever begins there can go on.
	Edge bool `cbor:"3,keyasint,omitempty"`
}

// Type implements Request.
func (*Register) Type() Type { return TypeRegister }

// Type implements Request.
func (*Replace) Type() Type { return TypeReplace }

// Type implements Request.
func (*Lookup) Type() Type { return TypeLookup }

// Type implements Request.
func (*Append) Type() Type { return TypeAppend }

// Type implements Request.
func (*Read) Type() Type { return TypeRead }

// Type implements Request.
func (*Access) Type() Type { return TypeAccess }

// Type implements Request.
func (*Revoke) Type() Type { return TypeRevoke }

// Type implements Request.
func (*Log) Type() Type { return TypeLog }

func okIf(ok bool) Status {
	if ok {
		return StatusOK
	}
	return StatusMalformed
}

func (r *Register) check() Status {
	return okIf(len(r.ReadKey) == ed25519.PublicKeySize && len(r.Proof) == ed25519.SignatureSize &&
		len(r.Invite) <= MaxInviteSize && r.Auth.sized())
}

func (r *Replace) check() Status { return okIf(r.Auth.sized()) }

func (r *Lookup) check() Status {
	return okIf(len(r.Name) <= MaxAddressSize && r.Size <= MaxLogSize)
}

func (r *Append) check() Status {
	if len(r.Block) > BlockSize {
		return StatusTooBig
	}
	return okIf(len(r.Block) == BlockSize && (r.Lane == nil ||
		r.Lane.Lane != 0 && len(r.Lane.Proof) > 0 && len(r.Lane.Proof) <= MaxProofSize))
}

func (r *Read) check() Status {
	return okIf(len(r.ReadKey) == ed25519.PublicKeySize && r.Auth.sized())
}

func (r *Access) check() Status {
	return okIf(len(r.ReadKey) == ed25519.PublicKeySize && len(r.AppendKey) == ed25519.PublicKeySize &&
		r.Version > 0 && r.Version <= MaxSequence && r.Auth.sized())
}

func (r *Revoke) check() Status { return okIf(len(r.Name) <= MaxAddressSize && r.Auth.sized()) }

func (r *Log) check() Status { return okIf(r.From <= r.Size && r.Size <= MaxLogSize) }
