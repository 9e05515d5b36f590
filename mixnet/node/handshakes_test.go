package node

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// A silent connection comes from an address and says nothing.
type silent struct {
	net.Conn
	from   string
	closed bool
}

func (s *silent) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(s.from), 1))
}

func (s *silent) Close() error {
	s.closed = true
	return nil
}

func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h handshakes
		peer := netip.MustParseAddr("192.0.2.77")
		peers := map[netip.Addr]bool{peer: true}
		begin := func(from string) (*silent, bool) {
			s := &silent{from: from}
			_, ok := h.begin(s, peers)
			return s, ok
		}
		// One source, which has a whole network of addresses.
		var first *silent
		for i := range maxSourced {
			s, ok := begin(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}).String())
			if !ok {
				t.Fatalf("connection %d of a source is refused", i)
			}
			if i == 0 {
				first = s
			}
		}
		if _, ok := begin("2001:db8::ffff"); ok {
			t.Error("a source has more than its share at once")
		}
		if _, ok := begin("192.0.2.1"); !ok {
			t.Error("one source keeps another out")
		}
		time.Sleep(handshakeUntouched)
		if _, ok := begin("2001:db8::ffff"); !ok || !first.closed {
			t.Error("the oldest of a source does not make room for its newest")
		}
		// Many sources.
		for i := 0; len(h.strange) < maxHandshakes; i++ {
			if _, ok := begin(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()); !ok {
				t.Fatalf("refused with %d under way", len(h.strange))
			}
		}
		if _, ok := begin("192.0.2.2"); !ok {
			t.Error("those that have said nothing for a second keep others out")
		}
		if len(h.strange) != maxHandshakes {
			t.Errorf("%d under way, want %d", len(h.strange), maxHandshakes)
		}
		// All new: who comes from a peer's address has room of its own.
		time.Sleep(handshakeUntouched)
		for i := range maxHandshakes {
			if _, ok := begin(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()); !ok {
				t.Fatal("refused")
			}
		}
		if _, ok := begin("192.0.2.3"); ok {
			t.Error("there is more room than there is")
		}
		if _, ok := begin(peer.String()); !ok {
			t.Error("a flood keeps a peer out")
		}
		// Those that are done leave room.
		s := &silent{from: "192.0.2.4"}
		h = handshakes{}
		for range 10 * maxHandshakes {
			done, ok := h.begin(s, peers)
			if !ok {
				t.Fatal("refused where none is under way")
			}
			done()
		}
	})
}

// TestSilentConnectionsOverTCP: the same from outside.
func TestSilentConnectionsOverTCP(t *testing.T) {
	b := newBench(t)
	arrived := b.accept("mix2")
	b.run("mix1", nil)
	for range maxHandshakes {
		c, err := net.Dial("tcp", b.named("mix1").Address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	time.Sleep(handshakeUntouched + 100*time.Millisecond)
	c := b.dial("gateway", "mix1")
	send(t, c, b.packet(b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)))
	get(t, "beside silent connections", arrived)
}
