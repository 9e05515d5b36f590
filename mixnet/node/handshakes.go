package node

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of connections that have not proved a key yet. Who opens many and says
// nothing is not to keep others out.
const (
	maxHandshakes      = 256         // at one time
	maxSourced         = 64          // of them from one source: an IPv4 address, or 64 bits of IPv6
	reservedForPeers   = 64          // besides, for addresses that the network document names
	handshakeUntouched = time.Second // before that none is ended to make room: it may be in good order
)

// handshakes are the connections that have not proved a key yet.
type handshakes struct {
	mu       sync.Mutex // guards all below
	strange  []*handshake
	reserved []*handshake
}

// A handshake is one of them.
type handshake struct {
	raw    net.Conn
	source netip.Prefix // invalid: of no one source
	began  time.Time
}

// source returns what a connection is counted under. Behind a loopback address, a
// relay of the operator's own, may be anybody.
func source(raw net.Conn) (addr netip.Addr, p netip.Prefix) {
	tcp, ok := raw.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return addr, p
	}
	addr = tcp.AddrPort().Addr().Unmap().WithZone("")
	if addr.IsLoopback() {
		return netip.Addr{}, p
	}
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ = addr.Prefix(bits) // of an address, with as many bits as it may have
	return addr, p
}

// begin notes a connection; done is to be called when it has proved a key or failed.
// Where there is no room the oldest is ended, or, if it is not old, begin returns
// false. Connections from peers' addresses have room of their own.
func (h *handshakes) begin(raw net.Conn, peers map[netip.Addr]bool) (done func(), ok bool) {
	addr, p := source(raw)
	h.mu.Lock()
	defer h.mu.Unlock()
	list, most := &h.strange, maxHandshakes
	if peers[addr] {
		list, most = &h.reserved, reservedForPeers
	}
	var oldest *handshake
	same := 0
	for _, other := range *list {
		if p.IsValid() && other.source == p {
			if same++; same == 1 {
				oldest = other
			}
		}
	}
	if same < maxSourced {
		oldest = nil
		if len(*list) >= most {
			oldest = (*list)[0]
		}
	}
	if oldest != nil {
		if time.Since(oldest.began) < handshakeUntouched {
			return nil, false
		}
		_ = oldest.raw.Close() // its handshake fails
		remove(list, oldest)
	}
	one := &handshake{raw: raw, source: p, began: time.Now()}
	*list = append(*list, one)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		remove(list, one)
	}, true
}

// remove takes a handshake from a list, if it is there.
func remove(list *[]*handshake, h *handshake) {
	if i := slices.Index(*list, h); i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
}
