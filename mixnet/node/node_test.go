package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// bench is a network of which the test holds all keys: it runs one node and
// plays the others.
type bench struct {
	t         *testing.T
	doc       *directory.Document
	identity  map[string]ed25519.PrivateKey
	rings     map[string]*keyring.Ring
	listeners map[string]net.Listener
	// stopPlaying ends what accept began.
	stopPlaying map[string]func()
	clientKey   directory.Key // of the last dialNew
	now         func() time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{
		t: t, identity: map[string]ed25519.PrivateKey{}, rings: map[string]*keyring.Ring{},
		listeners: map[string]net.Listener{}, stopPlaying: map[string]func(){}, now: time.Now,
	}
	d := &directory.Document{Format: directory.Format, Network: "bench", Parameters: directory.DefaultParameters().Scaled(100), SnapshotThreshold: 1}
	add := func(n directory.Node) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		pub, identity, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n.Role != directory.RoleDirectory {
			if b.rings[n.Name], err = keyring.Open("", d.Parameters, func() time.Time { return b.now() }); err != nil {
				t.Fatal(err)
			}
		}
		n.Operator, n.Address = "operator of "+n.Name, l.Addr().String()
		n.Identity = directory.Key(pub)
		b.identity[n.Name], b.listeners[n.Name] = identity, l
		d.Nodes = append(d.Nodes, n)
	}
	add(directory.Node{Name: "gateway", Role: directory.RoleGateway})
	for l := 1; l <= directory.Layers; l++ {
		add(directory.Node{Name: fmt.Sprintf("mix%d", l), Role: directory.RoleMix, Layer: l})
	}
	add(directory.Node{Name: "service", Role: directory.RoleService, Provider: "north.test", Services: []string{"echo", "spool"}})
	add(directory.Node{Name: "directory", Role: directory.RoleDirectory}) // which does not answer
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	b.doc = d
	return b
}

// freeze keeps all at the start of this epoch, in which every node has its key of
// it, so that nothing happens by itself. It comes before run.
func (b *bench) freeze() {
	b.t.Helper()
	e := b.doc.Parameters.EpochAt(b.now())
	at := b.doc.Parameters.EpochStart(e)
	b.now = func() time.Time { return at }
	for name, ring := range b.rings {
		if _, err := ring.Public(e); err != nil {
			b.t.Fatalf("%s: %v", name, err)
		}
	}
}

func (b *bench) named(name string) *directory.Node {
	for i := range b.doc.Nodes {
		if n := &b.doc.Nodes[i]; n.Name == name {
			return n
		}
	}
	b.t.Fatalf("no node %s", name)
	return nil
}

// run starts the node with that name.
func (b *bench) run(name string, services map[string]Service) *Node {
	b.t.Helper()
	n, err := Start(Config{Document: b.doc, Identity: b.identity[name], Keys: b.rings[name], Listener: b.listeners[name], Services: services, Now: b.now})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return n
}

// dial connects as one node to another.
func (b *bench) dial(as, to string) *wire.Conn {
	b.t.Helper()
	end, err := wire.NewEnd(b.identity[as], b.doc.Parameters.Packet(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := end.Dial(b.t.Context(), b.named(to).Address, b.named(to).Identity)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// dialNew connects as a client that nobody knows.
func (b *bench) dialNew(to string) *wire.Conn {
	b.t.Helper()
	pub, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.clientKey, b.identity["client"] = directory.Key(pub), identity
	return b.dial("client", to)
}

// accept plays a node that others send to, and hands on the packets it gets.
func (b *bench) accept(as string) <-chan []byte {
	b.t.Helper()
	end, err := wire.NewEnd(b.identity[as], b.doc.Parameters.Packet(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	packets := make(chan []byte, 16)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	var conn atomic.Pointer[wire.Conn]
	l := b.listeners[as]
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			return
		}
		c, err := end.Accept(ctx, raw, func(directory.Key) bool { return true })
		if err != nil {
			return
		}
		conn.Store(c)
		for {
			_, packet, err := c.ReadFrame(make([]byte, end.FrameSize()), 2*time.Minute)
			if err != nil {
				return
			}
			select {
			case packets <- packet:
			case <-ctx.Done(): // nobody reads them any more
				return
			}
		}
	}()
	b.stopPlaying[as] = func() {
		cancel()
		l.Close()
		if c := conn.Load(); c != nil {
			c.Close()
		}
		<-done
	}
	b.t.Cleanup(b.stopPlaying[as])
	return packets
}

func (b *bench) hop(name string, delay time.Duration) sphinx.Hop {
	n := b.named(name)
	key, err := b.rings[name].Public(b.doc.Parameters.EpochAt(b.now()))
	if err != nil {
		b.t.Fatal(err)
	}
	return sphinx.Hop{ID: n.ID(), Key: key, Delay: delay}
}

// packet makes a packet over the hops, for the service at the last.
func (b *bench) packet(hops ...sphinx.Hop) []byte {
	b.t.Helper()
	r := ServiceRecipient("echo")
	last := &hops[len(hops)-1]
	last.Recipient, last.Delay = &r, 0
	p, err := sphinx.NewPacket(rand.Reader, hops, make([]byte, b.doc.Parameters.Payload()))
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func send(t *testing.T, c *wire.Conn, packet []byte) {
	t.Helper()
	if err := c.WriteFrame(wire.KindPacket, packet); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a counter, which a node moves in its own time.
func eventually(t *testing.T, what string, counter *atomic.Uint64, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); counter.Load() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: counter is %d, want %d", what, counter.Load(), want)
		}
	}
}

func TestMixForwardsAfterTheDelay(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups come before the leak check
		b := newBench(t)
		arrived := b.accept("mix2")
		n := b.run("mix1", nil)
		c := b.dial("gateway", "mix1")
		const delay = 30 * time.Millisecond
		p := b.packet(b.hop("mix1", delay), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0))
		start := time.Now()
		send(t, c, p)
		got := <-arrived
		if took := time.Since(start); took < delay {
			t.Errorf("packet came after %v, want %v at least", took, delay)
		}
		if bytes.Equal(got, p) || len(got) != len(p) {
			t.Errorf("the packet was not changed, or its size was: %d and %d bytes", len(got), len(p))
		}
		u, err := b.rings["mix2"].Unwrap(got)
		if err != nil || u.Last || u.Next != b.named("mix3").ID() {
			t.Errorf("the next hop unwraps %+v, %v", u, err)
		}
		eventually(t, "forwarded", &n.Counters.Forwarded, 1)
	})
}

func TestStrangersAreRefused(t *testing.T) {
	b := newBench(t)
	n := b.run("mix1", nil)
	for i, as := range []string{"mix3", "stranger"} {
		if as == "stranger" {
			_, b.identity[as], _ = ed25519.GenerateKey(nil)
		}
		end, err := wire.NewEnd(b.identity[as], b.doc.Parameters.Packet(), nil)
		if err != nil {
			t.Fatal(err)
		}
		// In TLS 1.3 the client hears of a refusal when it first reads.
		if c, err := end.Dial(t.Context(), b.named("mix1").Address, b.named("mix1").Identity); err == nil {
			if _, _, err := c.ReadFrame(make([]byte, end.FrameSize()), 2*time.Minute); err == nil {
				t.Errorf("%s may connect to a mix of the first layer", as)
			}
			c.Close()
		}
		eventually(t, as, &n.Counters.Refused, uint64(i+1))
	}
	garbage, err := net.Dial("tcp", b.named("mix1").Address)
	if err != nil {
		t.Fatal(err)
	}
	defer garbage.Close()
	if _, err := garbage.Write([]byte("EHLO example.org\r\n\x00\xff\xff\xff\xff")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "garbage", &n.Counters.Refused, 3)
}

func TestServiceNode(t *testing.T) {
	b := newBench(t)
	arrived := b.accept("mix1")
	n := b.run("service", map[string]Service{"echo": Echo{}})
	c := b.dial("mix3", "service")

	client := ClientRecipient(directory.Key{1})
	id := sphinx.SURBID{2}
	home := b.hop("gateway", 0)
	home.Recipient, home.SURBID = &client, &id
	surb, keys, err := sphinx.NewSURB(rand.Reader, []sphinx.Hop{b.hop("mix1", 0), home})
	if err != nil {
		t.Fatal(err)
	}
	query := func(surb []byte, kind string) []byte {
		payload, err := sphinx.PackQuery(surb, []byte("hello"), b.doc.Parameters.Payload())
		if err != nil {
			t.Fatal(err)
		}
		r := ServiceRecipient(kind)
		h := b.hop("service", 0)
		h.Recipient = &r
		p, err := sphinx.NewPacket(rand.Reader, []sphinx.Hop{h}, payload)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	send(t, c, query(surb, "echo"))
	reply := <-arrived
	if u, err := b.rings["mix1"].Unwrap(reply); err != nil || u.Next != b.named("gateway").ID() {
		t.Fatalf("reply at its first mix: %+v, %v", u, err)
	}
	u, err := b.rings["gateway"].Unwrap(reply)
	if err != nil || !u.IsReply || u.SURBID != id || u.Recipient != client {
		t.Fatalf("reply at the gateway: %+v, %v", u, err)
	}
	text, err := keys.OpenReply(u.Payload)
	if err != nil || !bytes.HasPrefix(text, []byte("hello")) {
		t.Errorf("reply %.10q, %v", text, err)
	}
	eventually(t, "answered", &n.Counters.Answered, 1)

	send(t, c, query(surb, "no-such"))
	eventually(t, "no such service", &n.Counters.NoService, 1)
	send(t, c, query(nil, "echo"))
	eventually(t, "no reply block", &n.Counters.BadQuery, 1)
}

func TestDelayLineOrderAndBound(t *testing.T) {
	out := make(chan byte, 8)
	l := newDelayLine(3, func(_ sphinx.NodeID, p []byte, late time.Duration) {
		if late < 0 {
			t.Errorf("released %v early", -late)
		}
		out <- p[0]
	})
	for i, d := range []int{30, 10, 20} {
		if l.add(sphinx.NodeID{}, []byte{byte(i)}, time.Duration(d)*time.Millisecond) {
			t.Error("dropped while there was room")
		}
	}
	if !l.add(sphinx.NodeID{}, []byte{3}, 40*time.Millisecond) { // pushes out 1, the nearest to its end
		t.Error("a full line dropped nothing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx) }()
	if got := []byte{<-out, <-out, <-out}; !bytes.Equal(got, []byte{2, 0, 3}) {
		t.Errorf("released in the order %v, want 2 0 3", got)
	}
	cancel()
	<-done
}

type slowService time.Duration

func (s slowService) Answer(_ context.Context, request []byte) []byte {
	time.Sleep(time.Duration(s))
	return request
}

// TestProcessingTimeDoesNotShow is for a trap of the design's section 8: replies
// leave at multiples of one time, however long their service took.
func TestProcessingTimeDoesNotShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, took := range []time.Duration{0, answerQuantum / 3, answerQuantum / 2, answerQuantum * 3 / 2} {
			want, late := answerQuantum, uint64(0)
			if took > answerQuantum {
				want, late = 2*answerQuantum, 1
			}
			out := wire.NewLink(nil, "", directory.Key{}, 8, nil)
			next := sphinx.NodeID{1}
			n := &Node{
				cfg:      Config{Document: &directory.Document{Parameters: directory.DefaultParameters()}},
				self:     &directory.Node{Role: directory.RoleService},
				services: map[sphinx.Recipient]Service{ServiceRecipient("echo"): slowService(took)},
				answers:  make(chan struct{}, 1),
			}
			n.ties.Store(&ties{links: map[sphinx.NodeID]*wire.Link{next: out}})
			surb := make([]byte, sphinx.SURBSize)
			copy(surb[sphinx.HeaderSize:], next[:])
			payload, err := sphinx.PackQuery(surb, nil, directory.DefaultParameters().Payload())
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			n.answer(t.Context(), ServiceRecipient("echo"), payload)
			if _, err := out.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := time.Since(start); left != want {
				t.Errorf("the reply of a service that took %v left after %v, want %v", took, left, want)
			}
			if got := n.Counters.Late.Load(); got != late {
				t.Errorf("after a reply that took %v, %d are counted as late", took, got)
			}
			n.wg.Wait()
		}
	})
}
