package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A forwarder stands between clients and their gateways, as a network does. It can be
// down, and it can swallow what the connections of so far carry, without ever ending
// them.
type forwarder struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex // guards all below
	down  bool       // no connection is had
	hold  bool       // connections are had, and carry nothing
	dials int
	paths map[*path]bool
}

// A path is one connection through a forwarder.
type path struct {
	mu    sync.Mutex // guards dead
	dead  bool       // it swallows everything from now on
	ended chan struct{}
	ends  [2]net.Conn
}

var errDown = errors.New("the network is unreachable")

func newForwarder(t *testing.T) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{listener: l, paths: map[*path]bool{}}
	f.wg.Go(f.accept)
	t.Cleanup(func() {
		_ = l.Close() // ends accept
		f.mu.Lock()
		for p := range f.paths {
			p.close()
		}
		f.paths = nil
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

// open is what builtin.Config.Open is given.
func (f *forwarder) open(ctx context.Context, _, address string) (net.Conn, error) {
	f.mu.Lock()
	down := f.down
	if !down {
		f.dials++
	}
	f.mu.Unlock()
	if down {
		return nil, errDown
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", f.listener.Addr().String())
	if err == nil {
		_, err = fmt.Fprintln(c, address)
	}
	return c, err
}

// set changes how the network is. With dead, what is connected swallows everything.
func (f *forwarder) set(down, hold, dead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.hold = down, hold
	if dead {
		for p := range f.paths {
			p.kill()
		}
	}
}

func (f *forwarder) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

func (f *forwarder) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.wg.Go(func() { f.serve(c) })
	}
}

func (f *forwarder) serve(c net.Conn) {
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	var out net.Conn
	if err == nil {
		out, err = net.Dial("tcp", strings.TrimSpace(line))
	}
	if err != nil {
		_ = c.Close()
		return
	}
	p := &path{ended: make(chan struct{}), ends: [2]net.Conn{c, out}}
	f.mu.Lock()
	if f.paths == nil {
		f.mu.Unlock()
		p.close()
		return
	}
	f.paths[p] = true
	if f.hold {
		p.kill()
	}
	f.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(out, in) })
	both.Go(func() { p.copy(c, out) })
	both.Wait()
	f.mu.Lock()
	delete(f.paths, p)
	f.mu.Unlock()
}

func (p *path) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
}

func (p *path) killed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *path) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
	default:
		close(p.ended)
	}
	for _, c := range p.ends {
		_ = c.Close() // it may be closed
	}
}

// copy carries what one side says, until that ends. Of a dead path nothing is told to
// the other side, not even its end.
func (p *path) copy(to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if p.killed() {
			if err != nil {
				<-p.ended
				return
			}
			continue
		}
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			p.close()
			return
		}
	}
}

// A sleepyClock stands still while the machine sleeps, and is right when it wakes.
type sleepyClock struct {
	mu    sync.Mutex // guards stood
	stood time.Time  // zero: it goes
}

func (c *sleepyClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stood.IsZero() {
		return c.stood
	}
	return time.Now().Round(0)
}

func (c *sleepyClock) sleep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stood = time.Now().Round(0)
}

func (c *sleepyClock) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stood = time.Time{}
}
