package node

import (
	"sync/atomic"
	"time"
)

// Counters tell what became of packets. Every packet received is counted as
// Received and, when it has left or ended here, once more; but for those that the
// node still holds when it is closed. Packets that it makes are not counted: of its
// own loops its loss monitor knows, and a reply stands for its query. docs/operating.md
// says what an operator makes of them.
type Counters struct {
	Received  atomic.Uint64 // from any link
	Forwarded atomic.Uint64 // written to the link to the next hop
	Delivered atomic.Uint64 // replies written to a client, by a gateway
	Answered  atomic.Uint64 // queries whose reply was written to the link, by a service node
	Looped    atomic.Uint64 // this node's own loops that are back

	// What does not verify. Nobody but a packet's sender and its right hop can tell
	// for which key a header was made, so BadMAC is a header altered in any byte but
	// its version, a packet for another node, and one for a key that is erased alike:
	// were there a way to tell them apart, one could follow packets by it.
	BadVersion  atomic.Uint64 // its first two bytes are of no version
	BadKey      atomic.Uint64 // its group element has a small order
	BadMAC      atomic.Uint64 // no key of this node made its header
	BadCommands atomic.Uint64 // its maker's mistake: the header verifies and says nonsense
	BadPayload  atomic.Uint64 // altered behind its header, which only the last hop can see
	BadQuery    atomic.Uint64 // verifies at its last hop, and is no query
	Expired     atomic.Uint64 // for a key whose time is over, and which is not erased yet
	Replayed    atomic.Uint64 // seen before

	Misrouted atomic.Uint64 // next hop that is not in the following layer
	Misplaced atomic.Uint64 // ends here, where nothing can take it
	TooLong   atomic.Uint64 // a delay beyond the network's largest
	NoService atomic.Uint64 // a query for a service that is not here
	NoClient  atomic.Uint64 // a reply for a client that is not connected, nor was lately

	Failed   atomic.Uint64 // not taken for a fault of this machine, such as a full disk
	TooLarge atomic.Uint64 // a service's reply that fits no packet: a fault of ours
	Dropped  atomic.Uint64 // made room for newer ones in a full queue, or waited for one who did not come back

	// These are counted elsewhere too.
	Late   atomic.Uint64 // queries whose reply missed the first time at which replies leave
	Paused atomic.Uint64 // packets of a client that sends too many, read later

	// These are no packets: each ends the connection that it came on.
	FrameLength atomic.Uint64 // a frame of another length than the network's
	FrameCut    atomic.Uint64 // the connection ended within a frame
	BadFrame    atomic.Uint64 // of the right length, and of no kind that may come here
	Refused     atomic.Uint64 // connections refused before they carried a frame
	TooMany     atomic.Uint64 // clients refused by a gateway that has as many as it may

	Clients atomic.Int64 // connected now, to a gateway

	Delays  Lateness     // of packets that left after their delays
	LateMax atomic.Int64 // nanoseconds: the most of them

	// AnswerAfter is after how many nanoseconds replies leave now, at a service node
	// that has answered (see moment). More than 50 ms: its disk is slow, or shared.
	AnswerAfter atomic.Int64
}

func (c *Counters) late(d time.Duration) {
	c.Delays.add(d)
	for {
		old := c.LateMax.Load()
		if int64(d) <= old || c.LateMax.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}
