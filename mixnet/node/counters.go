package node

import (
	"sync/atomic"
	"time"
)

// Counters tell what became of packets. Every packet received is counted as
// Received and, sooner or later, once more.
type Counters struct {
	Received  atomic.Uint64 // from any link
	Forwarded atomic.Uint64 // handed to the link to the next hop
	Delivered atomic.Uint64 // replies given to a client, by a gateway
	Answered  atomic.Uint64 // queries answered, by a service node

	Malformed  atomic.Uint64 // wrong version, size, frame, commands or element
	BadMAC     atomic.Uint64 // header altered, or made for another key or an erased one
	Failed     atomic.Uint64 // not taken for a fault of this machine, such as a full disk
	BadPayload atomic.Uint64 // payload altered
	Replayed   atomic.Uint64 // seen before
	Misrouted  atomic.Uint64 // next hop, or end, that this node cannot serve
	TooLong    atomic.Uint64 // a delay beyond the network's largest
	NoService  atomic.Uint64 // a query for a service that is not here
	TooLarge   atomic.Uint64 // a service's reply that fits no packet: a fault of ours
	NoClient   atomic.Uint64 // a reply for a client that is not connected, nor was lately
	Dropped    atomic.Uint64 // made room for newer ones in a full queue
	Paused     atomic.Uint64 // packets of a client that sends too many, read later
	Refused    atomic.Uint64 // connections refused before they carried a frame

	Clients atomic.Int64 // connected now, to a gateway

	LateMax atomic.Int64 // nanoseconds: the most that a packet left after its delay
}

func (c *Counters) late(d time.Duration) {
	for {
		old := c.LateMax.Load()
		if int64(d) <= old || c.LateMax.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}
