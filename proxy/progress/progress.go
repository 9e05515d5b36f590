// Package progress is what the outbox and the inbox tell of messages on their
// way, for the demo, the measuring programs and the status page. It is types
// only; what they say never leaves the machine, and nothing that decides
// anything may depend on it. proxy, its packages and cmd/mailproxy import it.
package progress

import (
	"time"

	"mailproxy/mixclient"
	"mailproxy/proxy/seal"
)

// A Kind says what happened.
type Kind int

// The kinds, in the order in which a message passes them.
const (
	Submitted Kind = iota // synced in the outbox: 250 may be answered
	LookedUp              // the recipient's keys are known from their provider
	Sealed                // for one recipient; Count blocks
	Paid                  // block Index has its work, where the recipient is new
	Sent                  // block Index left at a slot; Timing.Received is zero
	Acked                 // block Index is in the spool
	InSpool               // all blocks are
	Read                  // the recipient's read brought block Index
	Delivered             // synced in the recipient's INBOX
	Confirmed             // the sender has the recipient's receipt
	Failed                // a report went to the sender's INBOX
)

// An Event is one step of a message for one recipient.
type Event struct {
	Kind      Kind
	At        time.Time
	Account   string // whose daemon this happened at
	Recipient string
	Outbox    string  // the outbox's id; empty on the recipient's side
	Message   seal.ID // the same on both sides, from Sealed on
	Index     uint32
	Count     uint32
	Timing    mixclient.Timing // of LookedUp, Sent, Acked and Read
}

// A Func receives events. It is called from many goroutines and must return at
// once.
type Func func(Event)

// Tell calls f if it is not nil.
func (f Func) Tell(e Event) {
	if f != nil {
		f(e)
	}
}
