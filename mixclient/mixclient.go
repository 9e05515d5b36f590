// Package mixclient is the boundary between mail and anonymity: the interface
// that any mix network offers to what lies above it, and its types.
//
// It holds no engine. The engines are packages beneath it (builtin is the
// embedded default, memory drives fast tests) and each passes the conformance
// tests in mixclient/conformance. proxy and spool/client import mixclient; only
// cmd and tests import an engine.
package mixclient

import (
	"context"
	"errors"
	"time"
)

// Kinds of service.
const (
	KindSpool = "spool" // store-and-forward mailboxes, see package spool
	KindEcho  = "echo"  // answers a request with itself; the target of loops
)

var (
	// ErrLost is returned by Query when no reply came in the time in which one
	// should have. The request may or may not have been carried out.
	ErrLost = errors.New("no reply from the network")
	// ErrTooLarge is returned by Query for a request beyond Limits().Request.
	ErrTooLarge = errors.New("request is larger than a packet holds")
	// ErrClosed is returned once Close has been called.
	ErrClosed = errors.New("network client is closed")
	// ErrUnknownService is returned by Query for a service that the network does
	// not have.
	ErrUnknownService = errors.New("service is not in the network")
)

// A Service is an instance of a service at one service node.
type Service struct {
	Kind     string // KindSpool, …
	Provider string // the domain it serves, "north.test"; empty for an echo service
	Node     string // the engine's own name for the node, stable over time
}

// A Notice is what a service announces to all clients alike. Only the service and
// its clients know its meaning.
type Notice struct {
	Bytes []byte // at most MaxNotice; none if the service announces nothing
	// Since is when the snapshot with it comes into force, which may lie ahead. Of
	// two notices of a service the later replaces the earlier, and was made later.
	Since time.Time
}

// MaxNotice bounds a notice in bytes.
const MaxNotice = 128

// Limits are sizes in bytes.
type Limits struct {
	Request int // the largest request
	Reply   int // the largest reply
}

// A Network asks services for answers without saying who asks. Its methods may
// be called from any goroutine.
//
// An engine sends at times of its own, which depend on nothing that is asked of
// it. Three independent Poisson processes pace it: one takes a waiting Query or
// else sends a loop, one sends a read (see SetReads), one sends loops that
// measure loss.
type Network interface {
	// Query asks the service and returns its reply. It waits for a slot, then
	// for the reply, and returns ErrLost if that does not come. Waiting queries
	// take the slots in the order they came. Retrying is the caller's, who must
	// make its requests idempotent. A cancelled context gives up: a query that
	// has not had its slot is then never sent. Replies may come back padded with
	// zeros up to Limits().Reply: a reply carries its own length.
	Query(ctx context.Context, to Service, request []byte) (reply []byte, err error)

	// Services lists the services of a kind that the network has now, in an
	// order that says nothing. It does not wait for the network: before a
	// document is known the list is empty.
	Services(ctx context.Context, kind string) ([]Service, error)

	// Notice returns what a service announces, by the newest of the network's
	// signed snapshots that has it. It is the same for all clients of the network,
	// as far as its directories are honest. It returns false when nothing is known
	// yet, and always in a network without such snapshots.
	Notice(s Service) (n Notice, ok bool)

	// Limits returns the sizes that fit into this network's packets.
	Limits() Limits

	// SetReads sets who fills the slots of the read process. At each slot the
	// engine calls next, which must return at once; with ok false, or before
	// SetReads, the slot carries a loop. The engine calls Read.Done exactly once
	// for each read it was given.
	SetReads(next func() (r Read, ok bool))

	// Status describes the client now.
	Status() Status

	// Events returns a channel of state changes. It is closed by Close. A slow
	// receiver misses all but the newest.
	Events() <-chan Event

	// Close stops sending and waits for all that the client started. Pending
	// queries return ErrClosed.
	Close() error
}

// A Read is what a slot of the read process carries.
type Read struct {
	To      Service
	Request []byte
	// Done receives the reply or the reason there is none, and when what happened.
	Done func(reply []byte, t Timing, err error)
}

// Timing says where a query spent its time. Up and Down are the delays that were
// drawn for the mixes on the way there and back: what is left of Received-Sent
// is the engine's and the machines' own overhead. All times are local.
type Timing struct {
	Asked    time.Time     // Query was called (zero for a read)
	Sent     time.Time     // the slot came and the packet left
	Received time.Time     // the reply was there
	Up, Down time.Duration // sums of the delays drawn
}

// A Trace observes one query. Its functions are called from the engine's
// goroutines and must return at once.
type Trace struct {
	// Taken is called when a slot that is about to come has been given to the query,
	// before Sent, and before Query returns: a cancelled query of which Query has
	// returned without it is never sent. Whoever puts the next query only then can choose it late, and
	// yet have it wait when another slot follows closely.
	Taken func()
	Sent  func(t Timing) // the slot came; Received is still zero
	Done  func(t Timing) // the reply was there; not called when it is lost
}

type traceKey struct{}

// WithTrace returns a context that carries trace to Query.
func WithTrace(ctx context.Context, trace *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, trace)
}

// ContextTrace returns the trace of ctx. It is never nil, its functions are
// never nil.
func ContextTrace(ctx context.Context) *Trace {
	t, _ := ctx.Value(traceKey{}).(*Trace)
	if t == nil {
		t = &Trace{}
	}
	full := *t
	if full.Taken == nil {
		full.Taken = func() {}
	}
	if full.Sent == nil {
		full.Sent = func(Timing) {}
	}
	if full.Done == nil {
		full.Done = func(Timing) {}
	}
	return &full
}

// Status is a description of the client at one moment.
type Status struct {
	Connected bool      // the first hop is reached
	Since     time.Time // of the present state
	Reason    string    // why not connected, a sentence for the user
	// ClockOffset is how far the network's clock is ahead of ours, as far as is
	// known; seconds of it are forgiven.
	ClockOffset time.Duration
	Waiting     int // queries that wait for a slot
	InFlight    int // packets of all kinds whose reply is still out

	Queries, Reads, Loops uint64 // packets sent of each kind
	// Lost are the packets of all kinds whose reply did not come in time, and for which
	// only the network can be to blame: it is the rule by which loops count as lost.
	// Interrupted are those that the machine's sleep explains, or a connection that
	// ended or brought nothing at all meanwhile.
	Lost, Interrupted    uint64
	LoopsSent, LoopsBack uint64 // of the loops that measure loss: sent, and returned
	// LoopsLost is the share of the last hundred of these that were lost, and
	// LoopAlarm says that it is so high that a node is broken or an attack goes on.
	LoopsLost float64
	LoopAlarm bool

	// BytesPerDay is what the cover traffic costs each way, on average.
	BytesPerDay int64
	// QueryRate, ReadRate and LoopRate are the rates of the processes, per second.
	QueryRate, ReadRate, LoopRate float64
	// RoundTrip is how long a query takes on average once it has its slot.
	RoundTrip time.Duration

	// Mixes is how many mixes a packet passes each way, and MixDelay how long each
	// holds it on average: both are zero for an engine that does not mix. Nodes and
	// Operators are how many nodes the network has, and who runs them.
	Mixes            int
	MixDelay         time.Duration
	Nodes, Operators int
}

// An Event is a change of Status.Connected.
type Event struct {
	Connected bool
	Reason    string
}
