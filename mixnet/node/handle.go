package node

import (
	"context"
	"errors"
	"time"

	"mailproxy/internal/pause"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/sphinx"
)

// handle takes one packet through this node. It owns packet. from is the key of who
// sent it; fromClient says that this is a client of this gateway, not a node.
func (n *Node) handle(ctx context.Context, packet []byte, from directory.Key, fromClient bool) {
	u, err := n.cfg.Keys.Unwrap(packet)
	if err != nil {
		n.unwrapFailed(err)
		return
	}
	if n.cfg.Sights != nil {
		n.sight(&u, from, fromClient)
	}
	switch {
	case !u.Last:
		n.forward(u, packet)
	case !u.IsReply && u.Recipient == loopRecipient && !fromClient:
		n.Counters.Looped.Add(1)
		n.loopEnded(loopID(u.Payload), true)
	case n.self.Role == directory.RoleGateway && !fromClient && u.IsReply:
		n.deliver(u.Recipient, u.SURBID, u.Payload)
	case n.self.Role == directory.RoleService && !u.IsReply:
		n.answer(ctx, u.Recipient, u.Payload)
	default:
		n.Counters.Misplaced.Add(1) // it ends here, and nothing here can take it
	}
}

// sight tells of a packet of a gateway's client.
func (n *Node) sight(u *sphinx.Unwrapped, from directory.Key, fromClient bool) {
	switch {
	case n.self.Role != directory.RoleGateway:
	case fromClient && !u.Last:
		n.cfg.Sights(Sighting{Client: ClientRecipient(from), Mix: u.Next})
	case !fromClient && u.Last && u.IsReply:
		if mix := n.ties.Load().peers[from]; mix != nil { // else the document has changed meanwhile
			n.cfg.Sights(Sighting{Client: u.Recipient, Reply: true, Mix: mix.ID()})
		}
	}
}

func (n *Node) forward(u sphinx.Unwrapped, packet []byte) {
	if n.link(u.Next) == nil {
		n.Counters.Misrouted.Add(1)
		return
	}
	if n.self.Role != directory.RoleMix {
		// A gateway adds no delay, whatever the packet says. A service node only
		// starts replies; a packet that wants to go on from it took a wrong way.
		if n.self.Role == directory.RoleService {
			n.Counters.Misrouted.Add(1)
			return
		}
		n.send(u.Next, packet, n.Counters.forwarded)
		return
	}
	if u.Delay > n.cfg.Document.Parameters.MaxDelay()+time.Millisecond {
		n.Counters.TooLong.Add(1)
		return
	}
	if n.delay.add(u.Next, packet, u.Delay) {
		n.Counters.Dropped.Add(1)
	}
}

// answer asks a service and sends its reply, on goroutines of its own so that a
// slow answer holds up no other; their number is bounded by pausing the reader.
func (n *Node) answer(ctx context.Context, to sphinx.Recipient, payload []byte) {
	service := n.services[to]
	if service == nil {
		n.Counters.NoService.Add(1)
		return
	}
	surb, request, err := sphinx.UnpackQuery(payload)
	if err != nil || surb == nil { // nobody to answer
		n.Counters.BadQuery.Add(1)
		return
	}
	select {
	case n.answers <- struct{}{}:
	case <-ctx.Done():
		return
	}
	arrived := time.Now()
	n.answering.Add(1)
	n.wg.Go(func() {
		defer n.answering.Add(-1)
		reply := service.Answer(ctx, request)
		<-n.answers
		full := make([]byte, n.cfg.Document.Parameters.Payload())
		if len(reply) > len(full) {
			n.Counters.TooLarge.Add(1)
			n.log.Error("node: a service's reply does not fit into a packet", "bytes", len(reply))
			return
		}
		copy(full, reply)
		packet, first, err := sphinx.PacketFromSURB(surb, full)
		if err != nil {
			n.Counters.BadQuery.Add(1)
			return
		}
		if n.link(first) == nil {
			n.Counters.Misrouted.Add(1)
			return
		}
		wait, quantum, late := n.moment.after(time.Since(arrived), time.Now())
		n.Counters.AnswerAfter.Store(int64(quantum))
		if late {
			n.Counters.Late.Add(1)
		}
		if pause.For(ctx, wait) != nil {
			return
		}
		n.send(first, packet, func(written bool) { n.Counters.written(written, &n.Counters.Answered) })
	})
}

// unwrapFailed counts a packet that was refused under the reason for it.
func (n *Node) unwrapFailed(err error) {
	c := &n.Counters
	switch {
	case errors.Is(err, keyring.ErrReplayed):
		c.Replayed.Add(1)
	case errors.Is(err, keyring.ErrExpired):
		c.Expired.Add(1)
	case errors.Is(err, sphinx.ErrMAC):
		c.BadMAC.Add(1)
	case errors.Is(err, sphinx.ErrPayload):
		c.BadPayload.Add(1)
	case errors.Is(err, sphinx.ErrVersion):
		c.BadVersion.Add(1)
	case errors.Is(err, sphinx.ErrKey):
		c.BadKey.Add(1)
	case errors.Is(err, sphinx.ErrCommands):
		c.BadCommands.Add(1)
	default: // the packet may be in order, but its tag cannot be kept
		c.Failed.Add(1)
		n.log.Error("node: a packet could not be taken", "err", err)
	}
}
