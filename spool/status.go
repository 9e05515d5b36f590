package spool

import (
	"fmt"
	"time"
)

// A Status is the first thing a reply says: what became of the request. It is an
// error, so that errors.Is finds it under a Refused.
type Status uint8

// The statuses. Zero is none of them, so that a reply of nothing but padding is
// not taken for a success. Whatever is not below StatusMalformed means that the
// request changed nothing.
const (
	// StatusOK: done. An append stored the block.
	StatusOK Status = 0x01
	// StatusKnown: the block is in the spool already, or was and has been
	// trimmed; nothing was stored. To the sender it is as good as StatusOK.
	StatusKnown Status = 0x02

	// StatusMalformed: the request is not an encoding of what it says it is.
	StatusMalformed Status = 0x10
	// StatusVersion: the request has a version that the service does not speak.
	StatusVersion Status = 0x11
	// StatusUnknownRequest: the service has no request of this type.
	StatusUnknownRequest Status = 0x12
	// StatusTooBig: the request is longer than MaxRequestSize, or its block
	// longer than BlockSize.
	StatusTooBig Status = 0x13

	// StatusExpired: the request's expiry has passed. The refusal has the
	// service's time.
	StatusExpired Status = 0x20
	// StatusTooFar: the expiry is more than MaxExpiry ahead. The refusal has the
	// service's time.
	StatusTooFar Status = 0x21
	// StatusReplayed: a request with this nonce was carried out before, or the
	// nonce is too old to tell.
	StatusReplayed Status = 0x22
	// StatusBadSignature: a signature does not verify, be it that the request was
	// meant for another service.
	StatusBadSignature Status = 0x23

	// StatusNoUser: nobody has this name here.
	StatusNoUser Status = 0x30
	// StatusNoSpool: there is no such spool here.
	StatusNoSpool Status = 0x31
	// StatusTaken: the name belongs to another identity.
	StatusTaken Status = 0x32
	// StatusStale: the bundle's version is not above that of the bundle here, and
	// it is not the same bundle.
	StatusStale Status = 0x33
	// StatusBadName: the name is not one that an account can have, or not written
	// in its normal form.
	StatusBadName Status = 0x34
	// StatusReserved: the name is kept for the operator.
	StatusReserved Status = 0x35
	// StatusWrongDomain: the address is not at this service's domain.
	StatusWrongDomain Status = 0x36
	// StatusNotOwner: the name belongs to another identity, which alone may
	// replace its bundle.
	StatusNotOwner Status = 0x37
	// StatusBadBundle: the key bundle does not open.
	StatusBadBundle Status = 0x38
	// StatusWrongSpool: the bundle's spool is not the read key's, or not the one
	// that the name has, or it is another name's.
	StatusWrongSpool Status = 0x39
	// StatusRevoked: the name's identity was revoked, or its account deleted. It
	// stays so.
	StatusRevoked Status = 0x3a
	// StatusInvite: a new name needs an invitation, and the request has none that
	// is good: it is unknown, was used, or has expired.
	StatusInvite Status = 0x3b
	// StatusSuspended: the operator has suspended the account.
	StatusSuspended Status = 0x3c
	// StatusNoLog: the key log has not so many records.
	StatusNoLog Status = 0x3d

	// StatusFull: the spool holds as much as it may.
	StatusFull Status = 0x40
	// StatusOtherReader: another daemon reads this spool.
	StatusOtherReader Status = 0x41
	// StatusCursorAhead: the cursor is beyond the last block that the spool ever
	// had. The refusal has that block's sequence number.
	StatusCursorAhead Status = 0x42
	// StatusLane: the service does not know the lane of the append, or the open
	// lane is closed. The refusal has the terms of the strangers' lane.
	StatusLane Status = 0x43
	// StatusAppendKey: the proof is not by the spool's append key, be it that the
	// owner has changed it. The refusal has the terms of the strangers' lane.
	StatusAppendKey Status = 0x44
	// StatusWork: the work is not enough, or not about this block. The refusal has
	// the terms.
	StatusWork Status = 0x45
	// StatusBusy: too many requests at once; the same request can be good later.
	StatusBusy Status = 0x46

	// StatusTemporary: the service cannot do it now, for a reason of its own.
	StatusTemporary Status = 0x50
)

var statusText = map[Status]string{
	StatusOK:             "done",
	StatusKnown:          "block is known already",
	StatusMalformed:      "request is malformed",
	StatusVersion:        "service speaks another version of the protocol",
	StatusUnknownRequest: "service does not know this request",
	StatusTooBig:         "request or block is too big",
	StatusExpired:        "request has expired: the clocks of this machine and of the service differ",
	StatusTooFar:         "request expires too far ahead: the clocks of this machine and of the service differ",
	StatusReplayed:       "request was made before",
	StatusBadSignature:   "signature does not verify",
	StatusNoUser:         "no such user",
	StatusNoSpool:        "no such spool",
	StatusTaken:          "name is taken",
	StatusStale:          "key bundle is not newer than the one published",
	StatusBadName:        "name cannot be used",
	StatusReserved:       "name is reserved",
	StatusWrongDomain:    "address is of another domain",
	StatusNotOwner:       "name belongs to another identity",
	StatusBadBundle:      "key bundle is not valid",
	StatusWrongSpool:     "spool does not belong to the name",
	StatusFull:           "spool is full",
	StatusOtherReader:    "another daemon reads this account",
	StatusCursorAhead:    "spool has lost blocks that were read before",
	StatusLane:           "service does not know this lane",
	StatusRevoked:        "account was deleted, or its keys revoked",
	StatusInvite:         "a valid invitation is needed",
	StatusSuspended:      "account is suspended by its provider",
	StatusNoLog:          "key log is shorter than that",
	StatusAppendKey:      "append key is not the spool's",
	StatusWork:           "proof of work is not enough",
	StatusBusy:           "service has too many requests at once",
	StatusTemporary:      "service has a temporary problem",
}

// Error returns what the status means, in words.
func (s Status) Error() string {
	if t, ok := statusText[s]; ok {
		return t
	}
	return fmt.Sprintf("status 0x%02x", uint8(s))
}

// Success reports whether the request was carried out.
func (s Status) Success() bool { return s == StatusOK || s == StatusKnown }

// Known reports whether s is a status of this version of the protocol.
func (s Status) Known() bool { _, ok := statusText[s]; return ok }

// Refused is the error that a refusing reply becomes. errors.Is finds its Status.
type Refused struct {
	Status Status
	// Time is the service's clock, to the second.
	Time time.Time
	// Last is, with StatusCursorAhead, the last sequence number the spool gave.
	Last uint64
	// Terms are, with StatusLane, StatusAppendKey and StatusWork, what a stranger's
	// block costs; else nil.
	Terms *Terms
}

// Error says why the service refused.
func (r *Refused) Error() string { return "spool: " + r.Status.Error() }

// Unwrap returns the status.
func (r *Refused) Unwrap() error { return r.Status }
