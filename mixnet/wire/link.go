package wire

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"mailproxy/mixnet/directory"
)

// Backoff is how long to wait before another attempt to connect: it doubles from
// first to most, and half of it is random so that members that lost the same
// peer do not return as one.
type Backoff struct {
	First, Most time.Duration
	next        time.Duration
}

// Next returns the next wait.
func (b *Backoff) Next() time.Duration {
	b.next = min(max(b.next*2, b.First), b.Most)
	return b.next/2 + rand.N(b.next/2+1)
}

// Reset begins again, after an attempt that succeeded.
func (b *Backoff) Reset() { b.next = 0 }

// A Link carries frames one way to one peer, and connects again whenever the
// connection is gone. What is put into its queue meanwhile waits there. A link whose
// peer refuses it counts as up for the moment that it takes to hear of it.
type Link struct {
	Queue
	end     *End
	address atomic.Pointer[string]
	peer    directory.Key
	log     *slog.Logger
	up      atomic.Bool
}

// NewLink makes a link from end to the peer at address; Run drives it.
func NewLink(end *End, address string, peer directory.Key, limit int, log *slog.Logger) *Link {
	l := &Link{end: end, peer: peer, log: log}
	l.Move(address)
	l.frames, l.ready = make([]Frame, limit), make(chan struct{}, 1)
	return l
}

// Move says where the peer is from the next connection on.
func (l *Link) Move(address string) { l.address.Store(&address) }

// Up reports whether the link is connected.
func (l *Link) Up() bool { return l.up.Load() }

// lasted is how long a connection must have been there for the wait before the next
// one to be short again. In TLS 1.3 a handshake ends on the dialling side before the
// other has looked at its key: a peer that refuses looks at first like one that does
// not. A few frames may be lost to it each time.
const lasted = 10 * time.Second

// Ended returns the wait after a connection that was made at the given time.
func (b *Backoff) Ended(made time.Time) time.Duration {
	if time.Since(made) >= lasted {
		b.Reset()
	}
	return b.Next()
}

// Run connects, sends and connects again until ctx ends. Then what waits is dropped.
func (l *Link) Run(ctx context.Context) {
	defer l.Close()
	backoff := Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}
	for ctx.Err() == nil {
		var wait time.Duration
		conn, err := l.end.Dial(ctx, *l.address.Load(), l.peer)
		if err != nil {
			wait = backoff.Next()
		} else {
			made := time.Now()
			l.up.Store(true)
			err = l.send(ctx, conn)
			l.up.Store(false)
			wait = backoff.Ended(made)
		}
		if ctx.Err() != nil {
			return
		}
		l.log.Debug("link: not connected", "err", err, "retry", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// send moves frames from the queue to conn until either ends. The peer sends
// nothing on this connection, so a read that returns means that it is gone.
func (l *Link) send(ctx context.Context, conn *Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _, err := conn.ReadFrame(make([]byte, l.end.FrameSize()), 0)
		if err == nil {
			err = ErrFrame
		}
		cancel(fmt.Errorf("peer: %w", err))
	}()
	defer func() {
		_ = conn.Close() // the connection is given up
		<-gone
		cancel(nil)
	}()
	for {
		f, err := l.Get(ctx)
		if err != nil {
			return context.Cause(ctx)
		}
		if err := conn.WriteFrame(f.Kind, f.Body); err != nil {
			l.PutBack(f) // a duplicate is harmless: the peer's replay filter drops it
			return err
		}
		f.Tell(true)
	}
}
