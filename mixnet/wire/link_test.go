package wire

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailproxy/mixnet/directory"
)

// testEnd makes an end with a new key.
func testEnd(t *testing.T) *End {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	end, err := NewEnd(key, 100, nil)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// A peer is the other end of a link within a bubble of synctest.
type peer struct {
	mu     sync.Mutex // guards all below
	dials  []time.Time
	refuse bool
	conns  []*Conn
	wg     sync.WaitGroup
}

// linkToPeer runs a link to a peer until the test ends.
func linkToPeer(t *testing.T, limit int) (*Link, *peer) {
	here, there, p := testEnd(t), testEnd(t), new(peer)
	ctx, cancel := context.WithCancel(t.Context())
	here.open = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dials = append(p.dials, time.Now())
		refuse := p.refuse
		p.wg.Go(func() {
			c, err := there.Accept(ctx, theirs, func(directory.Key) bool { return !refuse })
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
			for {
				if _, _, err := c.ReadFrame(make([]byte, there.FrameSize()), 0); err != nil {
					_ = c.Close() // ended
					return
				}
			}
		})
		return ours, nil
	}
	l := NewLink(here, "", there.Key(), limit, slog.New(slog.DiscardHandler))
	p.wg.Go(func() { l.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		p.hangUp()
		p.wg.Wait()
	})
	return l, p
}

func (p *peer) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close() // it may be closed
	}
	p.conns = nil
}

func (p *peer) dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.dials)
}

// TestRefusedLinkWaits: a peer that refuses the key lets the handshake succeed on
// our side, which must not make us connect again at once, for ever.
func TestRefusedLinkWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := linkToPeer(t, 4)
		synctest.Wait()
		if !l.Up() {
			t.Fatal("not connected")
		}
		time.Sleep(time.Minute)
		p.mu.Lock()
		p.refuse = true
		p.mu.Unlock()
		p.hangUp()
		before := p.dialled()
		time.Sleep(time.Second)
		if n := p.dialled() - before; n < 1 || n > 4 {
			t.Errorf("%d attempts in the first second after a good connection, want a few", n)
		}
		time.Sleep(time.Minute)
		before = p.dialled()
		time.Sleep(10 * time.Minute)
		if n := p.dialled() - before; n < 60 || n > 120 {
			t.Errorf("%d attempts in ten minutes, want one in 5 to 10 s", n)
		}
		if l.Up() {
			t.Error("up while the peer refuses")
		}
		p.mu.Lock()
		p.refuse = false
		p.mu.Unlock()
		time.Sleep(11 * time.Second)
		if !l.Up() {
			t.Error("not connected to a peer that lets us in again")
		}
	})
}

// TestQueueTellsWhatBecameOfFrames: each frame is written or dropped, never both.
func TestQueueTellsWhatBecameOfFrames(t *testing.T) {
	var written, dropped int
	frame := func(b byte) Frame {
		return Frame{Body: []byte{b}, Done: func(w bool) {
			if w {
				written++
			} else {
				dropped++
			}
		}}
	}
	q := NewQueue(3)
	for i := range byte(5) {
		q.Put(frame(i)) // 0 and 1 make room
	}
	f, err := q.Get(t.Context())
	if err != nil || f.Body[0] != 2 {
		t.Fatalf("frame %v, %v, want the oldest that is left", f.Body, err)
	}
	q.PutBack(f)
	if f, err = q.Get(t.Context()); err != nil || f.Body[0] != 2 {
		t.Errorf("frame %v, %v, want the one that was put back", f.Body, err)
	}
	q.Put(frame(5))
	q.PutBack(f) // no room
	if dropped != 3 || q.Len() != 3 {
		t.Errorf("%d dropped, %d wait, want 3 and 3", dropped, q.Len())
	}
	q.Close()
	q.Put(frame(6))
	if dropped != 7 || written != 0 || q.Len() != 0 {
		t.Errorf("%d dropped, %d written, %d wait after the end, want 7, 0, 0", dropped, written, q.Len())
	}
}

// TestLinkTellsWhatItWrote counts frames through a link whose connection ends.
func TestLinkTellsWhatItWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := linkToPeer(t, 4)
		synctest.Wait()
		var mu sync.Mutex
		told := map[bool]int{}
		put := func() {
			l.Put(Frame{Kind: KindPacket, Done: func(w bool) {
				mu.Lock()
				defer mu.Unlock()
				told[w]++
			}})
		}
		for range 10 {
			put()
			synctest.Wait()
		}
		p.hangUp()
		synctest.Wait()
		for range 6 {
			put() // while there is no connection
		}
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if told[true] != 14 || told[false] != 2 {
			t.Errorf("%d written, %d dropped, want 14 and 2", told[true], told[false])
		}
	})
}
