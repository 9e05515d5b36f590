package accept

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// listener gives what the test puts into it.
type listener struct {
	results chan error // nil: a connection
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case err := <-l.results:
		if err != nil {
			return nil, err
		}
		c, _ := net.Pipe()
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
		close(l.closed)
		return nil
	}
}

func (l *listener) Addr() net.Addr { return nil }

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{results: make(chan error, 8), closed: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		var admitted atomic.Int32
		result := make(chan error, 1)
		start := time.Now()
		go func() { result <- Loop(ctx, l, slog.New(slog.DiscardHandler), func(net.Conn) { admitted.Add(1) }) }()
		l.results <- nil
		l.results <- errors.New("too many open files")
		l.results <- errors.New("too many open files")
		l.results <- nil
		synctest.Wait()
		if n := admitted.Load(); n != 1 {
			t.Errorf("admitted %d before the failures pass, want 1", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := admitted.Load(); n != 2 {
			t.Errorf("admitted %d after %v, want 2", n, time.Since(start))
		}
		cancel()
		if err := <-result; err != nil {
			t.Errorf("Loop = %v after its context ended", err)
		}
	})
	l := &listener{results: make(chan error), closed: make(chan struct{})}
	l.Close()
	if err := Loop(t.Context(), l, slog.New(slog.DiscardHandler), nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Loop = %v on a closed listener", err)
	}
}

// What is put into a feed is accepted; when it has ended, nothing is.
func TestFeed(t *testing.T) {
	done := make(chan struct{})
	f := NewFeed(done)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	put := make(chan bool, 1)
	go func() { put <- f.Put(ours) }()
	if c, err := f.Accept(); err != nil || c != ours || !<-put {
		t.Errorf("accepted %v, %v", c, err)
	}
	close(done)
	if f.Put(ours) {
		t.Error("a feed that has ended took a connection")
	}
	if _, err := f.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a feed that has ended: %v", err)
	}
	if err := errors.Join(f.Close(), ours.Close()); err != nil {
		t.Error(err)
	}
}
