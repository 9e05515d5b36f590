package node

import (
	"context"
	"fmt"
	"time"

	"mailproxy/internal/pause"
)

// drainTick is how often a node that drains looks whether it is empty.
const drainTick = 10 * time.Millisecond

// drainRead is how long a node that drains reads what its peers have sent until they
// heard of it: a way there and back, and what was on it.
const drainRead = 500 * time.Millisecond

// Drain takes no more connections, tells all peers to send no more on those that
// there are, and waits until the packets that are here, or came meanwhile, have
// waited out their delays and left, or ctx ends. Then the node is to be closed. What
// peers have for it after that waits at them, so that a node that is restarted costs
// little. What a peer sends on a connection that is just being made may be lost.
func (n *Node) Drain(ctx context.Context) error {
	n.stopTaking() // which closes the listener
	n.mu.Lock()
	for c := range n.conns {
		if c.Finish(drainRead) != nil {
			_ = c.Close() // it has ended
		}
	}
	n.mu.Unlock()
	// Twice, for a packet may be between two places.
	for empty := 0; ; {
		left := n.holds()
		if left > 0 {
			empty = 0
		} else if empty++; empty == 2 {
			return nil
		}
		if pause.For(ctx, drainTick) != nil {
			return fmt.Errorf("drain node %s: %d packets are left: %w", n.self.Name, left, ctx.Err())
		}
	}
}

// holds returns how many packets, and connections that bring some, the node has.
// Those for a peer that is not there are not counted: they will not leave.
func (n *Node) holds() int {
	n.mu.Lock()
	left := len(n.conns)
	n.mu.Unlock()
	left += int(n.answering.Load()) + n.delay.len()
	for _, l := range n.ties.Load().links {
		if l.Up() {
			left += l.Len()
		}
	}
	return left
}
