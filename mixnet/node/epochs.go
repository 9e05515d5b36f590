package node

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/authority"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/wire"
)

// attend is how often a node looks at its epochs: a five-hundredth of one, within
// reason.
func (n *Node) attend() time.Duration {
	return min(max(time.Duration(n.cfg.Document.Parameters.Epoch)/500, 50*time.Millisecond), time.Second)
}

// republish is how often a node repeats a descriptor while its epoch has not
// begun, for directories that were down.
func (n *Node) republish() time.Duration { return n.cfg.Document.Parameters.Round() / 2 }

// keepKeys makes the node's keys of this epoch and the next, publishes them, and
// erases those whose time is over, until ctx ends.
func (n *Node) keepKeys(ctx context.Context) {
	p := n.cfg.Document.Parameters
	directories := len(n.cfg.Document.WithRole(directory.RoleDirectory))
	last := map[directory.Epoch]time.Time{} // when a descriptor was published to all
	tick := time.NewTicker(n.attend())
	defer tick.Stop()
	for {
		now := n.cfg.Now()
		current := p.EpochAt(now)
		for _, e := range []directory.Epoch{current, current + 1} {
			if e != current && now.Before(p.PublishTime(e)) || now.Sub(last[e]) < n.republish() {
				continue
			}
			taken, err := n.publish(ctx, e)
			if err != nil && ctx.Err() == nil {
				n.log.Warn("node: descriptor not published everywhere", "epoch", uint64(e), "err", err)
			}
			if taken == directories {
				last[e] = now
			}
		}
		if err := n.cfg.Keys.Tidy(); err != nil {
			n.log.Error("node: an old mix key could not be erased", "err", err)
		}
		for e := range last {
			if e < current {
				delete(last, e)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *Node) publish(ctx context.Context, e directory.Epoch) (taken int, err error) {
	public, err := n.cfg.Keys.Public(e)
	if err != nil {
		return 0, err
	}
	sd, err := directory.NewDescriptor(n.cfg.Identity, e, public)
	if err != nil {
		return 0, err
	}
	return n.dir.Publish(ctx, sd)
}

// fetchSnapshots keeps the snapshots of this epoch and the next current, and, at a
// gateway, hands each on to all clients, until ctx ends.
func (n *Node) fetchSnapshots(ctx context.Context) {
	p := n.cfg.Document.Parameters
	tick := time.NewTicker(n.attend())
	defer tick.Stop()
	for {
		now := n.cfg.Now()
		current := p.EpochAt(now)
		for _, e := range []directory.Epoch{current, current + 1} {
			if n.views.Signed(e) != nil || now.Before(p.VoteTime(e)) {
				continue
			}
			s, err := n.dir.Snapshot(ctx, e)
			if err == nil {
				var added bool
				if added, err = n.views.Add(s); added {
					n.handOn(e)
				}
			}
			if err != nil && !errors.Is(err, authority.ErrNone) && ctx.Err() == nil {
				n.log.Warn("node: snapshot", "epoch", uint64(e), "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// snapshotFrames cuts the snapshot of an epoch into frames for clients; see
// docs/protocol.md. It returns none if there is no such snapshot.
func (n *Node) snapshotFrames(e directory.Epoch) []wire.Frame {
	s := n.views.Signed(e)
	if s == nil {
		return nil
	}
	b, err := codec.Marshal(s)
	if err != nil {
		n.log.Error("node: encode snapshot", "err", err)
		return nil
	}
	room := n.end.FrameSize() - wire.FrameHeader - wire.SnapshotHeader
	count := (len(b) + room - 1) / room
	var frames []wire.Frame
	for i := range count {
		piece := b[i*room : min((i+1)*room, len(b))]
		body := binary.BigEndian.AppendUint64(nil, uint64(e))
		body = binary.BigEndian.AppendUint64(body, uint64(n.cfg.Now().UnixMilli()))
		body = binary.BigEndian.AppendUint16(body, uint16(i))
		body = binary.BigEndian.AppendUint16(body, uint16(count))
		body = binary.BigEndian.AppendUint16(body, uint16(len(piece)))
		frames = append(frames, wire.Frame{Kind: wire.KindSnapshot, Body: append(body, piece...)})
	}
	return frames
}

// handOn gives a new snapshot to all clients that are connected.
func (n *Node) handOn(e directory.Epoch) {
	frames := n.snapshotFrames(e)
	for _, q := range n.clients.connected() {
		for _, f := range frames {
			q.Put(f)
		}
	}
}

// greet gives a client that connects the snapshots that it may need.
func (n *Node) greet(q *wire.Queue) {
	current := n.cfg.Document.Parameters.EpochAt(n.cfg.Now())
	for _, e := range []directory.Epoch{current - 1, current, current + 1} {
		for _, f := range n.snapshotFrames(e) {
			q.Put(f)
		}
	}
}
