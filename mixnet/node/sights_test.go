package node

import (
	"crypto/ed25519"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
)

// What a measuring program is told must be what a gateway knows, of clients' packets
// and of nothing else.
func TestSights(t *testing.T) {
	b := newBench(t)
	seen := make(chan Sighting, 16)
	n, err := Start(Config{
		Document: b.doc, Identity: b.identity["gateway"], Keys: b.rings["gateway"], Listener: b.listeners["gateway"],
		Sights: func(s Sighting) { seen <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.identity["client"] = key
	id := ClientRecipient(directory.Key(pub))
	client, mix := b.dial("client", "gateway"), b.dial("mix3", "gateway")
	expect := func(want Sighting) {
		t.Helper()
		select {
		case got := <-seen:
			if got != want {
				t.Errorf("the gateway tells %+v, want %+v", got, want)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("the gateway tells nothing")
		}
	}
	send(t, client, b.packet(b.hop("gateway", 0), b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)))
	expect(Sighting{Client: id, Mix: b.named("mix1").ID()})
	send(t, mix, b.packet(b.hop("gateway", 0), b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)))
	send(t, mix, b.reply(id, 1))
	expect(Sighting{Client: id, Reply: true, Mix: b.named("mix3").ID()})
}
