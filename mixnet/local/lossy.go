package local

import (
	"math/rand/v2"
	"sync/atomic"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/wire"
)

// A Loss drops packets at random, each by itself, on all links of which its Tap is
// the tap: from a client to its gateway, from node to node, and back to the client.
// Of snapshots, which are no packets, it drops none.
type Loss struct {
	share         float64
	seen, dropped atomic.Uint64
}

// NewLoss makes a Loss of this share of packets, from 0 to 1.
func NewLoss(share float64) *Loss { return &Loss{share: share} }

// Tap implements wire.Tap.
func (l *Loss) Tap(_, _ directory.Key, frame []byte) (pass bool) {
	if frame[0] == wire.KindSnapshot {
		return true
	}
	l.seen.Add(1)
	if rand.Float64() >= l.share {
		return true
	}
	l.dropped.Add(1)
	return false
}

// Counts returns how many packets there were up to now, and how many of them were
// dropped.
func (l *Loss) Counts() (seen, dropped uint64) { return l.seen.Load(), l.dropped.Load() }
