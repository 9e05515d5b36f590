package builtin

import (
	"context"
	"errors"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixnet/wire"
)

// A link is an open connection to the gateway: a wire.Conn.
type link interface {
	ReadFrame(buf []byte, idle time.Duration) (kind byte, body []byte, err error)
	WriteFrame(kind byte, body []byte) error
	Close() error // ends a read or write that is under way
}

// connect keeps a link to the gateway until ctx ends.
func (c *Client) connect(ctx context.Context) {
	backoff := wire.Backoff{First: 200 * time.Millisecond, Most: 30 * time.Second}
	for ctx.Err() == nil {
		connected, slept, err := c.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		c.setLink(nil, offlineReason(err))
		if connected || slept {
			backoff.Reset()
		}
		if slept {
			c.log.Debug("network client: the machine slept; connecting anew")
			continue
		}
		wait := backoff.Next()
		c.log.Debug("network client: offline", "err", err, "retry", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case <-c.awake:
			backoff.Reset()
		}
	}
}

// attempt connects once, and sends and receives until that ends: when the machine
// slept, at once. Whatever the connection was before, it is most likely dead.
func (c *Client) attempt(ctx context.Context) (connected, slept bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan bool)
	go func() {
		select {
		case <-c.awake:
			cancel()
			watched <- true
		case <-ctx.Done():
			watched <- false
		}
	}()
	defer func() {
		cancel()
		slept = <-watched
	}()
	conn, err := c.dial(ctx)
	if err != nil {
		return false, false, err
	}
	return true, false, c.session(ctx, conn)
}

// offlineReason says to a user why the gateway is not reached.
func offlineReason(err error) string {
	if errors.Is(err, wire.ErrPeer) {
		return "the gateway proved another key than the network document names; if this persists, ask your provider for a newer document"
	}
	return "the gateway cannot be reached; trying again"
}

// linkQueue bounds frames on their way to the gateway: about ten seconds' worth.
const linkQueue = 16

// gatewaySilence is when a connection that brings no replies is given up, where the
// system has not noticed before that it is dead. The network's own delays and the
// time of twenty replies are added: 41 s in all at the default parameters, in which
// sixty would have come.
const gatewaySilence = 20 * time.Second

// session sends and receives on conn until it fails.
func (c *Client) session(ctx context.Context, conn link) error {
	ctx, cancel := context.WithCancel(ctx)
	queue := wire.NewQueue(linkQueue)
	written := make(chan error, 1)
	go func() {
		defer cancel()
		for {
			f, err := queue.Get(ctx)
			if err == nil {
				err = conn.WriteFrame(f.Kind, f.Body)
			}
			if err != nil {
				_ = conn.Close() // ends the reader
				written <- err
				return
			}
		}
	}()
	c.setLink(queue, "")
	p := c.doc.Parameters
	idle := gatewaySilence + 20*time.Duration(p.MixDelay) + time.Duration(20/p.Rate()*float64(time.Second))
	buf := make([]byte, wire.FrameHeader+c.doc.Parameters.Packet())
	var snapshot pieces
	var err error
	for err == nil {
		var kind byte
		var body []byte
		kind, body, err = conn.ReadFrame(buf, idle)
		switch {
		case err != nil:
		case kind == wire.KindReply:
			c.landed(body)
		case kind == wire.KindSnapshot:
			err = c.piece(&snapshot, body)
		default:
			err = wire.ErrFrame
		}
	}
	cancel()
	_ = conn.Close() // given up
	return errors.Join(err, <-written)
}

// setLink takes up a connection, or notes that there is none and why.
func (c *Client) setLink(q *wire.Queue, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.broken = q, reason
	if q == nil {
		for _, f := range c.pending {
			f.cut = true
		}
	}
	c.refresh()
}

// refresh brings the status up to date: connected is who has a link and knows the
// network's keys. c.mu is held.
func (c *Client) refresh() {
	reason := c.broken
	if c.link != nil {
		if _, err := c.view(); err != nil {
			reason = c.keysReason(err)
		}
	}
	up := c.link != nil && reason == ""
	if c.status.Connected != up {
		c.status.Since = time.Now()
		select { // only the newest event is kept for a slow receiver
		case <-c.events:
		default:
		}
		if !c.closed {
			c.events <- mixclient.Event{Connected: up, Reason: reason}
		}
	}
	c.status.Connected, c.status.Reason, c.status.ClockOffset = up, reason, c.offset
}
