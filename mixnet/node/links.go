package node

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"mailproxy/internal/accept"
	"mailproxy/internal/pause"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// accept takes connections until taking ends, which is no later than ctx.
func (n *Node) accept(ctx, taking context.Context) {
	err := accept.Loop(taking, n.cfg.Listener, n.log, func(raw net.Conn) {
		done, ok := n.handshakes.begin(raw, n.ties.Load().sources)
		if !ok {
			n.Counters.Refused.Add(1)
			_ = raw.Close() // too many that prove nothing
			return
		}
		n.wg.Go(func() {
			conn, err := n.end.Accept(taking, raw, n.mayConnect)
			done()
			if err != nil {
				n.Counters.Refused.Add(1)
				n.log.Debug("node: connection refused", "err", err)
				return
			}
			n.serve(ctx, taking, conn)
		})
	})
	if err != nil {
		n.log.Error("node: no more connections are taken", "err", err)
	}
}

// serve reads packets from conn until it ends. Once taking has ended, Drain sees to
// that. What it has read is worked on until ctx ends.
func (n *Node) serve(ctx, taking context.Context, conn *wire.Conn) {
	if !n.track(taking, conn) {
		return
	}
	defer n.untrack(conn)
	if !n.mayConnect(conn.Peer()) {
		return // the document has changed since it was let in
	}
	client := n.ties.Load().peers[conn.Peer()] == nil // only a gateway lets any in
	var idle time.Duration                            // a peer may be silent for long
	var limit *bucket
	if client {
		idle = clientIdle
		var leave func()
		var ok bool
		if limit, leave, ok = n.serveClient(ctx, taking, conn); !ok {
			return
		}
		defer leave()
	}
	for {
		if client {
			if wait := limit.take(time.Now()); wait > 0 {
				n.Counters.Paused.Add(1)
				if pause.For(taking, wait) != nil {
					return
				}
			}
		}
		// Each packet has its own buffer: it goes on into a queue.
		kind, packet, err := conn.ReadFrame(make([]byte, n.end.FrameSize()), idle)
		if err != nil || kind != wire.KindPacket {
			n.frameFailed(err)
			return
		}
		n.Counters.Received.Add(1)
		n.handle(ctx, packet, conn.Peer(), client)
		// A link that always has more would keep a lone core for ten milliseconds at
		// a time, while packets whose delay is over wait.
		runtime.Gosched()
	}
}

// frameFailed counts a frame that was none of this network's, under the reason for
// it. A connection that ended between two frames is no fault.
func (n *Node) frameFailed(err error) {
	switch {
	case errors.Is(err, wire.ErrLength):
		n.Counters.FrameLength.Add(1)
	case errors.Is(err, wire.ErrCut):
		n.Counters.FrameCut.Add(1)
	case err == nil || errors.Is(err, wire.ErrFrame): // nil: of a kind that nodes send to clients
		n.Counters.BadFrame.Add(1)
	}
}

func (n *Node) track(taking context.Context, conn *wire.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if taking.Err() != nil { // Drain or Close has been through conns already
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

// send queues a packet for the next hop. Counters are told through done what became
// of it.
func (n *Node) send(to sphinx.NodeID, packet []byte, done func(written bool)) {
	f := wire.Frame{Kind: wire.KindPacket, Body: packet, Done: done}
	if link := n.link(to); link != nil {
		link.Put(f)
	} else if done != nil {
		done(false) // it has left the network while the packet waited
	}
}

// forwarded counts a packet that has been written to the next hop, or that a queue
// dropped.
func (c *Counters) forwarded(written bool) { c.written(written, &c.Forwarded) }

// delivered likewise counts a reply for a client.
func (c *Counters) delivered(written bool) { c.written(written, &c.Delivered) }

// written counts a packet under as if it was written, and otherwise as dropped.
func (c *Counters) written(written bool, as *atomic.Uint64) {
	if written {
		as.Add(1)
	} else {
		c.Dropped.Add(1)
	}
}
