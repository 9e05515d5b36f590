package outbox

import (
	"errors"

	"mailproxy/proxy/report"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/client"
	"mailproxy/spool/work"
)

// A fate is how a part ends: the report that its sender gets, if any.
type fate struct {
	reason report.Reason
	cause  error // for experts; may be nil
	silent bool  // nobody asked to hear of it

	withdrawn bool // the user withdrew it
	forgotten bool // its account is taken back
}

// failedFor returns what to tell the sender of mail that is given up for err.
func failedFor(err error) report.Reason {
	switch {
	case errors.Is(err, spool.StatusNoUser), errors.Is(err, spool.StatusNoSpool):
		return report.UnknownUser
	case errors.Is(err, spool.StatusRevoked):
		return report.Gone
	case errors.Is(err, spool.StatusSuspended):
		return report.Suspended
	case errors.Is(err, errNoProvider):
		return report.UnknownProvider
	case errors.Is(err, spool.StatusFull):
		return report.SpoolFull
	case errors.Is(err, ErrHeld):
		return report.KeyChanged
	case errors.Is(err, ErrRejected):
		return report.KeyRejected
	case errors.Is(err, ErrUnlogged):
		return report.KeyUnlogged
	case errors.Is(err, work.ErrDear), errors.Is(err, work.ErrTerms):
		return report.TooDear
	case errors.Is(err, client.ErrReply), errors.Is(err, seal.ErrKeys):
		return report.KeyInvalid
	}
	return report.Expired
}

// delayedFor returns what to tell the sender of mail that is late for err.
func delayedFor(err error) report.Reason {
	switch failedFor(err) {
	case report.SpoolFull:
		return report.DelayedFull
	case report.Suspended:
		return report.DelayedSuspended
	case report.TooDear:
		return report.DelayedTooDear
	case report.KeyChanged:
		return report.Held
	case report.KeyUnlogged:
		return report.HeldUnlogged
	}
	return report.Delayed
}

// keeps reports whether the part goes on after its report.
func (f *fate) keeps() bool {
	switch f.reason {
	case report.Delayed, report.DelayedFull, report.DelayedSuspended, report.DelayedTooDear, report.Held, report.HeldUnlogged:
		return true
	}
	return false
}
