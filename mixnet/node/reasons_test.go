package node

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// raw connects as one node to another, for what wire.Conn does not send.
func (b *bench) raw(as, to string) *tls.Conn {
	b.t.Helper()
	proto := fmt.Sprintf("mailproxy/1/%d", b.doc.Parameters.Packet())
	config, err := wire.TLS(b.identity[as], proto, func(directory.Key) error { return nil })
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := tls.Dial("tcp", b.named(to).Address, config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.NetConn().Close() })
	return c
}

func frame(kind byte, packet []byte) []byte { return append([]byte{kind, 0, 0, 0}, packet...) }

// reasons returns all of a node's counters of packets that it dropped.
func reasons(c *Counters) map[string]*atomic.Uint64 {
	return map[string]*atomic.Uint64{
		"BadVersion": &c.BadVersion, "BadKey": &c.BadKey, "BadMAC": &c.BadMAC, "BadCommands": &c.BadCommands,
		"BadPayload": &c.BadPayload, "BadQuery": &c.BadQuery, "Expired": &c.Expired, "Replayed": &c.Replayed,
		"Misrouted": &c.Misrouted, "Misplaced": &c.Misplaced, "TooLong": &c.TooLong, "NoService": &c.NoService,
		"NoClient": &c.NoClient, "Failed": &c.Failed, "TooLarge": &c.TooLarge, "Dropped": &c.Dropped,
	}
}

// dropped adds up what a node counts as dropped.
func dropped(c *Counters) (n uint64) {
	for _, counter := range reasons(c) {
		n += counter.Load()
	}
	return n
}

// TestEachReasonIsItsOwn sends, over real links, each kind of packet and frame that
// a mix must not forward, and looks for the one counter that moves.
func TestEachReasonIsItsOwn(t *testing.T) {
	b := newBench(t)
	n := b.run("mix1", nil)
	whole := func(delay time.Duration) []byte {
		return b.packet(b.hop("mix1", delay), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0))
	}
	flip := func(at int) []byte { p := whole(0); p[at] ^= 1; return p }
	again, lowOrder := whole(0), whole(0)
	clear(lowOrder[2:34]) // the group element 0, whose shared secret is 0
	c := &n.Counters
	for _, test := range []struct {
		name    string
		packets [][]byte
		counter *atomic.Uint64
	}{
		{"replayed", [][]byte{bytes.Clone(again), again}, &c.Replayed},
		{"header altered", [][]byte{flip(100)}, &c.BadMAC},
		{"version altered", [][]byte{flip(0)}, &c.BadVersion},
		{"element of a small order", [][]byte{lowOrder}, &c.BadKey},
		{"made for another node", [][]byte{b.packet(b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0))}, &c.BadMAC},
		{"cut within its header", [][]byte{whole(0)[:200]}, &c.BadMAC},
		{"layer left out", [][]byte{b.packet(b.hop("mix1", 0), b.hop("mix3", 0), b.hop("service", 0))}, &c.Misrouted},
		{"back to the gateway", [][]byte{b.packet(b.hop("mix1", 0), b.hop("gateway", 0), b.hop("service", 0))}, &c.Misrouted},
		{"ends at a mix", [][]byte{b.packet(b.hop("mix1", 0))}, &c.Misplaced},
		{"delay too long", [][]byte{whole(b.doc.Parameters.MaxDelay() + 10*time.Millisecond)}, &c.TooLong},
	} {
		conn := b.dial("gateway", "mix1")
		before, all := test.counter.Load(), dropped(c)
		for _, p := range test.packets {
			send(t, conn, p)
		}
		eventually(t, test.name, test.counter, before+1)
		if got := dropped(c); got != all+1 {
			t.Errorf("%s: %d packets are counted as dropped, want 1", test.name, got-all)
		}
	}
	b.accept("mix2")
	eventually(t, "only the one that was then replayed went on", &c.Forwarded, 1)
	if got, want := c.Received.Load(), c.Forwarded.Load()+dropped(c); got != want {
		t.Errorf("%d packets came, and %d are accounted for", got, want)
	}

	received := c.Received.Load()
	good := frame(wire.KindPacket, whole(0))
	for _, test := range []struct {
		name    string
		write   []byte
		end     bool // of the connection, after what is written
		counter *atomic.Uint64
	}{
		{"a byte too short", good[:len(good)-1], false, &c.FrameLength},
		{"a byte too long", append(bytes.Clone(good), 0), false, &c.FrameLength},
		{"a packet without a frame", good[wire.FrameHeader:], false, &c.FrameLength},
		{"almost nothing", good[:1], false, &c.FrameLength},
		{"two in one record", append(bytes.Clone(good), good[:16000-len(good)]...), false, &c.FrameLength},
		{"of an unknown kind", frame(9, good[wire.FrameHeader:]), false, &c.BadFrame},
		{"of a kind for clients", frame(wire.KindReply, good[wire.FrameHeader:]), false, &c.BadFrame},
		{"with no zeros before the packet", append([]byte{wire.KindPacket, 0, 0, 1}, good[wire.FrameHeader:]...), false, &c.BadFrame},
	} {
		conn := b.raw("gateway", "mix1")
		before := test.counter.Load()
		if _, err := conn.Write(test.write); err != nil {
			t.Fatal(err)
		}
		eventually(t, "frame "+test.name, test.counter, before+1)
		if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("frame %s: the link goes on", test.name)
		}
	}
	b.cutFrame(good)
	eventually(t, "frame cut", &c.FrameCut, 1)
	if got := c.Received.Load(); got != received {
		t.Errorf("%d of the bad frames count as packets", got-received)
	}
	if got := c.FrameLength.Load() + c.BadFrame.Load() + c.FrameCut.Load(); got != 9 {
		t.Errorf("%d frames are counted, want 9", got)
	}
}

// cutFrame opens a link and breaks it off in the middle of a frame's record.
func (b *bench) cutFrame(frame []byte) {
	b.t.Helper()
	conn := b.raw("gateway", "mix1")
	if err := conn.Handshake(); err != nil {
		b.t.Fatal(err)
	}
	// The beginning of a record that promises more than comes.
	if _, err := conn.NetConn().Write(append([]byte{23, 3, 3, 0x20, 0}, frame[:1000]...)); err != nil {
		b.t.Fatal(err)
	}
	if err := conn.NetConn().Close(); err != nil {
		b.t.Fatal(err)
	}
}

// TestAlteredInAnyByte alters a packet at each of its bytes. In the header the next
// hop sees it; behind it only the last hop can, for at all others nobody but the
// sender knows what must be there.
func TestAlteredInAnyByte(t *testing.T) {
	b := newBench(t)
	arrived := b.accept("mix1") // where replies go
	n := b.run("service", map[string]Service{"echo": Echo{}})
	c := &n.Counters
	client, id, home := ClientRecipient(directory.Key{1}), sphinx.SURBID{2}, b.hop("gateway", 0)
	home.Recipient, home.SURBID = &client, &id
	surb, _, err := sphinx.NewSURB(rand.Reader, []sphinx.Hop{b.hop("mix1", 0), home})
	if err != nil {
		t.Fatal(err)
	}
	query, err := sphinx.PackQuery(surb, []byte("hello"), b.doc.Parameters.Payload())
	if err != nil {
		t.Fatal(err)
	}
	echo, at := ServiceRecipient("echo"), b.hop("service", 0)
	at.Recipient = &echo
	good, err := sphinx.NewPacket(rand.Reader, []sphinx.Hop{at}, query)
	if err != nil {
		t.Fatal(err)
	}
	conn := b.dial("mix3", "service")
	want := map[string]uint64{}
	sent := uint64(0)
	for i := range good {
		if testing.Short() && i > sphinx.HeaderSize && i%16 != 0 {
			continue
		}
		p := bytes.Clone(good)
		p[i] ^= 1 << (i % 8)
		send(t, conn, p)
		sent++
		switch {
		case i < 2:
			want["BadVersion"]++
		case i < sphinx.HeaderSize:
			// The highest bit of the element means nothing (RFC 7748 section 5), but is
			// under the MAC.
			want["BadMAC"]++
		default:
			want["BadPayload"]++
		}
	}
	for name, counter := range reasons(c) {
		eventually(t, name, counter, want[name])
	}
	if got := c.Received.Load(); got != sent || dropped(c) != sent {
		t.Errorf("%d packets were sent, %d received, %d dropped", sent, got, dropped(c))
	}
	// What was altered did not use up the packet.
	send(t, conn, good)
	<-arrived
	eventually(t, "answered", &c.Answered, 1)
}

// TestPastItsEpoch holds a packet back until its key's time is over. As long as the
// node has the key it can say so; then nobody can.
func TestPastItsEpoch(t *testing.T) {
	b := newBench(t)
	p := b.doc.Parameters
	e := p.EpochAt(time.Now())
	var clock atomic.Int64
	set := func(at time.Time) { clock.Store(at.UnixNano()) }
	now := func() time.Time { return time.Unix(0, clock.Load()) }
	set(p.EpochStart(e))
	var err error
	if b.rings["mix1"], err = keyring.Open("", p, now); err != nil {
		t.Fatal(err)
	}
	hop := func(name string) sphinx.Hop {
		key, err := b.rings[name].Public(e)
		if err != nil {
			t.Fatal(err)
		}
		return sphinx.Hop{ID: b.named(name).ID(), Key: key}
	}
	held := func() []byte { return b.packet(hop("mix1"), hop("mix2"), hop("mix3"), hop("service")) }
	first, second, third := held(), held(), held()
	n, err := Start(Config{Document: b.doc, Identity: b.identity["mix1"], Keys: b.rings["mix1"], Listener: b.listeners["mix1"], Now: now})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	conn := b.dial("gateway", "mix1")
	over := p.EpochStart(e + 1).Add(p.KeyGrace())
	set(over.Add(-1))
	send(t, conn, first)
	b.accept("mix2")
	eventually(t, "in the last moment", &n.Counters.Forwarded, 1)
	set(over)
	send(t, conn, second)
	eventually(t, "a moment too late", &n.Counters.Expired, 1)
	set(over.Add(p.KeyLinger() + 1))
	if err := b.rings["mix1"].Tidy(); err != nil {
		t.Fatal(err)
	}
	send(t, conn, third)
	eventually(t, "after the key is erased", &n.Counters.BadMAC, 1)
	if got := dropped(&n.Counters); got != 2 {
		t.Errorf("%d packets are counted as dropped, want 2", got)
	}
}
