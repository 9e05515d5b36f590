package node

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// reply makes a packet that ends at the gateway with a reply for a client.
func (b *bench) reply(to sphinx.Recipient, id byte) []byte {
	b.t.Helper()
	surbID := sphinx.SURBID{id}
	home := b.hop("gateway", 0)
	home.Recipient, home.SURBID = &to, &surbID
	surb, _, err := sphinx.NewSURB(rand.Reader, []sphinx.Hop{home})
	if err != nil {
		b.t.Fatal(err)
	}
	p, _, err := sphinx.PacketFromSURB(surb, make([]byte, b.doc.Parameters.Payload()))
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func TestGatewayKeepsRepliesForAClientThatIsAway(t *testing.T) {
	b := newBench(t)
	n := b.run("gateway", nil)
	mix := b.dial("mix3", "gateway")
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.identity["client"] = key
	id := ClientRecipient(directory.Key(pub))

	send(t, mix, b.reply(id, 1))
	eventually(t, "a reply for a stranger", &n.Counters.NoClient, 1)

	buf := make([]byte, 20000)
	expect := func(c *wire.Conn, want byte) {
		t.Helper()
		kind, body, err := c.ReadFrame(buf, 2*time.Minute)
		if err != nil || kind != wire.KindReply || body[0] != want {
			t.Fatalf("frame of kind %d with SURB id %d, %v, want reply %d", kind, body[0], err, want)
		}
	}
	first := b.dial("client", "gateway")
	for n.clients.queue(id) == nil {
		time.Sleep(time.Millisecond) // the gateway enters the client after the handshake
	}
	send(t, mix, b.reply(id, 2))
	expect(first, 2)
	first.Close()
	for n.Counters.Clients.Load() != 0 {
		time.Sleep(time.Millisecond)
	}
	send(t, mix, b.reply(id, 3))
	send(t, mix, b.reply(id, 4))
	for deadline := time.Now().Add(2 * time.Minute); n.clients.queue(id).Len() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the replies are not kept")
		}
	}
	second := b.dial("client", "gateway")
	expect(second, 3)
	expect(second, 4)
	eventually(t, "delivered", &n.Counters.Delivered, 3)
}

func TestClientsAwayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clients{limit: 1, p: directory.DefaultParameters(), ends: map[sphinx.Recipient]*clientEnd{}}
		conn := new(wire.Conn)
		for i := range keepClients + 2 {
			id := sphinx.Recipient{byte(i), byte(i >> 8)}
			c.enter(id, conn)
			c.leave(id, conn)
			time.Sleep(time.Millisecond)
		}
		if c.queue(sphinx.Recipient{0}) != nil || c.queue(sphinx.Recipient{1}) != nil || c.queue(sphinx.Recipient{2}) == nil {
			t.Error("those away longest were not the ones forgotten")
		}
		if c.aways != keepClients || len(c.ends) != keepClients {
			t.Errorf("%d away, %d kept, want %d", c.aways, len(c.ends), keepClients)
		}
		c.enter(sphinx.Recipient{2}, conn)
		go c.tidy(t.Context())
		time.Sleep(keepFor + 2*tidyEvery)
		synctest.Wait()
		if c.aways != 0 || len(c.ends) != 1 {
			t.Errorf("after %v %d are away, %d kept, want only the one that is back", keepFor, c.aways, len(c.ends))
		}
	})
}

func TestBucket(t *testing.T) {
	p := directory.DefaultParameters()
	start := time.Unix(0, 0)
	honest := newBucket(p)
	honest.at = start
	now := start
	for range 10000 { // at the document's rate, and one in a hundred seconds a burst
		now = now.Add(time.Duration(float64(time.Second) / p.Rate()))
		if wait := honest.take(now); wait > 0 {
			t.Fatalf("a client at the network's rate waits %v", wait)
		}
	}
	flood := newBucket(p)
	flood.at = start
	sent, now := 0, start
	for now.Before(start.Add(10 * time.Minute)) {
		now = now.Add(flood.take(now))
		sent++
	}
	if most := bucketBurst*p.Rate() + 600*bucketRate*p.Rate() + 1; float64(sent) > most {
		t.Errorf("a flood got %d packets through in ten minutes, want %v at most", sent, most)
	}
}

// TestConnectingAgainGivesNoNewBurst: a client's allowance stays with it.
func TestConnectingAgainGivesNoNewBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := directory.DefaultParameters()
		c := clients{limit: 1, p: p, ends: map[sphinx.Recipient]*clientEnd{}}
		id, sent := sphinx.Recipient{1}, 0
		for range 50 {
			conn := new(wire.Conn)
			end, ok := c.enter(id, conn)
			if !ok {
				t.Fatal("refused")
			}
			for end.limit.take(time.Now()) == 0 {
				sent++
			}
			c.leave(id, conn)
		}
		if most := bucketBurst * p.Rate(); float64(sent) > most {
			t.Errorf("a client that connects again and again sent %d packets at once, want %v at most", sent, most)
		}
	})
}

func TestFloodIsPausedAndOthersAreNot(t *testing.T) {
	b := newBench(t)
	n := b.run("gateway", nil)
	for _, who := range []string{"flood", "honest"} {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		b.identity[who] = key
	}
	garbage := bytes.Repeat([]byte{1}, b.doc.Parameters.Packet())
	flood := b.dial("flood", "gateway")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for flood.WriteFrame(wire.KindPacket, garbage) == nil {
		}
	}()
	for n.Counters.Paused.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	b.accept("mix1")
	before := n.Counters.Received.Load()
	honest := b.dial("honest", "gateway")
	send(t, honest, b.packet(b.hop("gateway", 0), b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)))
	eventually(t, "the honest client's packet", &n.Counters.Forwarded, 1)
	if got := n.Counters.Received.Load() - before; got > 2000 {
		t.Errorf("the gateway read %d packets of a flood meanwhile", got)
	}
	flood.Close()
	<-done
}
