package builtin

import (
	"context"
	"errors"
	"sync"
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
		began := time.Now()
		slept, err := c.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		c.setLink(nil, offlineReason(err))
		if slept {
			backoff.Reset()
			c.log.Debug("network client: the machine slept or is in another network; connecting anew")
			continue
		}
		wait := backoff.Ended(began)
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
// slept or has lost the address that it connected from, at once. Whatever the connection
// was before, it is most likely dead.
func (c *Client) attempt(ctx context.Context) (slept bool, err error) {
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
		return false, err
	}
	c.setLocal(conn)
	defer c.setLocal(nil)
	return false, c.session(ctx, conn)
}

// errFull is a gateway that serves as many clients as it may.
var errFull = errors.New("the gateway has no room")

// offlineReason says to a user why the gateway is not reached.
func offlineReason(err error) string {
	if errors.Is(err, wire.ErrPeer) {
		return "the gateway proved another key than the network document names; if this persists, ask your provider for a newer document"
	}
	if errors.Is(err, errFull) {
		// No other is taken by itself: who fills up honest gateways, which costs
		// little, would choose everybody's gateway.
		return "the gateway has no room at present; trying again. If this persists, name another gateway in the configuration"
	}
	var told interface{ Reason() string }
	if errors.As(err, &told) {
		return told.Reason()
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

// taken is when a connection over which nothing has come counts as one all the same:
// the gateway may have no snapshot to give. A gateway that refuses does so at once,
// but later than the handshake ends here (TLS 1.3).
const taken = 5 * time.Second

// session sends and receives on conn until it fails. Nothing is sent before the
// gateway's first frame, or, without one, before a while has passed.
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
	var once sync.Once
	up := func() { once.Do(func() { c.setLink(queue, "") }) }
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		select {
		case <-ctx.Done():
		case <-time.After(taken):
			up()
		}
	}()
	p := c.doc.Parameters
	idle := gatewaySilence + 20*time.Duration(p.MixDelay) + time.Duration(20/p.Rate()*float64(time.Second))
	buf := make([]byte, wire.FrameHeader+c.doc.Parameters.Packet())
	var snapshot pieces
	var err error
	for err == nil {
		var kind byte
		var body []byte
		kind, body, err = conn.ReadFrame(buf, idle)
		if err == nil && kind != wire.KindFull {
			up()
		}
		switch {
		case err != nil:
		case kind == wire.KindFull:
			err = errFull
		case kind == wire.KindReply:
			c.landed(body)
		case kind == wire.KindSnapshot:
			err = c.piece(&snapshot, body)
		default:
			err = wire.ErrFrame
		}
	}
	cancel()
	<-waited
	_ = conn.Close() // given up
	return errors.Join(err, <-written)
}

// setLink takes up a connection, or notes that there is none and why.
func (c *Client) setLink(q *wire.Queue, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.broken, c.heard = q, reason, time.Time{}
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
