package node

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/wire"
)

// TestLargeSnapshotPushesNoReplyOut hands on a snapshot of many more pieces than a
// client's queue holds frames, while replies come: all of both arrive, and replies
// do not wait for the end of it.
func TestLargeSnapshotPushesNoReplyOut(t *testing.T) {
	b := newBench(t)
	n := b.run("gateway", nil)
	mix := b.dial("mix3", "gateway")
	big := make([]byte, 20<<20) // more than sockets hold
	rand.Read(big)
	e := b.doc.Parameters.EpochAt(time.Now())
	n.snapshots.mu.Lock()
	n.snapshots.encoded = map[directory.Epoch][]byte{e: big}
	n.snapshots.mu.Unlock()

	client := b.dialNew("gateway")
	id := ClientRecipient(b.clientKey)
	for n.clients.queue(id) == nil {
		time.Sleep(time.Millisecond)
	}
	const replies = keepReplies
	for i := range replies {
		send(t, mix, b.reply(id, byte(i)))
	}
	eventually(t, "replies at the gateway", &n.Counters.Received, replies)

	var got []byte
	var pieces, arrived, early int
	buf := make([]byte, n.end.FrameSize())
	for len(got) < len(big) || arrived < replies {
		kind, body, err := client.ReadFrame(buf, 2*time.Minute)
		if err != nil {
			t.Fatalf("after %d pieces and %d replies: %v", pieces, arrived, err)
		}
		if kind == wire.KindReply {
			if int(body[0]) != arrived {
				t.Errorf("reply %d is the %d.", body[0], arrived)
			}
			arrived++
			if len(got) < len(big) {
				early++
			}
			continue
		}
		if epoch := binary.BigEndian.Uint64(body); epoch != uint64(e) || int(binary.BigEndian.Uint16(body[16:])) != pieces {
			t.Fatalf("piece %d of epoch %d, want %d of %v", binary.BigEndian.Uint16(body[16:]), epoch, pieces, e)
		}
		pieces++
		size := int(binary.BigEndian.Uint16(body[20:]))
		got = append(got, body[wire.SnapshotHeader:wire.SnapshotHeader+size]...)
	}
	if !bytes.Equal(got, big) {
		t.Error("the snapshot has arrived with other bytes")
	}
	if early != replies {
		t.Errorf("%d replies of %d came before the end of the snapshot", early, replies)
	}
	if d := n.Counters.Dropped.Load(); d != 0 {
		t.Errorf("%d frames were dropped", d)
	}

	// A new snapshot goes to who is connected.
	next := []byte("a snapshot of the next epoch")
	n.snapshots.mu.Lock()
	n.snapshots.encoded[e+1] = next
	n.snapshots.mu.Unlock()
	n.clients.tell()
	kind, body, err := client.ReadFrame(buf, 2*time.Minute)
	if err != nil || kind != wire.KindSnapshot || binary.BigEndian.Uint64(body) != uint64(e+1) || !bytes.HasPrefix(body[wire.SnapshotHeader:], next) {
		t.Errorf("frame of kind %d, %v, want the new snapshot", kind, err)
	}
}

// TestClientsAreBounded checks that a gateway that is full refuses clients, and not
// those whom it has.
func TestClientsAreBounded(t *testing.T) {
	b := newBench(t)
	const most = 3
	n, err := Start(Config{Document: b.doc, Identity: b.identity["gateway"], Keys: b.rings["gateway"], Listener: b.listeners["gateway"], MaxClients: most})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	var first ed25519.PrivateKey
	var conns []*wire.Conn
	for range most {
		conns = append(conns, b.dialNew("gateway"))
		if first == nil {
			first = b.identity["client"]
		}
	}
	for n.Counters.Clients.Load() != most {
		time.Sleep(time.Millisecond)
	}
	buf := make([]byte, n.end.FrameSize())
	refused := b.dialNew("gateway")
	if kind, _, err := refused.ReadFrame(buf, 2*time.Minute); err != nil || kind != wire.KindFull {
		t.Errorf("a client more than there may be gets a frame of kind %d, %v", kind, err)
	}
	if _, _, err := refused.ReadFrame(buf, 2*time.Minute); err == nil {
		t.Error("a client more than there may be is served")
	}
	if got := n.Counters.TooMany.Load(); got != 1 {
		t.Errorf("%d clients counted as refused", got)
	}
	// One of those that are connected comes again; the mix is none of them.
	b.identity["client"] = first
	again := b.dial("client", "gateway")
	if _, _, err := conns[0].ReadFrame(buf, 2*time.Minute); err == nil {
		t.Error("the connection that was replaced goes on")
	}
	mix := b.dial("mix3", "gateway")
	pub := directory.Key(first.Public().(ed25519.PublicKey))
	send(t, mix, b.reply(ClientRecipient(pub), 7))
	if kind, body, err := again.ReadFrame(buf, 2*time.Minute); err != nil || kind != wire.KindReply || body[0] != 7 {
		t.Errorf("frame of kind %d, %v, want the reply", kind, err)
	}
	// Where one has gone there is room.
	conns[1].Close()
	for n.Counters.Clients.Load() > most-1 {
		time.Sleep(time.Millisecond)
	}
	b.dialNew("gateway")
	for n.Counters.Clients.Load() != most {
		time.Sleep(time.Millisecond)
	}
}
