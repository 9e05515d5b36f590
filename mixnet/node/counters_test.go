package node

import (
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
)

// TestCountersAddUp: each packet received is counted once more, also where queues
// overflow, a client does not come back, and a peer leaves the network.
func TestCountersAddUp(t *testing.T) {
	t.Run("delays", func(t *testing.T) {
		b := newBench(t)
		arrived := b.accept("mix2")
		n := b.run("mix1", nil)
		n.delay.mu.Lock()
		n.delay.limit = 5
		n.delay.mu.Unlock()
		c := b.dial("gateway", "mix1")
		for range 20 {
			send(t, c, b.packet(b.hop("mix1", 39*time.Millisecond), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)))
		}
		bad := b.packet(b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0))
		bad[100] ^= 1
		send(t, c, bad)
		go func() {
			for {
				select {
				case <-arrived:
				case <-t.Context().Done():
					return
				}
			}
		}()
		b.addUp(n, 21)
	})
	t.Run("link", func(t *testing.T) {
		b := newBench(t)
		b.read()
		n := b.run("mix1", nil) // whose next hop takes nothing
		c := b.dial("gateway", "mix1")
		const more = 30
		hops := []sphinx.Hop{b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)}
		for range more {
			send(t, c, b.packet(hops...))
		}
		l := n.link(b.named("mix2").ID())
		for deadline := time.Now().Add(2 * time.Minute); l.Len() < more; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d packets wait", l.Len())
			}
		}
		for range linkQueue { // own loops push them out
			n.send(b.named("mix2").ID(), nil, nil)
		}
		b.addUp(n, more)
		if got := n.Counters.Dropped.Load(); got != more || n.Counters.Forwarded.Load() != 0 {
			t.Errorf("%d dropped, %d forwarded, want %d and 0", got, n.Counters.Forwarded.Load(), more)
		}
		// The next hop leaves the network with packets waiting for it.
		send(t, c, b.packet(hops...))
		eventually(t, "one more", &n.Counters.Received, more+1)
		joins := b.newNode(directory.Node{Name: "mix2b", Role: directory.RoleMix, Layer: 2})
		next := b.change(func(d *directory.Document) {
			d.RemoveNode("mix2")
			d.Nodes = append(d.Nodes, joins)
		})
		if _, err := n.Reload(next); err != nil {
			t.Fatal(err)
		}
		for i := range directory.Epoch(4) {
			b.agree(n, next, b.doc.Parameters.EpochAt(time.Now())+i)
		}
		b.addUp(n, more+1)
	})
	t.Run("client", func(t *testing.T) {
		b := newBench(t)
		n := b.run("gateway", nil)
		client, mix := b.dialNew("gateway"), b.dial("mix3", "gateway")
		id := ClientRecipient(b.clientKey)
		for n.clients.queue(id) == nil {
			time.Sleep(time.Millisecond)
		}
		client.Close()
		for n.Counters.Clients.Load() != 0 {
			time.Sleep(time.Millisecond)
		}
		const replies = keepReplies + 10
		for i := range byte(replies) {
			send(t, mix, b.reply(id, i))
		}
		eventually(t, "those without room", &n.Counters.Dropped, 10)
		n.clients.mu.Lock()
		n.clients.forget(id)
		n.clients.mu.Unlock()
		b.addUp(n, replies)
	})
}

// addUp waits until the node has received so many packets, and counted each once
// more.
func (b *bench) addUp(n *Node, received uint64) {
	b.t.Helper()
	c := &n.Counters
	sum := func() uint64 {
		return c.Forwarded.Load() + c.Delivered.Load() + c.Answered.Load() + c.Looped.Load() + c.NoClient.Load() + dropped(c)
	}
	for deadline := time.Now().Add(2 * time.Minute); c.Received.Load() != received || sum() != received; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d received, %d counted once more, want %d", c.Received.Load(), sum(), received)
		}
	}
}
