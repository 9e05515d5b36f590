// Package node runs one member of the mix network: a gateway, a mix or a service
// node, each with its own listening socket, link key and mix key. Many may run in
// one process; they meet over TCP all the same.
//
// A node strips one Sphinx layer from each packet, drops what was altered,
// replayed or misrouted under a counter of its own, waits the delay that the
// sender drew, and forwards. A service node hands queries to its services and
// sends their answers back on the query's SURB, at once.
//
// It knows services through the Service interface only; cmd puts the two
// together. It imports nothing above mixnet; cmd, mixnet/local and, for what a
// client has in common with a node, mixclient/builtin import it.
package node

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/mixnet/authority"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// A Service answers queries. It is called from many goroutines at once, must
// answer at once and always, and never more than the network's reply limit.
type Service interface {
	Answer(ctx context.Context, request []byte) (reply []byte)
}

// Echo is the service behind loops: its answer is the request.
type Echo struct{}

// Answer implements Service.
func (Echo) Answer(_ context.Context, request []byte) []byte { return request }

// ServiceRecipient is the Sphinx recipient by which packets name a service of a
// kind at their last hop: the kind, padded with zeros.
func ServiceRecipient(kind string) (r sphinx.Recipient) {
	copy(r[:], kind)
	return r
}

// ClientRecipient is the Sphinx recipient by which a reply names the client that
// a gateway is to give it to: the SHA-256 of the client's link key.
func ClientRecipient(link directory.Key) sphinx.Recipient { return sha256.Sum256(link[:]) }

// Bounds of a node. A packet takes about 10 KB. docs/performance.md says what that
// amounts to.
const (
	linkQueue    = 2048   // frames waiting for one peer
	delayRate    = 50_000 // packets a second that may wait out the mean delay: no mix is planned for as many
	leastDelayed = 2048   // packets that may, however short the delay is
	answersAtOne = 128    // queries being answered at one time
)

// delayQueue is how many packets may wait out their delay at one time.
func delayQueue(p directory.Parameters) int {
	return max(leastDelayed, int(delayRate*time.Duration(p.MixDelay).Seconds()))
}

// Config says which node to run. Document, Identity, Keys and Listener are needed.
type Config struct {
	Document *directory.Document
	// Earlier, if not nil, is the document before it, of which snapshots may be in
	// use still.
	Earlier  *directory.Document
	Identity ed25519.PrivateKey // its public half is the node's entry in Document
	Keys     *keyring.Ring      // the caller closes it
	Lies     string             // where proofs of directories that lie are kept; empty: nowhere
	Listener net.Listener       // the node closes it
	Services map[string]Service // of a service node, by kind
	// Notice says what the node announces to all clients in its descriptor of an
	// epoch, at most directory.MaxNotice bytes. It is asked once for each, when the
	// descriptor is made, and must return at once; nil announces nothing.
	Notice func() []byte
	// MaxClients bounds the clients connected to a gateway at once; 0 means
	// MostClients.
	// Each takes about 0.1 MB, and 0.6 MB more while it does not take its replies.
	MaxClients int
	Logger     *slog.Logger     // nil discards
	Now        func() time.Time // of epochs; nil means time.Now
	Tap        wire.Tap         // for measuring programs only
	// Sights is told what a gateway learns of its clients' packets. It is for
	// measuring programs only, is called from many goroutines and must return at
	// once.
	Sights func(Sighting)
}

// A Sighting is what a gateway learns of one packet that it has unwrapped and that
// is a client's: of a reply to the client, or of one that the client sent.
type Sighting struct {
	Client sphinx.Recipient // ClientRecipient of its link key
	Reply  bool
	Mix    sphinx.NodeID // from which a reply came, or to which a packet goes
}

// A Node runs from Start to Close.
type Node struct {
	Counters Counters

	cfg   Config
	self  *directory.Node
	end   *wire.End
	log   *slog.Logger
	views *directory.Views
	dir   *authority.Client
	// witness compares what the directories hand out.
	witness *authority.Witness

	ties  atomic.Pointer[ties]
	delay *delayLine

	services map[sphinx.Recipient]Service
	answers  chan struct{} // a token per query being answered
	// answering is how many queries have no reply yet that is on its way.
	answering atomic.Int64
	moment    moment

	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	stopTaking context.CancelFunc // no more packets are taken
	wg         sync.WaitGroup

	handshakes handshakes

	clients   clients   // of a gateway
	snapshots snapshots // likewise
	loops     loops

	arranging sync.Mutex                           // held while ties are replaced; guards stops
	stops     map[sphinx.NodeID]context.CancelFunc // of the links

	mu    sync.Mutex // guards conns
	conns map[*wire.Conn]struct{}
}

// Start runs a node until Close.
func Start(cfg Config) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxClients == 0 {
		cfg.MaxClients = MostClients
	}
	end, err := wire.NewEnd(cfg.Identity, cfg.Document.Parameters.Packet(), cfg.Tap)
	if err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	self := cfg.Document.Node((&directory.Node{Identity: end.Key()}).ID())
	if self == nil || self.Role == directory.RoleDirectory {
		return nil, errors.New("start node: its identity key is no mix's, gateway's or service node's in the network document")
	}
	dir, err := authority.NewClient(cfg.Document, cfg.Identity)
	if err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	taking, stopTaking := context.WithCancel(ctx)
	n := &Node{
		cfg: cfg, self: self, end: end, ctx: ctx, cancel: cancel, stopTaking: stopTaking,
		log:   cfg.Logger.With("node", self.Name),
		stops: map[sphinx.NodeID]context.CancelFunc{},
		views: directory.NewViews(cfg.Document), dir: dir,
		services: map[sphinx.Recipient]Service{},
		answers:  make(chan struct{}, answersAtOne),
		clients:  clients{limit: cfg.MaxClients, p: cfg.Document.Parameters, ends: map[sphinx.Recipient]*clientEnd{}},
		loops:    loops{out: map[loopID]loopOut{}},
		conns:    map[*wire.Conn]struct{}{},
	}
	for kind, s := range cfg.Services {
		n.services[ServiceRecipient(kind)] = s
	}
	n.delay = newDelayLine(delayQueue(cfg.Document.Parameters), func(to sphinx.NodeID, packet []byte, late time.Duration) {
		n.Counters.late(late)
		n.send(to, packet, n.Counters.forwarded)
	})
	if cfg.Earlier != nil {
		n.views.Behind(cfg.Earlier)
	}
	if n.witness, err = authority.NewWitness(n.views, cfg.Lies, n.log); err != nil {
		cancel()
		return nil, fmt.Errorf("start node: %w", err)
	}
	n.ties.Store(new(ties))
	if err := n.arrange(); err != nil {
		cancel()
		n.wg.Wait()
		return nil, fmt.Errorf("start node: %w", err)
	}
	n.wg.Go(func() { n.delay.run(ctx) })
	n.wg.Go(func() { n.keepKeys(ctx) })
	n.wg.Go(func() { n.accept(ctx, taking) })
	if self.Role == directory.RoleGateway {
		n.wg.Go(func() { n.clients.tidy(ctx) })
	}
	n.wg.Go(func() { n.fetchSnapshots(ctx) })
	n.wg.Go(func() { n.compareSnapshots(ctx) })
	n.wg.Go(func() { n.sendLoops(taking) })
	return n, nil
}

// Name returns the node's name in the document.
func (n *Node) Name() string { return n.self.Name }

// Entry returns the node's entry in the document.
func (n *Node) Entry() directory.Node { return *n.self }

// Close stops the node and waits for everything it started.
func (n *Node) Close() error {
	n.cancel() // which closes the listener
	n.mu.Lock()
	for c := range n.conns {
		_ = c.Close() // readers and writers end on it
	}
	n.mu.Unlock()
	n.wg.Wait()
	n.dir.Close()
	return nil
}
