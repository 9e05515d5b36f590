package node

import (
	"context"
	"sync"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// What a gateway keeps for a client whose connection is gone: replies that were
// on their way, since without packets going up none more come down. They are
// about as many as packets are in flight.
const (
	keepReplies = 64               // for each client, connected or not; the oldest makes room
	keepFor     = time.Minute      // after the connection was lost
	keepClients = 1024             // clients that are away; the one away longest makes room
	clientIdle  = 5 * time.Minute  // silence after which a client counts as gone: it sends more than one packet a second
	tidyEvery   = 10 * time.Second // how often those away too long are forgotten
)

// MostClients are connected to a gateway at once, unless its operator says otherwise:
// room for half as many again as docs/parameters.md plans for each in a network of
// 20,000, since users draw their gateways. What they take is said there.
const MostClients = 8000

// clients are those of a gateway.
type clients struct {
	limit int // connected at once
	p     directory.Parameters

	mu    sync.Mutex // guards all below
	ends  map[sphinx.Recipient]*clientEnd
	aways int // of ends without a connection
}

// A clientEnd is a gateway's side of a client; clients.mu guards it.
type clientEnd struct {
	queue *wire.Queue
	limit *bucket    // who connects again has no more for it
	conn  *wire.Conn // nil while it is away
	left  time.Time  // when it went
	// news holds a token while there is a snapshot that conn may not have had.
	news chan struct{}
}

// enter takes a client up, with what was kept for it. A newer connection of the
// same client replaces an older one. It returns false where as many are connected
// as may be.
func (c *clients) enter(id sphinx.Recipient, conn *wire.Conn) (end clientEnd, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.ends[id]
	switch {
	case (kept == nil || kept.conn == nil) && len(c.ends)-c.aways >= c.limit:
		return clientEnd{}, false
	case kept == nil:
		kept = &clientEnd{queue: wire.NewQueue(keepReplies), limit: newBucket(c.p)}
		c.ends[id] = kept
	case kept.conn == nil:
		c.aways--
	default:
		_ = kept.conn.Close() // its reader ends, and leave finds that it was replaced
	}
	kept.conn, kept.news = conn, make(chan struct{}, 1)
	return *kept, true
}

// leave notes that a connection is gone, unless another has replaced it.
func (c *clients) leave(id sphinx.Recipient, conn *wire.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.ends[id]
	if end == nil || end.conn != conn {
		return
	}
	if c.aways == keepClients {
		c.forgetLongest()
	}
	end.conn, end.left = nil, time.Now()
	c.aways++
}

// forgetLongest forgets the client that has been away longest. c.mu is held.
func (c *clients) forgetLongest() {
	var longest sphinx.Recipient
	var since time.Time
	for id, end := range c.ends {
		if end.conn == nil && (since.IsZero() || end.left.Before(since)) {
			longest, since = id, end.left
		}
	}
	if !since.IsZero() {
		c.forget(longest)
	}
}

// forget forgets a client that is away, with what waits for it. c.mu is held.
func (c *clients) forget(id sphinx.Recipient) {
	c.ends[id].queue.Close()
	delete(c.ends, id)
	c.aways--
}

// queue returns where replies for a client go, or nil if it is not known.
func (c *clients) queue(id sphinx.Recipient) *wire.Queue {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := c.ends[id]; end != nil {
		return end.queue
	}
	return nil
}

// tell tells all connections that there is a new snapshot.
func (c *clients) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range c.ends {
		select {
		case end.news <- struct{}{}:
		default: // it has not looked since the last
		}
	}
}

// tidy forgets clients that have been away too long, until ctx ends.
func (c *clients) tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		for id, end := range c.ends {
			if end.conn == nil && time.Since(end.left) > keepFor {
				c.forget(id)
			}
		}
		c.mu.Unlock()
	}
}

// serveClient starts to write a client's replies, and the snapshots; what it returns
// ends that. It tells a client for which there is no room, and returns false.
func (n *Node) serveClient(ctx, taking context.Context, conn *wire.Conn) (limit *bucket, leave func(), ok bool) {
	id := ClientRecipient(conn.Peer())
	end, ok := n.clients.enter(id, conn)
	if !ok {
		n.Counters.TooMany.Add(1)
		_ = conn.WriteFrame(wire.KindFull, nil) // who does not hear it sees the connection end
		return nil, nil, false
	}
	n.Counters.Clients.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	// Held while a frame is written. Who waits for a mutex gets it before who had it
	// last, so that replies wait for one piece of a snapshot at most.
	var writing sync.Mutex
	write := func(f wire.Frame) error {
		writing.Lock()
		defer writing.Unlock()
		err := conn.WriteFrame(f.Kind, f.Body)
		if err != nil && taking.Err() == nil {
			_ = conn.Close() // ends the reader too, which a drain does otherwise
		}
		return err
	}
	var writers sync.WaitGroup
	writers.Go(func() {
		for {
			f, err := end.queue.Get(ctx)
			if err != nil {
				return
			}
			if write(f) != nil {
				end.queue.PutBack(f) // for the next connection
				return
			}
			f.Tell(true)
		}
	})
	writers.Go(func() { n.handOn(ctx, end.news, write) })
	return end.limit, func() {
		cancel()
		_ = conn.Close() // frees the writers
		writers.Wait()
		n.clients.leave(id, conn)
		n.Counters.Clients.Add(-1)
	}, true
}

// deliver gives a reply to the client it names, or keeps it for a while.
func (n *Node) deliver(to sphinx.Recipient, id sphinx.SURBID, payload []byte) {
	queue := n.clients.queue(to)
	if queue == nil {
		n.Counters.NoClient.Add(1)
		return
	}
	body := make([]byte, 0, len(id)+len(payload))
	body = append(append(body, id[:]...), payload...)
	queue.Put(wire.Frame{Kind: wire.KindReply, Body: body, Done: n.Counters.delivered})
}

// A bucket holds a client to the network's rate: an honest one never notices. A
// client that sends more is read more slowly, which costs the gateway nothing and
// nobody else anything.
type bucket struct {
	rate, burst float64 // per second, and at once

	mu     sync.Mutex // guards all below: a connection may replace another
	tokens float64
	at     time.Time
}

// Slack of the token bucket, in terms of the rate at which a client sends.
const (
	bucketRate  = 2  // times the document's rates
	bucketBurst = 60 // seconds of the document's rates
)

func newBucket(p directory.Parameters) *bucket {
	return &bucket{
		rate: bucketRate * p.Rate(), burst: bucketBurst * p.Rate(),
		tokens: bucketBurst * p.Rate(), at: time.Now(),
	}
}

// take takes a token and returns how long to wait until there was one.
func (b *bucket) take(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.at).Seconds())
	b.at = now
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}
