package node

import (
	"context"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
)

// compareSnapshots asks each directory once for what it hands out as the snapshot of
// an epoch, and again each round those that do not answer, until ctx ends. This node
// took its snapshot from one of them; directories that lie give others another.
func (n *Node) compareSnapshots(ctx context.Context) {
	p := n.cfg.Document.Parameters
	answered := map[directory.Epoch]map[sphinx.NodeID]bool{}
	tick := time.NewTicker(max(p.Round(), 2*time.Second)) // not often where times are scaled down
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		current := p.EpochAt(n.cfg.Now())
		for _, e := range []directory.Epoch{current, current + 1} {
			own := n.views.Signed(e)
			if own == nil {
				continue
			}
			if err := n.witness.Add(e, own); err != nil {
				n.log.Error("node: compare snapshots", "epoch", uint64(e), "err", err)
			}
			if answered[e] == nil {
				answered[e] = map[sphinx.NodeID]bool{}
			}
			var silent []*directory.Node
			for _, d := range n.dir.Directories() {
				if !answered[e][d.ID()] {
					silent = append(silent, d)
				}
			}
			for _, id := range n.witness.Ask(ctx, n.dir, silent, e) {
				answered[e][id] = true
			}
		}
		for e := range answered {
			if e < current {
				delete(answered, e)
			}
		}
		n.witness.Forget(current)
	}
}

// LyingDirectories returns the names of the directories that this node has seen to
// sign two snapshots of one epoch.
func (n *Node) LyingDirectories() (names []string) {
	for _, d := range n.witness.Caught(n.dir.Directories()) {
		names = append(names, d.Name)
	}
	return names
}
