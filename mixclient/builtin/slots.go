package builtin

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// Lead is how long before its slot a packet is made, so that the moment it
// leaves does not show how long that took or what it carries. A query that comes
// later than this before a slot waits for the next.
const Lead = 5 * time.Millisecond

// longestGap is how far a process may lag behind its own times (the machine
// slept, say) before it starts anew instead of sending all it missed at once.
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
		if now := time.Now(); now.Sub(due) > longestGap {
			due = now
		}
		due = due.Add(time.Duration(c.seed.exp(1/rate) * float64(time.Second)))
		if !sleep(due.Add(-Lead)) {
			return
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
	count  *uint64                // of the kind, in Client.status
	sent   func(mixclient.Timing) // may be nil
	done   func([]byte, mixclient.Timing, error)
}

// querySlot takes a waiting query, or else a loop. It returns nil while there is
// no connection: what waits goes on waiting.
func (c *Client) querySlot() *flight {
	c.mu.Lock()
	if c.link == nil || c.closed {
		c.mu.Unlock()
		return nil
	}
	var q *query
	if len(c.waiting) > 0 {
		q = c.waiting[0]
		c.waiting[0] = nil
		c.waiting = c.waiting[1:]
	}
	c.mu.Unlock()
	if q == nil {
		return c.loop(&c.status.Loops)
	}
	q.trace.Taken()
	f, err := c.flight(q.to, q.kind, q.request)
	if err != nil {
		q.done <- outcome{err: err}
		return c.loop(&c.status.Loops)
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
	c.mu.Lock()
	next := c.reads
	up := c.link != nil && !c.closed
	c.mu.Unlock()
	if !up {
		return nil
	}
	if next == nil {
		return c.loop(&c.status.Loops)
	}
	r, ok := next()
	if !ok {
		return c.loop(&c.status.Loops)
	}
	var f *flight
	to, err := c.service(r.To)
	if err == nil {
		f, err = c.flight(to, r.To.Kind, r.Request)
	}
	if err != nil {
		r.Done(nil, mixclient.Timing{}, err)
		return c.loop(&c.status.Loops)
	}
	f.count = &c.status.Reads
	f.done = r.Done
	return f
}

// loopSlot sends a loop that measures loss.
func (c *Client) loopSlot() *flight {
	c.mu.Lock()
	up := c.link != nil && !c.closed
	c.mu.Unlock()
	if !up {
		return nil
	}
	f := c.loop(&c.status.LoopsSent)
	if f != nil {
		f.done = func(_ []byte, _ mixclient.Timing, err error) {
			if err == nil {
				c.mu.Lock()
				c.status.LoopsBack++
				c.mu.Unlock()
			}
		}
	}
	return f
}

// loop makes a query to an echo service: cover like any other query.
func (c *Client) loop(count *uint64) *flight {
	echoes := c.view.Services(mixclient.KindEcho)
	body := make([]byte, c.Limits().Request)
	f, err := c.flight(echoes[c.seed.intn(len(echoes))], mixclient.KindEcho, body)
	if err != nil {
		c.log.Error("network client: cannot make a loop", "err", err)
		return nil
	}
	f.cover, f.count = true, count
	f.done = func([]byte, mixclient.Timing, error) {}
	return f
}

// flight makes the packet of a query over a new path, with a new SURB.
func (c *Client) flight(to *directory.Node, kind string, request []byte) (*flight, error) {
	f := &flight{}
	crand.Read(f.id[:]) // never fails
	recipient := node.ServiceRecipient(kind)
	there := []sphinx.Hop{c.hop(c.gateway)}
	there = append(there, c.mixes(&f.timing.Up)...)
	last := c.hop(to)
	last.Recipient = &recipient
	there = append(there, last)

	back := c.mixes(&f.timing.Down)
	home := c.hop(c.gateway)
	home.Recipient, home.SURBID = &c.self, &f.id
	back = append(back, home)

	surb, keys, err := sphinx.NewSURB(crand.Reader, back)
	if err != nil {
		return nil, fmt.Errorf("make reply block: %w", err)
	}
	payload, err := sphinx.PackQuery(surb, request, c.view.Document.Parameters.Payload())
	if err != nil {
		return nil, fmt.Errorf("make query: %w", err)
	}
	if f.packet, err = sphinx.NewPacket(crand.Reader, there, payload); err != nil {
		return nil, fmt.Errorf("make packet: %w", err)
	}
	f.keys = keys
	return f, nil
}

func (c *Client) hop(n *directory.Node) sphinx.Hop {
	return sphinx.Hop{ID: n.ID(), Key: c.view.Key(n)}
}

// mixes draws one mix of each layer and its delay, and adds the delays to sum.
func (c *Client) mixes(sum *time.Duration) []sphinx.Hop {
	p := c.view.Document.Parameters
	path := make([]sphinx.Hop, 0, directory.Layers+1)
	for l := 1; l <= directory.Layers; l++ {
		layer := c.view.Layer(l)
		h := c.hop(layer[c.seed.intn(len(layer))])
		for {
			d := time.Duration(c.seed.exp(float64(p.MixDelay)))
			if d <= p.MaxDelay() {
				h.Delay = d.Round(time.Millisecond) // the packet carries milliseconds
				break
			}
		}
		*sum += h.Delay
		path = append(path, h)
	}
	return path
}

// send hands a packet to the link and waits for its reply in the background.
func (c *Client) send(f *flight, process Process) {
	f.timing.Sent = time.Now()
	p := c.view.Document.Parameters
	lost := f.timing.Up + f.timing.Down + replySlackMeans*time.Duration(p.MixDelay) + replySlackFixed
	c.mu.Lock()
	if c.closed || c.link == nil {
		err := mixclient.ErrLost // the connection went between making and sending
		if c.closed {
			err = mixclient.ErrClosed
		}
		c.mu.Unlock()
		f.done(nil, f.timing, err)
		return
	}
	timing := f.timing // the reply may be here before this ends
	c.pending[f.id] = f
	*f.count++
	f.timer = time.AfterFunc(lost, func() { c.lose(f.id) })
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
		c.status.Lost++
	}
	c.mu.Unlock()
	if f != nil {
		f.done(nil, f.timing, mixclient.ErrLost)
	}
}

// landed takes a frame's body that the gateway gave us: a reply to one of our
// packets, or nothing that we know.
func (c *Client) landed(body []byte) {
	var id sphinx.SURBID
	rest := body[copy(id[:], body):]
	c.mu.Lock()
	f := c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	if f == nil {
		return // late, or never ours
	}
	f.timer.Stop()
	f.timing.Received = time.Now()
	payload := rest[:sphinx.TagSize+c.view.Document.Parameters.Payload()]
	reply, err := f.keys.OpenReply(payload)
	if err != nil {
		f.done(nil, f.timing, fmt.Errorf("%w: the reply was altered on its way", mixclient.ErrLost))
		return
	}
	f.done(append([]byte(nil), reply...), f.timing, nil)
}
