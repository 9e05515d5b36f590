package node

import (
	"context"
	"encoding/binary"
	"sync"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/wire"
)

// snapshots are those that a gateway hands on to its clients. Each is encoded once
// for all of them: with many nodes it takes a megabyte.
type snapshots struct {
	mu      sync.Mutex // guards encoded
	encoded map[directory.Epoch][]byte
}

// current returns the epochs of whose snapshots a client may have need, the most
// urgent first: its clock may differ from ours.
func (n *Node) current() []directory.Epoch {
	now := n.cfg.Document.Parameters.EpochAt(n.cfg.Now())
	return []directory.Epoch{now, now + 1, now - 1}
}

// snapshot returns the encoded snapshot of an epoch, or nil if there is none.
func (n *Node) snapshot(e directory.Epoch) []byte {
	n.snapshots.mu.Lock()
	defer n.snapshots.mu.Unlock()
	if b := n.snapshots.encoded[e]; b != nil {
		return b
	}
	s := n.views.Signed(e)
	if s == nil {
		return nil
	}
	b, err := codec.Marshal(s)
	if err != nil {
		n.log.Error("node: encode snapshot", "err", err)
		return nil
	}
	kept := map[directory.Epoch][]byte{e: b}
	for _, e := range n.current() {
		if b := n.snapshots.encoded[e]; b != nil {
			kept[e] = b
		}
	}
	n.snapshots.encoded = kept
	return b
}

// piece returns the i-th frame of a snapshot for a client, see docs/protocol.md, and
// of how many. Each has the time at which it is made.
func (n *Node) piece(e directory.Epoch, b []byte, i int) (f wire.Frame, count int) {
	room := n.end.FrameSize() - wire.FrameHeader - wire.SnapshotHeader
	count = (len(b) + room - 1) / room
	piece := b[i*room : min((i+1)*room, len(b))]
	body := binary.BigEndian.AppendUint64(nil, uint64(e))
	body = binary.BigEndian.AppendUint64(body, uint64(n.cfg.Now().UnixMilli()))
	body = binary.BigEndian.AppendUint16(body, uint16(i))
	body = binary.BigEndian.AppendUint16(body, uint16(count))
	body = binary.BigEndian.AppendUint16(body, uint16(len(piece)))
	return wire.Frame{Kind: wire.KindSnapshot, Body: append(body, piece...)}, count
}

// handOn gives a client that has connected the snapshots that it may need, and each
// that is new once news tells of it, until ctx or the connection ends. It waits for
// the connection to take each piece, and holds none: where snapshots are large, they
// would push replies out of the client's queue.
func (n *Node) handOn(ctx context.Context, news <-chan struct{}, write func(wire.Frame) error) {
	given := map[directory.Epoch]bool{}
	for {
		for _, e := range n.current() {
			b := n.snapshot(e)
			if b == nil || given[e] {
				continue
			}
			for i, count := 0, 1; i < count; i++ {
				if ctx.Err() != nil {
					return
				}
				var f wire.Frame
				f, count = n.piece(e, b, i)
				if write(f) != nil {
					return
				}
			}
			given[e] = true
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}
