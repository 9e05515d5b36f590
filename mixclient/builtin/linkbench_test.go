package builtin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// A fakeLink is a connection to a gateway that says nothing but what reply is given.
type fakeLink struct {
	written chan struct{} // a token per frame
	replies chan struct{} // a token makes a reply that nobody asked for
	closed  chan struct{}
	full    bool // the gateway has no room
	local   net.Addr
	once    sync.Once
}

func (l *fakeLink) LocalAddr() net.Addr { return l.local }

func (l *fakeLink) WriteFrame(byte, []byte) error {
	select {
	case <-l.closed:
		return io.ErrClosedPipe
	case l.written <- struct{}{}:
		return nil
	}
}

func (l *fakeLink) ReadFrame(buf []byte, idle time.Duration) (byte, []byte, error) {
	if l.full {
		return wire.KindFull, buf[wire.FrameHeader:], nil
	}
	select {
	case <-l.closed:
		return 0, nil, io.ErrClosedPipe
	case <-time.After(idle):
		return 0, nil, os.ErrDeadlineExceeded
	case <-l.replies:
		return wire.KindReply, buf[wire.FrameHeader:], nil
	}
}

func (l *fakeLink) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// A linkBench is a client in a bubble of synctest. Its slots carry packets of
// nothing, its gateway is a fakeLink.
type linkBench struct {
	*Client
	t      *testing.T
	ctx    context.Context
	jump   time.Duration // of the wall clock; only touched while all wait
	refuse bool          // no connection is had
	full   bool          // connections are had, and the gateway has no room
	mute   bool          // nothing comes from the gateway
	here   net.IP        // this machine's address; nil: none but of loopback
	dials  []time.Time
	links  []*fakeLink
	slots  map[Process][]time.Time
	mu     sync.Mutex // guards all above
}

func newLinkBench(t *testing.T) *linkBench {
	p := directory.DefaultParameters()
	doc := &directory.Document{Parameters: p}
	b := &linkBench{t: t, slots: map[Process][]time.Time{}}
	var stop context.CancelFunc
	b.ctx, stop = context.WithCancel(t.Context())
	b.Client = &Client{
		doc: doc, views: directory.NewViews(doc), log: slog.New(slog.DiscardHandler), seed: newLockedRand(),
		gateway: &directory.Node{}, pending: map[sphinx.SURBID]*flight{}, cancel: stop,
		events: make(chan mixclient.Event, 1), awake: make(chan struct{}, 1),
	}
	b.now = func() time.Time {
		b.mu.Lock()
		defer b.mu.Unlock()
		return time.Now().Round(0).Add(b.jump)
	}
	b.addresses = func() ([]net.Addr, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return []net.Addr{&net.IPNet{IP: net.IPv4(127, 0, 0, 1)}, &net.IPNet{IP: b.here}}, nil
	}
	b.dial = func(context.Context) (link, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dials = append(b.dials, time.Now())
		if b.refuse {
			return nil, errors.New("the network is down")
		}
		l := &fakeLink{written: make(chan struct{}, 1e6), replies: make(chan struct{}), closed: make(chan struct{}), full: b.full, local: &net.TCPAddr{IP: b.here}}
		b.links = append(b.links, l)
		return l, nil
	}
	b.Client.slots = func(s Slot) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.slots[s.Process] = append(b.slots[s.Process], s.Timing.Sent)
	}
	b.wg.Go(func() { b.connect(b.ctx) })
	b.wg.Go(func() { b.watch(b.ctx) })
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// run starts the processes, with packets of nothing.
func (b *linkBench) run() {
	p := b.doc.Parameters
	id := uint64(0)
	empty := func() *flight {
		b.Client.mu.Lock()
		defer b.Client.mu.Unlock()
		if b.link == nil {
			return nil
		}
		id++
		f := &flight{done: func([]byte, mixclient.Timing, error) {}}
		for i := range 8 {
			f.id[i] = byte(id >> (8 * i))
		}
		return f
	}
	b.wg.Go(func() { b.process(b.ctx, QueryProcess, p.QueryRate, empty) })
	b.wg.Go(func() { b.process(b.ctx, ReadProcess, p.ReadRate, empty) })
	b.wg.Go(func() { b.process(b.ctx, LoopProcess, p.LoopRate, empty) })
}

// talk has the gateway reply once a second, until the bench ends.
func (b *linkBench) talk() {
	b.wg.Go(func() {
		for {
			select {
			case <-b.ctx.Done():
				return
			case <-time.After(time.Second):
			}
			b.mu.Lock()
			var l *fakeLink
			if len(b.links) > 0 && !b.mute {
				l = b.links[len(b.links)-1]
			}
			b.mu.Unlock()
			if l == nil {
				continue
			}
			select {
			case l.replies <- struct{}{}:
			case <-l.closed:
			case <-b.ctx.Done():
				return
			}
		}
	})
}

// set changes the bench.
func (b *linkBench) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// newest returns the last link, and how many there were.
func (b *linkBench) newest() (*fakeLink, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.links) == 0 {
		return nil, 0
	}
	return b.links[len(b.links)-1], len(b.links)
}

// between counts the slots from one time to another, and returns the most in any
// second.
func (b *linkBench) between(p Process, from, to time.Time) (n, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	times := b.slots[p]
	for i, s := range times {
		if s.Before(from) || !s.Before(to) {
			continue
		}
		n++
		near := 0
		for _, other := range times[i:] {
			if other.Sub(s) > time.Second {
				break
			}
			near++
		}
		most = max(most, near)
	}
	return n, most
}
