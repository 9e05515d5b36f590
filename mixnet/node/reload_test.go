package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// read gives the bench's document the hash of its text, as one that was signed has.
func (b *bench) read() *directory.Document {
	b.t.Helper()
	text, err := directory.EncodeDraft(b.doc)
	if err == nil {
		b.doc, err = directory.ParseDraft(text)
	}
	if err == nil {
		err = b.doc.Check()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return b.doc
}

// change makes the bench's document a later one.
func (b *bench) change(edit func(*directory.Document)) *directory.Document {
	b.t.Helper()
	d := *b.doc
	d.Nodes = append([]directory.Node(nil), b.doc.Nodes...)
	d.Made = b.doc.Made.Add(time.Hour)
	edit(&d)
	b.doc = &d
	return b.read()
}

// newNode is a further node, which plays or runs as the others do.
func (b *bench) newNode(n directory.Node) directory.Node {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	pub, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.rings[n.Name], err = keyring.Open("", b.doc.Parameters, time.Now); err != nil {
		b.t.Fatal(err)
	}
	n.Operator, n.Address, n.Identity = "operator of "+n.Name, l.Addr().String(), directory.Key(pub)
	b.identity[n.Name], b.listeners[n.Name] = identity, l
	return n
}

// agree has the directory make the snapshot of an epoch under the document, and the
// node take it up.
func (b *bench) agree(n *Node, d *directory.Document, e directory.Epoch) {
	b.t.Helper()
	var list []directory.SignedDescriptor
	for _, m := range d.Nodes {
		if m.Role == directory.RoleDirectory {
			continue
		}
		private, err := sphinx.NewPrivateKey(rand.Reader)
		if err != nil {
			b.t.Fatal(err)
		}
		sd, err := directory.NewDescriptor(b.identity[m.Name], e, private.Public(), nil)
		if err != nil {
			b.t.Fatal(err)
		}
		list = append(list, *sd)
	}
	v, err := directory.NewVote(d, e, 0, list, b.identity["directory"])
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := directory.Tally(d, e, 0, []*directory.Vote{v})
	if err != nil {
		b.t.Fatal(err)
	}
	s := &directory.SignedSnapshot{Body: body, Signatures: []directory.Signature{directory.SignSnapshot(body, b.identity["directory"])}}
	if added, err := n.views.Add(s); !added || err != nil {
		b.t.Fatal(added, err)
	}
	if err := n.arrange(); err != nil {
		b.t.Fatal(err)
	}
}

func get(t *testing.T, what string, from <-chan []byte) {
	t.Helper()
	select {
	case <-from:
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s: no packet came", what)
	}
}

// closed waits until the other end has closed the link.
func closed(t *testing.T, what string, c *wire.Conn, size int) {
	t.Helper()
	for {
		_, _, err := c.ReadFrame(make([]byte, size), 2*time.Minute)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatalf("%s: the link stays", what)
		}
		if err != nil {
			return
		}
	}
}

// TestReloadLosesNothing replaces the document of a mix: a node joins, one leaves,
// one moves, and packets for each go on.
func TestReloadLosesNothing(t *testing.T) {
	b := newBench(t)
	joins := b.newNode(directory.Node{Name: "mix2b", Role: directory.RoleMix, Layer: 2})
	b.doc.Nodes = append(b.doc.Nodes, b.newNode(directory.Node{Name: "gateway2", Role: directory.RoleGateway}))
	first := b.read()
	leaving := b.accept("mix2")
	n := b.run("mix1", nil)
	c, leaver := b.dial("gateway", "mix1"), b.dial("gateway2", "mix1")
	via := func(mix string, delay time.Duration) []byte {
		return b.packet(b.hop("mix1", delay), b.hop(mix, 0), b.hop("mix3", 0), b.hop("service", 0))
	}
	oldHop := b.hop("mix2", 0)
	viaOld := func() []byte {
		return b.packet(b.hop("mix1", 0), oldHop, b.hop("mix3", 0), b.hop("service", 0))
	}
	e := b.doc.Parameters.EpochAt(time.Now())
	b.agree(n, first, e)

	const flight = 20
	for range flight { // some wait out their delays while the document changes
		send(t, c, via("mix2", 39*time.Millisecond))
	}
	eventually(t, "taken", &n.Counters.Received, flight)
	second := b.change(func(d *directory.Document) {
		d.RemoveNode("mix2")
		d.RemoveNode("gateway2")
		d.Nodes = append(d.Nodes, joins)
	})
	if changed, err := n.Reload(second); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if changed, err := n.Reload(second); changed || err != nil {
		t.Errorf("the document in use again: %v, %v", changed, err)
	}
	for range flight {
		get(t, "under way while the document changed", leaving)
	}
	joining := b.accept("mix2b")
	send(t, c, via("mix2b", 0))
	get(t, "to the node that joined", joining)
	// Snapshots are of the old document still: who leaves is served.
	send(t, c, viaOld())
	get(t, "to the node that leaves", leaving)
	send(t, leaver, via("mix2b", 0))
	get(t, "from the node that leaves", joining)

	for i := range directory.Epoch(3) {
		b.agree(n, second, e+1+i)
	}
	before := n.Counters.Misrouted.Load()
	send(t, c, viaOld())
	eventually(t, "to the node that has left", &n.Counters.Misrouted, before+1)
	closed(t, "the node that has left", leaver, n.end.FrameSize())
	send(t, c, via("mix2b", 0))
	get(t, "after all that", joining)
	if d := n.Counters.Dropped.Load(); d != 0 {
		t.Errorf("%d packets were dropped", d)
	}

	// The node that joined moves to another address.
	moved := b.newNode(directory.Node{Name: "elsewhere", Role: directory.RoleMix, Layer: 2})
	third := b.change(func(d *directory.Document) {
		for i := range d.Nodes {
			if d.Nodes[i].Name == "mix2b" {
				d.Nodes[i].Address = moved.Address
			}
		}
	})
	if changed, err := n.Reload(third); !changed || err != nil {
		t.Fatal(changed, err)
	}
	b.stopPlaying["mix2b"]()
	b.listeners["mix2b"] = b.listeners["elsewhere"]
	arrived := b.accept("mix2b")
	// What is written before the link has heard that its connection is gone is lost,
	// as with any connection: so again until one arrives.
	for deadline := time.Now().Add(2 * time.Minute); ; {
		send(t, c, via("mix2b", 0))
		select {
		case <-arrived:
			return
		case <-time.After(200 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("to the node that moved: no packet came")
		}
	}
}

// TestReloadRefused: a document with which a node cannot go on changes nothing.
func TestReloadRefused(t *testing.T) {
	b := newBench(t)
	first := b.read()
	arrived := b.accept("mix2")
	n := b.run("mix1", nil)
	for _, test := range []struct {
		name string
		edit func(*directory.Document)
		says string
	}{
		{"without this node", func(d *directory.Document) {
			d.Nodes[1] = b.newNode(directory.Node{Name: "other", Role: directory.RoleMix, Layer: 1})
		}, `node "mix1" is not in it`},
		{"with other delays", func(d *directory.Document) { d.Parameters.MixDelay *= 2 }, "it changes mix_delay"},
		{"that is older", func(d *directory.Document) { d.Made = first.Made.Add(-time.Hour) }, "and the later one holds"},
	} {
		b.doc = first
		if changed, err := n.Reload(b.change(test.edit)); changed || !errors.Is(err, directory.ErrSuccessor) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("a document %s: %v, %v, want ErrSuccessor that says %q", test.name, changed, err, test.says)
		}
	}
	b.doc = first
	if n.views.Document() != first {
		t.Error("a document that was refused is in use")
	}
	send(t, b.dial("gateway", "mix1"), b.packet(b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)))
	get(t, "after all that", arrived)
}

// TestReloadTellsNodesFromClients: a mix that a gateway did not know yet came to it
// as a client, whose packets are not what a mix's are. It is to come again.
func TestReloadTellsNodesFromClients(t *testing.T) {
	b := newBench(t)
	joins := b.newNode(directory.Node{Name: "mix3b", Role: directory.RoleMix, Layer: 3})
	b.read()
	n := b.run("gateway", nil)
	early, client := b.dial("mix3b", "gateway"), b.dialNew("gateway")
	for deadline := time.Now().Add(2 * time.Minute); n.Counters.Clients.Load() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d clients, want 2", n.Counters.Clients.Load())
		}
	}
	if changed, err := n.Reload(b.change(func(d *directory.Document) { d.Nodes = append(d.Nodes, joins) })); !changed || err != nil {
		t.Fatal(changed, err)
	}
	closed(t, "a mix that came as a client", early, n.end.FrameSize())
	r, id := ClientRecipient(b.clientKey), sphinx.SURBID{7}
	home := b.hop("gateway", 0)
	home.Recipient, home.SURBID = &r, &id
	surb, _, err := sphinx.NewSURB(rand.Reader, []sphinx.Hop{home})
	if err != nil {
		t.Fatal(err)
	}
	reply, _, err := sphinx.PacketFromSURB(surb, make([]byte, b.doc.Parameters.Payload()))
	if err != nil {
		t.Fatal(err)
	}
	send(t, b.dial("mix3b", "gateway"), reply)
	kind, body, err := client.ReadFrame(make([]byte, n.end.FrameSize()), 2*time.Minute)
	if err != nil || kind != wire.KindReply || sphinx.SURBID(body) != id {
		t.Errorf("the client got kind %d, %v", kind, err)
	}
}
