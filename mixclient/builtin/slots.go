package builtin

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/loss"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// Lead is how long before its slot a packet is made, so that the moment it
// leaves does not show how long that took or what it carries. A query that comes
// later than this before a slot waits for the next.
const Lead = 5 * time.Millisecond

// longestGap is how far a process may lag behind its own times (the machine
// slept, say) before it starts anew instead of sending all it missed at once. Where
// timers stand still in sleep, as on Linux, it lags by nothing: it goes on where it
// was. The wall clock's time is nothing to it.
const longestGap = 2 * time.Second

// process runs one Poisson process until ctx ends: at each of its times it sends
// what slot gives it.
func (c *Client) process(ctx context.Context, name Process, rate float64, slot func() *flight) {
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	sleep := func(until time.Time) bool {
		timer.Reset(time.Until(until))
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		}
	}
	for {
		due = due.Add(time.Duration(c.seed.exp(1/rate) * float64(time.Second)))
		if !sleep(due.Add(-Lead)) {
			return
		}
		if now := time.Now(); now.Sub(due) > longestGap {
			due = now
			continue
		}
		f := slot()
		if !sleep(due) {
			if f != nil {
				f.done(nil, f.timing, mixclient.ErrClosed)
			}
			return
		}
		if f != nil {
			c.send(f, name)
		}
	}
}

// A flight is a packet and what becomes of its reply.
type flight struct {
	id     sphinx.SURBID
	packet []byte
	keys   sphinx.SURBKeys
	timing mixclient.Timing
	timer  *time.Timer
	cover  bool                   // a loop
	wall   time.Time              // when it was sent, by the wall clock
	lost   time.Duration          // after it was sent, it counts as lost
	cut    bool                   // the machine slept, or the connection ended or went dead, while it was under way
	count  *uint64                // of the kind, in Client.status; may be nil
	sent   func(mixclient.Timing) // may be nil
	done   func([]byte, mixclient.Timing, error)
}

// querySlot takes a waiting query, or else a loop. It returns nil while there is
// no connection: what waits goes on waiting.
func (c *Client) querySlot() *flight {
	v := c.ready()
	if v == nil {
		return nil
	}
	c.mu.Lock()
	var q *query
	if len(c.waiting) > 0 {
		q = c.waiting[0]
		c.waiting[0] = nil
		c.waiting = c.waiting[1:]
		q.trace.Taken() // who finds it gone from waiting knows that this was called
	}
	c.mu.Unlock()
	if q == nil {
		return c.loop(v, &c.status.Loops)
	}
	f, err := c.flight(v, q.to, q.kind, q.request)
	if err != nil {
		q.done <- outcome{err: err}
		return c.loop(v, &c.status.Loops)
	}
	f.count = &c.status.Queries
	f.timing.Asked = q.asked
	f.sent = q.trace.Sent
	f.done = func(reply []byte, t mixclient.Timing, err error) {
		if err == nil {
			q.trace.Done(t)
		}
		q.done <- outcome{reply: reply, err: err}
	}
	return f
}

// readSlot takes the owner's next read, or else a loop.
func (c *Client) readSlot() *flight {
	v := c.ready()
	if v == nil {
		return nil
	}
	c.mu.Lock()
	next := c.reads
	c.mu.Unlock()
	if next == nil {
		return c.loop(v, &c.status.Loops)
	}
	r, ok := next()
	if !ok {
		return c.loop(v, &c.status.Loops)
	}
	var f *flight
	to, err := c.service(r.To)
	if err == nil {
		f, err = c.flight(v, to, r.To.Kind, r.Request)
	}
	if err != nil {
		r.Done(nil, mixclient.Timing{}, err)
		return c.loop(v, &c.status.Loops)
	}
	f.count = &c.status.Reads
	f.done = r.Done
	return f
}

// loopSlot sends a loop that measures loss.
func (c *Client) loopSlot() *flight {
	v := c.ready()
	if v == nil {
		return nil
	}
	f := c.loop(v, nil)
	if f == nil {
		return nil
	}
	f.sent = func(mixclient.Timing) { c.loops.Sent() }
	f.done = c.loopDone
	return f
}

// loopDone notes what became of a loop that measures loss.
func (c *Client) loopDone(_ []byte, _ mixclient.Timing, err error) {
	switch {
	case errors.Is(err, mixclient.ErrClosed), errors.Is(err, errUnsent):
		return
	case errors.Is(err, errVoid):
		c.loops.Void()
		return
	}
	if alarm, changed := c.loops.Ended(err == nil); changed && alarm {
		c.log.Warn("network client: many loops do not come back: " + c.loopsReason())
	} else if changed {
		c.log.Info("network client: loops come back again")
	}
}

// ready returns the view to make packets with, or nil while nothing can be sent.
func (c *Client) ready() *directory.View {
	c.mu.Lock()
	up := c.link != nil && !c.closed
	c.mu.Unlock()
	if !up {
		return nil
	}
	v, err := c.view()
	if err != nil {
		return nil // watch says so in the status
	}
	return v
}

// flight makes the packet of a query over a new path, with a new SURB. It returns
// ErrLost for a service whose node takes no part at present: that may pass.
func (c *Client) flight(v *directory.View, to *directory.Node, kind string, request []byte) (*flight, error) {
	f := &flight{}
	crand.Read(f.id[:]) // never fails
	recipient := node.ServiceRecipient(kind)
	last, ok := hop(v, to)
	if !ok {
		return nil, fmt.Errorf("%w: its service node takes no part at present", mixclient.ErrLost)
	}
	last.Recipient = &recipient
	first, _ := hop(v, c.gateway) // view has seen to that
	home := first
	home.Recipient, home.SURBID = &c.self, &f.id

	there := append([]sphinx.Hop{first}, c.mixes(v, &f.timing.Up)...)
	there = append(there, last)
	back := append(c.mixes(v, &f.timing.Down), home)

	surb, keys, err := sphinx.NewSURB(crand.Reader, back)
	if err != nil {
		return nil, fmt.Errorf("make reply block: %w", err)
	}
	payload, err := sphinx.PackQuery(surb, request, c.doc.Parameters.Payload())
	if err != nil {
		return nil, fmt.Errorf("make query: %w", err)
	}
	if f.packet, err = sphinx.NewPacket(crand.Reader, there, payload); err != nil {
		return nil, fmt.Errorf("make packet: %w", err)
	}
	f.keys = keys
	return f, nil
}

// hop returns a step of a path through n, or false if n takes no part.
func hop(v *directory.View, n *directory.Node) (sphinx.Hop, bool) {
	k, ok := v.Key(n)
	return sphinx.Hop{ID: n.ID(), Key: k}, ok
}

// mixes draws one mix of each layer and its delay, and adds the delays to sum.
func (c *Client) mixes(v *directory.View, sum *time.Duration) []sphinx.Hop {
	p := c.doc.Parameters
	path := make([]sphinx.Hop, 0, directory.Layers+1)
	for l := 1; l <= directory.Layers; l++ {
		layer := v.Layer(l)
		h, _ := hop(v, layer[c.seed.intn(len(layer))]) // a view's layers take part
		h.Delay = p.Delay(func() float64 { return c.seed.exp(1) })
		*sum += h.Delay
		path = append(path, h)
	}
	return path
}

var (
	// errUnsent is a packet that never left, errVoid one whose loss says nothing of
	// the network.
	errUnsent = fmt.Errorf("%w: the connection ended before it left", mixclient.ErrLost)
	errVoid   = fmt.Errorf("%w: the machine slept or the connection ended while it was under way", mixclient.ErrLost)
)

// send hands a packet to the link and waits for its reply in the background.
func (c *Client) send(f *flight, process Process) {
	f.timing.Sent, f.wall = time.Now(), c.now()
	f.lost = f.timing.Up + f.timing.Down + c.doc.Parameters.ReplySlack()
	c.mu.Lock()
	if c.closed || c.link == nil {
		err := errUnsent // the connection went between making and sending
		if c.closed {
			err = mixclient.ErrClosed
		}
		c.mu.Unlock()
		f.done(nil, f.timing, err)
		return
	}
	timing := f.timing // the reply may be here before this ends
	c.pending[f.id] = f
	if f.count != nil {
		*f.count++
	}
	f.timer = time.AfterFunc(f.lost, func() { c.lose(f.id) })
	c.link.Put(wire.Frame{Kind: wire.KindPacket, Body: f.packet})
	c.mu.Unlock()
	f.packet = nil
	if c.slots != nil {
		c.slots(Slot{Process: process, Cover: f.cover, Timing: timing})
	}
	if f.sent != nil {
		f.sent(timing)
	}
}

// lose gives a packet up whose reply should have come.
func (c *Client) lose(id sphinx.SURBID) {
	c.mu.Lock()
	f := c.pending[id]
	if f != nil {
		delete(c.pending, id)
		// A connection that brought replies and brings none at all any more is dead, and
		// will be found out. One that never brought any may show an attack.
		f.cut = f.cut || !c.heard.IsZero() && c.heard.Before(f.timing.Sent) || loss.Slept(f.wall, c.now(), f.lost)
		if f.cut {
			c.status.Interrupted++
		} else {
			c.status.Lost++
		}
	}
	c.mu.Unlock()
	switch {
	case f == nil:
	case f.cut:
		f.done(nil, f.timing, errVoid)
	default:
		f.done(nil, f.timing, mixclient.ErrLost)
	}
}

// landed takes a frame's body that the gateway gave us: a reply to one of our
// packets, or nothing that we know.
func (c *Client) landed(body []byte) {
	var id sphinx.SURBID
	rest := body[copy(id[:], body):]
	c.mu.Lock()
	c.heard = time.Now()
	f := c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	if f == nil {
		return // late, or never ours
	}
	f.timer.Stop()
	f.timing.Received = time.Now()
	payload := rest[:sphinx.TagSize+c.doc.Parameters.Payload()]
	reply, err := f.keys.OpenReply(payload)
	if err != nil {
		f.done(nil, f.timing, fmt.Errorf("%w: the reply was altered on its way", mixclient.ErrLost))
		return
	}
	f.done(append([]byte(nil), reply...), f.timing, nil)
}
