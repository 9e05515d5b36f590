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
	share       float64
	seen, taken atomic.Uint64
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
	l.taken.Add(1)
	return false
}

// Share returns the share of packets that were dropped up to now, and of how many.
func (l *Loss) Share() (share float64, of uint64) {
	of = l.seen.Load()
	if of == 0 {
		return 0, 0
	}
	return float64(l.taken.Load()) / float64(of), of
}
