package outbox

import "strings"

// A Submission is what a mail program says about a message before it sends the
// message itself: the envelope of RFC 5321 with the fields of RFC 3461 (DSN).
// The strings have been checked for control characters and valid UTF-8, not for
// more than that.
type Submission struct {
	Account    string      // the account that logged in
	From       string      // reverse-path; empty for "<>" (read receipts, RFC 8098 section 3)
	Recipients []Recipient // at least one, in the order given; one that is there twice is one
	EnvelopeID string      // ENVID, decoded; empty if not given
	Return     Return      // RET
	UTF8       bool        // SMTPUTF8 was asked for (RFC 6531)
	Size       int64       // SIZE in bytes, as the client announced it: a hint; 0 if it did not
}

// A Recipient is one address of the envelope.
type Recipient struct {
	Address string
	Notify  Notify
	// Original is ORCPT, decoded, and OriginalType its type in lower case:
	// "rfc822" or "utf-8" (RFC 6533). Both are empty if not given.
	Original     string
	OriginalType string
}

// Return says how much of the message a failure report carries (RFC 3461
// section 4.3).
type Return string

// The values of RET. An empty Return leaves the choice to who reports.
const (
	ReturnFull    Return = "FULL"
	ReturnHeaders Return = "HDRS"
)

// Notify is the set of events that the sender wants reports of (RFC 3461 section
// 4.1). The zero value means that NOTIFY was not given: failures are reported,
// and delays as the outbox sees fit.
type Notify uint8

// The values of NOTIFY. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Success reports whether a delivery is to be reported.
func (n Notify) Success() bool { return n&NotifySuccess != 0 }

// Failure reports whether a failure is to be reported.
func (n Notify) Failure() bool { return n == 0 || n&NotifyFailure != 0 }

// Delay reports whether a delay is to be reported.
func (n Notify) Delay() bool { return n == 0 || n&NotifyDelay != 0 }

// or is what somebody wants who is named twice: all that either of the two asks for.
func (n Notify) or(other Notify) Notify {
	if n == other {
		return n
	}
	both := n | other
	if n == 0 || other == 0 {
		both |= NotifyFailure | NotifyDelay // what the zero value stands for
	}
	if both != NotifyNever {
		both &^= NotifyNever
	}
	return both
}

// String returns the set as NOTIFY writes it, or "" for the zero value.
func (n Notify) String() string {
	var on []string
	for i, name := range []string{"NEVER", "SUCCESS", "FAILURE", "DELAY"} {
		if n&(1<<i) != 0 {
			on = append(on, name)
		}
	}
	return strings.Join(on, ",")
}

// Addresses returns the recipients' addresses in order.
func (s *Submission) Addresses() []string {
	out := make([]string, 0, len(s.Recipients))
	for _, r := range s.Recipients {
		out = append(out, r.Address)
	}
	return out
}
