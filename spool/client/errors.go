package client

import (
	"errors"

	"mailproxy/mixclient"
	"mailproxy/spool"
)

// What a service may refuse with. The error that a method returns is, for
// errors.As, a *spool.Refused, which has the service's time.
var (
	ErrMalformed      error = spool.StatusMalformed
	ErrVersion        error = spool.StatusVersion
	ErrUnknownRequest error = spool.StatusUnknownRequest
	ErrTooBig         error = spool.StatusTooBig
	ErrExpired        error = spool.StatusExpired
	ErrTooFar         error = spool.StatusTooFar
	ErrReplayed       error = spool.StatusReplayed
	ErrBadSignature   error = spool.StatusBadSignature
	ErrNoUser         error = spool.StatusNoUser
	ErrNoSpool        error = spool.StatusNoSpool
	ErrTaken          error = spool.StatusTaken
	ErrStale          error = spool.StatusStale
	ErrBadName        error = spool.StatusBadName
	ErrReserved       error = spool.StatusReserved
	ErrWrongDomain    error = spool.StatusWrongDomain
	ErrNotOwner       error = spool.StatusNotOwner
	ErrBadBundle      error = spool.StatusBadBundle
	ErrWrongSpool     error = spool.StatusWrongSpool
	ErrRevoked        error = spool.StatusRevoked
	ErrInvite         error = spool.StatusInvite
	ErrSuspended      error = spool.StatusSuspended
	ErrNoLog          error = spool.StatusNoLog
	ErrFull           error = spool.StatusFull
	ErrOtherReader    error = spool.StatusOtherReader
	ErrCursorAhead    error = spool.StatusCursorAhead
	ErrLane           error = spool.StatusLane
	ErrAppendKey      error = spool.StatusAppendKey
	ErrWork           error = spool.StatusWork
	ErrBusy           error = spool.StatusBusy
	ErrTemporary      error = spool.StatusTemporary
)

// ErrReply is wrapped by the errors about a reply that no honest service gives.
var ErrReply = spool.ErrReply

// permanent are the errors that the same request meets again, however long one
// waits.
var permanent = []error{
	ErrMalformed, ErrVersion, ErrUnknownRequest, ErrTooBig, ErrBadSignature,
	ErrNoUser, ErrNoSpool, ErrTaken, ErrStale, ErrBadName, ErrReserved, ErrWrongDomain,
	ErrNotOwner, ErrBadBundle, ErrWrongSpool, ErrCursorAhead, ErrLane,
	ErrRevoked, ErrInvite, ErrNoLog, ErrAppendKey, ErrWork,
	mixclient.ErrTooLarge, spool.ErrBundle,
}

// IsTemporary reports whether what failed with err may succeed when it is tried
// again later, with a new nonce and expiry. It is so for everything that is not
// known to be permanent: a packet that got lost, a network that was closed, a
// full spool, an account that is suspended, a clock that is wrong. It is false for
// nil.
func IsTemporary(err error) bool {
	if err == nil {
		return false
	}
	for _, p := range permanent {
		if errors.Is(err, p) {
			return false
		}
	}
	return true
}
