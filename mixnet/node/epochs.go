package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"mailproxy/mixnet/authority"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/wire"
)

// attend is how often a node looks at its epochs: a five-hundredth of one, within
// reason.
func (n *Node) attend() time.Duration {
	return min(max(time.Duration(n.cfg.Document.Parameters.Epoch)/500, 50*time.Millisecond), time.Second)
}

// keepKeys makes the node's keys of this epoch and the next, publishes them, and
// erases those whose time is over, until ctx ends.
func (n *Node) keepKeys(ctx context.Context) {
	p := n.cfg.Document.Parameters
	published := map[directory.Epoch]*publication{}
	tick := time.NewTicker(n.attend())
	defer tick.Stop()
	for {
		now := n.cfg.Now()
		current := p.EpochAt(now)
		for _, e := range []directory.Epoch{current, current + 1} {
			if published[e] == nil {
				published[e] = newPublication(p, n.attend())
			}
			if e != current && now.Before(p.PublishTime(e)) || now.Before(published[e].due) {
				continue
			}
			taken, err := n.publish(ctx, e, published[e])
			if ctx.Err() != nil {
				break
			}
			directories := len(n.dir.Directories())
			changed := published[e].done(now, taken, directories)
			switch {
			case err != nil && changed:
				n.log.Warn("node: descriptor not published everywhere", "epoch", uint64(e), "directories", taken, "of", directories, "err", err)
			case err != nil:
				n.log.Debug("node: descriptor not published everywhere", "epoch", uint64(e), "directories", taken, "of", directories, "err", err)
			}
		}
		if err := n.cfg.Keys.Tidy(); err != nil {
			n.log.Error("node: an old mix key could not be erased", "err", err)
		}
		for e := range published {
			if e < current {
				delete(published, e)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// A publication is when the descriptor of an epoch is to be published (again).
type publication struct {
	due   time.Time
	all   time.Duration // from one publication that all took to the next
	some  wire.Backoff  // from one that not all took to the next
	taken int           // by how many directories, the last time; -1: none yet
	// descriptor is what is published. It stays the same while the node runs, or
	// directories would vote for different ones.
	descriptor *directory.SignedDescriptor
}

// newPublication is due at once. What all directories took is repeated every half
// a round, for those that begin anew. What some did not take is repeated more and
// more seldom, so that a directory that is down for long does not cost the others
// anything; but often enough that a directory gets it before it votes, which is at
// least a quarter of a round after its start.
func newPublication(p directory.Parameters, first time.Duration) *publication {
	return &publication{
		all: p.Round() / 2, taken: -1,
		some: wire.Backoff{First: first, Most: max(first, p.Round()/8)},
	}
}

// done notes a publication at now, and reports whether more or fewer directories
// took it than the last time.
func (p *publication) done(now time.Time, taken, directories int) (changed bool) {
	if taken == directories {
		p.some.Reset()
		p.due = now.Add(p.all)
	} else {
		p.due = now.Add(p.some.Next())
	}
	changed = taken != p.taken
	p.taken = taken
	return changed
}

func (n *Node) publish(ctx context.Context, e directory.Epoch, p *publication) (taken int, err error) {
	if p.descriptor == nil {
		public, err := n.cfg.Keys.Public(e)
		if err != nil {
			return 0, err
		}
		var notice []byte
		if n.cfg.Notice != nil {
			notice = n.cfg.Notice()
		}
		if p.descriptor, err = directory.NewDescriptor(n.cfg.Identity, e, public, notice); err != nil {
			return 0, err
		}
	}
	return n.dir.Publish(ctx, p.descriptor)
}

// fetchSnapshots keeps the snapshots of this epoch and the next current, and, at a
// gateway, hands each on to all clients, until ctx ends.
func (n *Node) fetchSnapshots(ctx context.Context) {
	p := n.cfg.Document.Parameters
	var told directory.Epoch // the last of which a failure was logged
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
					n.clients.tell()
					err = n.arrange() // an older document may be done with
				}
			}
			if err != nil && !errors.Is(err, authority.ErrNone) && ctx.Err() == nil {
				level := slog.LevelDebug // while one directory is down and the others vote
				if told < e {
					told, level = e, slog.LevelWarn
				}
				n.log.Log(ctx, level, "node: snapshot", "epoch", uint64(e), "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
