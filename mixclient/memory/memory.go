// Package memory is a mixclient.Network without a network: queries are answered
// by handlers in the same process. It hides nothing from anyone; it drives the
// fast tests of everything above mixclient, and passes the same conformance
// tests as a real engine. Only tests and contrib/measure/largemail import it.
package memory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"mailproxy/mixclient"
)

// A Handler answers the queries of one service.
type Handler interface {
	Answer(ctx context.Context, request []byte) []byte
}

// Config says which services there are and how the engine behaves.
type Config struct {
	Services map[mixclient.Service]Handler
	Limits   mixclient.Limits
	// Slot is the time between two slots of the query process and between two of
	// the read process.
	Slot time.Duration
	// Latency is how long a reply takes; each is drawn evenly from [0, 2·Latency],
	// so that replies overtake each other.
	Latency time.Duration
	// Pad fills replies with zeros up to the limit, as a real engine does.
	Pad bool
}

// A Network is an engine in memory. Its exported methods other than those of
// mixclient.Network break it on purpose.
type Network struct {
	cfg    Config
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu      sync.Mutex // guards all below
	closed  bool
	loss    float64 // share of queries and of replies that vanish
	waiting []*query
	reads   func() (mixclient.Read, bool)
	status  mixclient.Status
	events  chan mixclient.Event
	notices map[mixclient.Service]mixclient.Notice
}

var _ mixclient.Network = (*Network)(nil)

type query struct {
	ctx     context.Context
	to      mixclient.Service
	request []byte
	timing  mixclient.Timing
	taken   func()
	sent    func(mixclient.Timing)
	done    func([]byte, mixclient.Timing, error)
}

// New starts an engine.
func New(cfg Config) *Network {
	ctx, cancel := context.WithCancel(context.Background())
	n := &Network{
		cfg: cfg, ctx: ctx, cancel: cancel,
		events: make(chan mixclient.Event, 1), notices: map[mixclient.Service]mixclient.Notice{},
		status: mixclient.Status{
			Connected: true, Since: time.Now(), RoundTrip: cfg.Latency,
			QueryRate: 1 / cfg.Slot.Seconds(), ReadRate: 1 / cfg.Slot.Seconds(),
		},
	}
	n.events <- mixclient.Event{Connected: true}
	n.wg.Go(func() { n.slots(n.querySlot) })
	n.wg.Go(func() { n.slots(n.readSlot) })
	return n
}

// SetLoss makes that share of all queries, and of all replies, vanish.
func (n *Network) SetLoss(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// Announce sets what a service announces.
func (n *Network) Announce(s mixclient.Service, notice mixclient.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notices[s] = notice
}

// Notice implements mixclient.Network.
func (n *Network) Notice(s mixclient.Service) (mixclient.Notice, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	notice, ok := n.notices[s]
	return notice, ok
}

func (n *Network) slots(slot func()) {
	tick := time.NewTicker(n.cfg.Slot)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
			slot()
		}
	}
}

func (n *Network) querySlot() {
	n.mu.Lock()
	var q *query
	for len(n.waiting) > 0 && q == nil {
		q, n.waiting = n.waiting[0], n.waiting[1:]
		if q.ctx.Err() != nil {
			q = nil // its caller has gone
		}
	}
	if q == nil {
		n.status.Loops++
	} else {
		n.status.Queries++
		q.taken() // under mu, for Query
	}
	n.mu.Unlock()
	if q != nil {
		n.fly(q)
	}
}

func (n *Network) readSlot() {
	n.mu.Lock()
	next := n.reads
	n.mu.Unlock()
	if next == nil {
		return
	}
	r, ok := next()
	if !ok {
		return
	}
	n.mu.Lock()
	n.status.Reads++
	n.mu.Unlock()
	n.fly(&query{to: r.To, request: r.Request, done: r.Done, sent: func(mixclient.Timing) {}})
}

// fly answers q after a while, or loses it.
func (n *Network) fly(q *query) {
	q.timing.Sent = time.Now()
	q.timing.Down = rand.N(2*n.cfg.Latency + 1)
	q.sent(q.timing)
	n.mu.Lock()
	lost := rand.Float64() < n.loss
	lostBack := rand.Float64() < n.loss
	n.status.InFlight++
	n.mu.Unlock()
	n.wg.Go(func() {
		var reply []byte
		handler := n.cfg.Services[q.to]
		if !lost && handler != nil {
			reply = handler.Answer(n.ctx, q.request)
		}
		err := error(nil)
		wait := q.timing.Down
		switch {
		case handler == nil:
			err = mixclient.ErrUnknownService
		case lost || lostBack:
			err, wait = mixclient.ErrLost, 4*n.cfg.Latency
		}
		select {
		case <-n.ctx.Done():
			err = mixclient.ErrClosed
		case <-time.After(wait):
		}
		n.mu.Lock()
		n.status.InFlight--
		if err != nil {
			n.status.Lost++
		}
		n.mu.Unlock()
		if err != nil {
			q.done(nil, q.timing, err)
			return
		}
		out := append([]byte(nil), reply...)
		if n.cfg.Pad {
			out = append(out, make([]byte, n.cfg.Limits.Reply-len(out))...)
		}
		q.timing.Received = time.Now()
		q.done(out, q.timing, nil)
	})
}

// Query implements mixclient.Network.
func (n *Network) Query(ctx context.Context, to mixclient.Service, request []byte) ([]byte, error) {
	if len(request) > n.cfg.Limits.Request {
		return nil, fmt.Errorf("query: %w: %d bytes", mixclient.ErrTooLarge, len(request))
	}
	if n.cfg.Services[to] == nil {
		return nil, fmt.Errorf("query: %w: %s", mixclient.ErrUnknownService, to.Kind)
	}
	type outcome struct {
		reply []byte
		err   error
	}
	result := make(chan outcome, 1)
	trace := mixclient.ContextTrace(ctx)
	q := &query{
		ctx: ctx, to: to, request: request, taken: trace.Taken, sent: trace.Sent,
		timing: mixclient.Timing{Asked: time.Now()},
		done: func(reply []byte, t mixclient.Timing, err error) {
			if err == nil {
				trace.Done(t)
			}
			result <- outcome{reply, err}
		},
	}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, mixclient.ErrClosed
	}
	n.waiting = append(n.waiting, q)
	n.mu.Unlock()
	select {
	case o := <-result:
		return o.reply, o.err
	case <-ctx.Done():
		n.mu.Lock()
		n.waiting = slices.DeleteFunc(n.waiting, func(w *query) bool { return w == q })
		n.mu.Unlock()
		return nil, fmt.Errorf("query: %w", ctx.Err())
	}
}

// Services implements mixclient.Network.
func (n *Network) Services(_ context.Context, kind string) ([]mixclient.Service, error) {
	var list []mixclient.Service
	for s := range n.cfg.Services { // in no order
		if s.Kind == kind {
			list = append(list, s)
		}
	}
	return list, nil
}

// Limits implements mixclient.Network.
func (n *Network) Limits() mixclient.Limits { return n.cfg.Limits }

// SetReads implements mixclient.Network.
func (n *Network) SetReads(next func() (mixclient.Read, bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads = next
}

// Status implements mixclient.Network.
func (n *Network) Status() mixclient.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	s.Waiting = len(n.waiting)
	return s
}

// Events implements mixclient.Network.
func (n *Network) Events() <-chan mixclient.Event { return n.events }

// Close implements mixclient.Network.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	waiting := n.waiting
	n.waiting = nil
	n.mu.Unlock()
	n.cancel()
	for _, q := range waiting {
		q.done(nil, q.timing, mixclient.ErrClosed)
	}
	n.wg.Wait()
	close(n.events)
	return nil
}
