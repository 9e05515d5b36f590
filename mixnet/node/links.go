package node

import (
	"context"
	"errors"
	"net"
	"time"

	"mailproxy/internal/accept"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// clientIdle is how long a client may be silent: its processes send more than
// one packet a second, so it is gone long before.
const clientIdle = 5 * time.Minute

// maxHandshakes bounds connections that have not yet proved a key.
const maxHandshakes = 256

// accept takes connections until ctx ends.
func (n *Node) accept(ctx context.Context) {
	handshakes := make(chan struct{}, maxHandshakes)
	err := accept.Loop(ctx, n.cfg.Listener, n.log, func(raw net.Conn) {
		select {
		case handshakes <- struct{}{}:
		default:
			n.Counters.Refused.Add(1)
			_ = raw.Close() // too many that prove nothing
			return
		}
		n.wg.Go(func() {
			conn, err := n.end.Accept(ctx, raw, n.mayConnect)
			<-handshakes
			if err != nil {
				n.Counters.Refused.Add(1)
				n.log.Debug("node: connection refused", "err", err)
				return
			}
			n.serve(ctx, conn)
		})
	})
	if err != nil {
		n.log.Error("node: no more connections are taken", "err", err)
	}
}

// serve reads packets from conn until it ends.
func (n *Node) serve(ctx context.Context, conn *wire.Conn) {
	if !n.track(ctx, conn) {
		return
	}
	defer n.untrack(conn)
	peer := n.cfg.View.Node((&directory.Node{Identity: conn.Peer()}).ID())
	var idle time.Duration // a peer may be silent for long
	if n.self.Role == directory.RoleGateway && (peer == nil || !n.precedes(peer)) {
		idle = clientIdle
		leave := n.enter(ctx, conn)
		defer leave()
		peer = nil
	}
	for {
		// Each packet has its own buffer: it goes on into a queue.
		kind, packet, err := conn.ReadFrame(make([]byte, n.end.FrameSize()), idle)
		if errors.Is(err, wire.ErrFrame) || (err == nil && kind != wire.KindPacket) {
			n.Counters.Malformed.Add(1)
			return // the stream has lost its frame, or the peer its mind
		}
		if err != nil {
			return
		}
		n.Counters.Received.Add(1)
		n.handle(ctx, packet, peer == nil)
	}
}

func (n *Node) track(ctx context.Context, conn *wire.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ctx.Err() != nil { // Close has been through conns already
		_ = conn.Close()
		return false
	}
	n.conns[conn] = struct{}{}
	return true
}

func (n *Node) untrack(conn *wire.Conn) {
	_ = conn.Close() // ended either way
	n.mu.Lock()
	delete(n.conns, conn)
	n.mu.Unlock()
}

// enter registers a client for its replies and starts to write them. A client
// that connects again replaces its older connection.
func (n *Node) enter(ctx context.Context, conn *wire.Conn) (leave func()) {
	id := ClientRecipient(conn.Peer())
	ctx, cancel := context.WithCancel(ctx)
	end := &clientEnd{queue: wire.NewQueue(clientQueue), conn: conn}
	n.mu.Lock()
	if old := n.clients[id]; old != nil {
		_ = old.conn.Close() // its reader ends and leaves
	}
	n.clients[id] = end
	n.mu.Unlock()
	n.Counters.Clients.Add(1)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for {
			f, err := end.queue.Get(ctx)
			if err != nil {
				return
			}
			if err := conn.WriteFrame(f.Kind, f.Body); err != nil {
				_ = conn.Close() // ends the reader too
				return
			}
		}
	}()
	return func() {
		n.mu.Lock()
		if n.clients[id] == end {
			delete(n.clients, id)
		}
		n.mu.Unlock()
		cancel()
		_ = conn.Close() // frees the writer
		<-written
		n.Counters.Clients.Add(-1)
	}
}

// deliver gives a reply to the client it names.
func (n *Node) deliver(to sphinx.Recipient, id sphinx.SURBID, payload []byte) {
	n.mu.Lock()
	end := n.clients[to]
	n.mu.Unlock()
	if end == nil {
		n.Counters.NoClient.Add(1)
		return
	}
	body := make([]byte, 0, len(id)+len(payload))
	body = append(append(body, id[:]...), payload...)
	if end.queue.Put(wire.Frame{Kind: wire.KindReply, Body: body}) {
		n.Counters.Dropped.Add(1)
	}
	n.Counters.Delivered.Add(1)
}

// send queues a packet for the next hop.
func (n *Node) send(to sphinx.NodeID, packet []byte) {
	if n.links[to].Put(wire.Frame{Kind: wire.KindPacket, Body: packet}) {
		n.Counters.Dropped.Add(1)
	}
	n.Counters.Forwarded.Add(1)
}
