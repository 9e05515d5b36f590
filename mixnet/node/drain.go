package node

import (
	"context"
	"fmt"
	"time"
)

// drainTick is how often a node that drains looks whether it is empty.
const drainTick = 10 * time.Millisecond

// Drain takes no more packets and waits until those that are here have waited out
// their delays and left, or ctx ends. Then the node is to be closed. What peers
// send meanwhile waits at them, so that a node that is restarted costs little.
func (n *Node) Drain(ctx context.Context) error {
	n.stopTaking() // which closes the listener
	n.mu.Lock()
	for c := range n.conns {
		_ = c.Close() // its reader ends after the packet in its hands
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
		if !sleep(ctx, drainTick) {
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
