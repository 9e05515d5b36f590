package main

import "mailproxy/mixnet/wire"

// tlsRecord is what TLS 1.3 adds to a frame: header 5, content type 1, tag 16
// (RFC 8446 section 5.2).
const tlsRecord = 5 + 1 + 16

// frame is the size in bytes of a packet on a link.
func (n network) frame() int { return wire.FrameHeader + n.Packet() + tlsRecord }

// load is what a network costs those who take part.
type load struct {
	clientDay             float64 // bytes each way
	gateway, mix, service float64 // packets that each node takes in per second
}

// load returns the load of n, if users and packets are spread evenly over nodes.
func (n network) load() load {
	return load{
		clientDay: n.Rate() * 86400 * float64(n.frame()),
		gateway:   2 * n.sends() / float64(n.gateways), // a query of a client's, and its reply
		mix:       2 * n.sends() / float64(n.width),    // the same; each crosses one mix of each layer
		service:   n.sends() / float64(n.services),
	}
}
