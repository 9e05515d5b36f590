// Package builtin is the client of the built-in mix network: an engine behind
// mixclient.Network.
//
// It keeps one link to one gateway and sends on it at the slots of three
// independent Poisson processes, whatever is asked of it. Only what a slot
// carries depends on the queries that wait; that there is a slot never does.
// cmd and tests import it; nothing else knows which engine runs.
package builtin

import (
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/loss"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// Config says how to take part. Document is needed.
type Config struct {
	Document *directory.Document
	// Earlier, if not nil, is the document before it, of which snapshots may be in
	// use still.
	Earlier *directory.Document
	// Gateway is the name of the gateway to use; a client should keep its gateway.
	// Empty picks one with ChooseGateway.
	Gateway string
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // of epochs; nil means time.Now
	// Open makes the connections to the gateway, by way of a proxy perhaps; nil makes
	// them directly. If its error has a method Reason, that is what a user is told.
	Open func(ctx context.Context, network, address string) (net.Conn, error)
	// Tap and Slots are for tests and measuring programs only. Slots is told of each
	// slot as its packet leaves; it is called from several goroutines and must return
	// at once.
	Tap   wire.Tap
	Slots func(Slot)
}

// A Process is one of the three that pace a client.
type Process string

// The processes of section 2 of the design.
const (
	QueryProcess Process = "query"
	ReadProcess  Process = "read"
	LoopProcess  Process = "loop"
)

// A Slot is one event of a process: a packet that left.
type Slot struct {
	Process Process
	Cover   bool // it carried a loop, for want of anything else
	Timing  mixclient.Timing
}

// A Client implements mixclient.Network.
type Client struct {
	doc     *directory.Document
	views   *directory.Views
	now     func() time.Time
	gateway *directory.Node        // as it was at the start
	address atomic.Pointer[string] // where the gateway is now
	end     *wire.End
	log     *slog.Logger
	self    sphinx.Recipient // where gateways send our replies
	seed    *lockedRand
	slots   func(Slot) // may be nil
	loops   loss.Monitor
	dial    func(context.Context) (link, error) // the gateway; as session says
	// addresses returns those of this machine; net.InterfaceAddrs but in tests.
	addresses func() ([]net.Addr, error)
	awake     chan struct{} // holds a token after the machine slept

	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards all below
	closed  bool
	link    *wire.Queue   // into the connection; nil while there is none
	broken  string        // why there is none
	local   net.IP        // this end of the connection; nil while there is none, or it does not matter
	heard   time.Time     // of the last reply over the connection; zero before the first
	offset  time.Duration // of the gateway's clock to ours
	stale   bool          // the network has a newer document than this client
	waiting []*query      // in the order they came
	pending map[sphinx.SURBID]*flight
	reads   func() (mixclient.Read, bool)
	status  mixclient.Status
	events  chan mixclient.Event
}

var _ mixclient.Network = (*Client)(nil)

// A query waits for a slot, then for its reply.
type query struct {
	to      *directory.Node
	kind    string
	request []byte
	asked   time.Time
	trace   *mixclient.Trace
	done    chan outcome // of capacity one
}

type outcome struct {
	reply []byte
	err   error
}

// ChooseGateway picks one of the network's gateways at random and returns its
// name.
func ChooseGateway(d *directory.Document) string {
	gateways := d.WithRole(directory.RoleGateway)
	return gateways[rand.N(len(gateways))].Name
}

// New starts a client. It returns at once; connecting goes on behind it.
func New(cfg Config) (*Client, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Gateway == "" {
		cfg.Gateway = ChooseGateway(cfg.Document)
	}
	gateway, err := cfg.Document.Named(cfg.Gateway, directory.RoleGateway)
	if err != nil {
		return nil, fmt.Errorf("start network client: %w", err)
	}
	// The link key is new each time and unrelated to any account.
	_, linkKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make link key: %w", err)
	}
	p := cfg.Document.Parameters
	end, err := wire.NewEnd(linkKey, p.Packet(), cfg.Tap)
	if err != nil {
		return nil, fmt.Errorf("start network client: %w", err)
	}
	if cfg.Open != nil {
		end.Through(cfg.Open)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		doc: cfg.Document, views: directory.NewViews(cfg.Document), now: cfg.Now, gateway: gateway, end: end, log: cfg.Logger,
		self: node.ClientRecipient(end.Key()), seed: newLockedRand(),
		slots: cfg.Slots, addresses: net.InterfaceAddrs, cancel: cancel, awake: make(chan struct{}, 1),
		pending: map[sphinx.SURBID]*flight{},
		events:  make(chan mixclient.Event, 1),
		status: mixclient.Status{
			Since: time.Now(), Reason: "connecting",
			QueryRate: p.QueryRate, ReadRate: p.ReadRate, LoopRate: p.LoopRate,
			RoundTrip:   2 * directory.Layers * time.Duration(p.MixDelay),
			BytesPerDay: int64(p.Rate() * 86400 * float64(end.FrameSize()+tlsRecord)),
		},
	}
	if cfg.Earlier != nil {
		c.views.Behind(cfg.Earlier)
	}
	c.address.Store(&gateway.Address)
	c.dial = func(ctx context.Context) (link, error) { return end.Dial(ctx, *c.address.Load(), gateway.Identity) }
	c.wg.Go(func() { c.connect(ctx) })
	c.wg.Go(func() { c.watch(ctx) })
	c.wg.Go(func() { c.process(ctx, QueryProcess, p.QueryRate, c.querySlot) })
	c.wg.Go(func() { c.process(ctx, ReadProcess, p.ReadRate, c.readSlot) })
	c.wg.Go(func() { c.process(ctx, LoopProcess, p.LoopRate, c.loopSlot) })
	return c, nil
}

// tlsRecord is what TLS 1.3 adds to a frame: header, content type, tag.
const tlsRecord = 5 + 1 + 16

// Gateway returns the name of the gateway in use.
func (c *Client) Gateway() string { return c.gateway.Name }

// Query implements mixclient.Network.
func (c *Client) Query(ctx context.Context, to mixclient.Service, request []byte) ([]byte, error) {
	if len(request) > c.Limits().Request {
		return nil, fmt.Errorf("query: %w: %d bytes, limit %d", mixclient.ErrTooLarge, len(request), c.Limits().Request)
	}
	n, err := c.service(to)
	if err != nil {
		return nil, err
	}
	q := &query{
		to: n, kind: to.Kind, request: request, asked: time.Now(),
		trace: mixclient.ContextTrace(ctx), done: make(chan outcome, 1),
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, mixclient.ErrClosed
	}
	c.waiting = append(c.waiting, q)
	c.mu.Unlock()
	select {
	case o := <-q.done:
		return o.reply, o.err
	case <-ctx.Done():
		c.mu.Lock()
		if i := slices.Index(c.waiting, q); i >= 0 {
			c.waiting = slices.Delete(c.waiting, i, i+1)
		}
		c.mu.Unlock()
		return nil, fmt.Errorf("query: %w", ctx.Err())
	}
}

// service finds the node that runs the service.
func (c *Client) service(to mixclient.Service) (*directory.Node, error) {
	n, err := c.views.Document().Named(to.Node, directory.RoleService)
	if err != nil || !slices.Contains(n.Services, to.Kind) {
		return nil, fmt.Errorf("query: %w: %s", mixclient.ErrUnknownService, to.Kind)
	}
	return n, nil
}

// Services implements mixclient.Network.
func (c *Client) Services(_ context.Context, kind string) ([]mixclient.Service, error) {
	var list []mixclient.Service
	for _, n := range c.views.Document().Offering(kind) {
		s := mixclient.Service{Kind: kind, Node: n.Name}
		if kind == mixclient.KindSpool {
			s.Provider = n.Provider
		}
		list = append(list, s)
	}
	c.seed.shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list, nil
}

// Limits implements mixclient.Network.
func (c *Client) Limits() mixclient.Limits {
	p := c.doc.Parameters
	return mixclient.Limits{Request: p.Request, Reply: p.Payload()}
}

// SetReads implements mixclient.Network.
func (c *Client) SetReads(next func() (mixclient.Read, bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads = next
}

// Status implements mixclient.Network.
func (c *Client) Status() mixclient.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Waiting, s.InFlight = len(c.waiting), len(c.pending)
	loops := c.loops.Report()
	s.LoopsSent, s.LoopsBack, s.LoopsLost, s.LoopAlarm = loops.Sent, loops.Back, loops.Lost, loops.Alarm
	doc := c.views.Document()
	operators := map[string]bool{}
	for _, n := range doc.Nodes {
		operators[n.Operator] = true
	}
	s.Mixes, s.MixDelay = directory.Layers, time.Duration(doc.Parameters.MixDelay)
	s.Nodes, s.Operators = len(doc.Nodes), len(operators)
	return s
}

// Events implements mixclient.Network.
func (c *Client) Events() <-chan mixclient.Event { return c.events }

// Close implements mixclient.Network.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	waiting := c.waiting
	c.waiting = nil
	flights := c.pending
	c.pending = map[sphinx.SURBID]*flight{}
	c.mu.Unlock()
	c.cancel()
	for _, q := range waiting {
		q.done <- outcome{err: mixclient.ErrClosed}
	}
	for _, f := range flights {
		f.timer.Stop()
		f.done(nil, f.timing, mixclient.ErrClosed)
	}
	c.wg.Wait()
	close(c.events)
	return nil
}

// lockedRand draws times and paths from ChaCha8, seeded by the system.
type lockedRand struct {
	mu sync.Mutex // guards r
	r  *rand.Rand
}

func newLockedRand() *lockedRand {
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	return &lockedRand{r: rand.New(rand.NewChaCha8(seed))}
}

// exp draws from the exponential distribution with that mean.
func (l *lockedRand) exp(mean float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.ExpFloat64() * mean
}

func (l *lockedRand) intn(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.IntN(n)
}

func (l *lockedRand) shuffle(n int, swap func(i, j int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.r.Shuffle(n, swap)
}
