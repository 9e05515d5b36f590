package node

import (
	"context"
	"crypto/ed25519"
	"net/netip"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// ties are a node's to others. They are never changed, but replaced as a whole when
// the network document is.
type ties struct {
	links map[sphinx.NodeID]*wire.Link      // to the peers this node may send to
	peers map[directory.Key]*directory.Node // those that may connect to it
	// sources are the addresses of peers, as far as the document has addresses and no
	// names, and they are no loopback addresses.
	sources map[netip.Addr]bool
}

// addSource notes from where a peer may come.
func (t *ties) addSource(peer *directory.Node) {
	if a, err := netip.ParseAddrPort(peer.Address); err == nil && !a.Addr().IsLoopback() {
		t.sources[a.Addr().Unmap()] = true
	}
}

// link returns the link to a peer, or nil if packets may not go there.
func (n *Node) link(to sphinx.NodeID) *wire.Link { return n.ties.Load().links[to] }

// follows reports whether packets may go from one node to the other: gateways and
// service nodes to layer 1, each layer to the next, the last to gateways and
// service nodes.
func follows(from, to *directory.Node) bool {
	if from.Role == directory.RoleDirectory || to.Role == directory.RoleDirectory {
		return false
	}
	layer := func(n *directory.Node) int {
		if n.Role == directory.RoleMix {
			return n.Layer
		}
		return 0
	}
	return layer(to) == (layer(from)+1)%(directory.Layers+1)
}

// mayConnect says who may open a link to this node: the preceding layer, and
// anyone to a gateway.
func (n *Node) mayConnect(k directory.Key) bool {
	return n.self.Role == directory.RoleGateway || n.ties.Load().peers[k] != nil
}

// Reload takes up a newer network document while the node runs, and loses no packet
// for it. It reports false for the one that is in use, and refuses with an error
// that wraps directory.ErrSuccessor one with which this node cannot go on; then
// nothing has changed. Nodes that the document leaves out go on being served until
// the directories have made its first snapshots. It is not to be called after, or
// while, Close is.
func (n *Node) Reload(d *directory.Document) (changed bool, err error) {
	if err := d.Keeps(n.views.Document(), n.cfg.Identity.Public().(ed25519.PublicKey)); err != nil {
		return false, err
	}
	if changed, err = n.views.Renew(d); err != nil || !changed {
		return false, err
	}
	return true, n.arrange()
}

// arrange makes the ties that the documents in use ask for.
func (n *Node) arrange() error {
	n.arranging.Lock()
	defer n.arranging.Unlock()
	old, next := n.ties.Load(), &ties{
		links:   map[sphinx.NodeID]*wire.Link{},
		peers:   map[directory.Key]*directory.Node{},
		sources: map[netip.Addr]bool{},
	}
	docs := n.views.Documents()
	for _, d := range docs { // the newest first: it says where a peer is
		for i := range d.Nodes {
			peer := &d.Nodes[i]
			if id := peer.ID(); follows(n.self, peer) && next.links[id] == nil {
				next.links[id] = n.linkTo(old.links[id], peer)
			}
			if follows(peer, n.self) && next.peers[peer.Identity] == nil {
				next.peers[peer.Identity] = peer
				next.addSource(peer)
			}
		}
	}
	n.ties.Store(next)
	for id := range old.links {
		if next.links[id] == nil {
			n.stops[id]()
			delete(n.stops, id)
		}
	}
	// A node that came as a client of this gateway, when it was not known yet, is to
	// connect again; one that has left is not to go on.
	n.mu.Lock()
	for c := range n.conns {
		if (old.peers[c.Peer()] == nil) != (next.peers[c.Peer()] == nil) {
			_ = c.Close() // its reader ends
		}
	}
	n.mu.Unlock()
	return n.dir.Use(docs)
}

// linkTo returns a running link to peer: the one that there is, or a new one.
// n.arranging is held.
func (n *Node) linkTo(l *wire.Link, peer *directory.Node) *wire.Link {
	if l != nil {
		l.Move(peer.Address)
		return l
	}
	l = wire.NewLink(n.end, peer.Address, peer.Identity, linkQueue, n.log)
	ctx, stop := context.WithCancel(n.ctx)
	n.stops[peer.ID()] = stop
	n.wg.Go(func() { l.Run(ctx) })
	return l
}
