// Package sockstest is a small SOCKS5 proxy for tests: it takes CONNECT with a user
// name and a password (RFC 1928, RFC 1929), as Tor does, and remembers who asked for what.
// Only tests import it.
package sockstest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
)

// A Request is a connection that was asked for.
type Request struct {
	User, Password string
	Host           string // as it was given: a name is not resolved before
	Name           bool   // it was given as a name
	Port           int
}

// A Proxy runs from Start to Close.
type Proxy struct {
	listener net.Listener
	// resolve says where to connect instead, if it is not nil.
	resolve func(host string, port int) string
	wg      sync.WaitGroup

	mu       sync.Mutex // guards all below
	requests []Request
	conns    map[net.Conn]bool
	open     int // connections that carry something
}

// Start listens at address. resolve may say where to connect instead of where a client
// wants to; it may be nil.
func Start(address string, resolve func(host string, port int) string) (*Proxy, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{listener: l, resolve: resolve, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Requests returns what was asked for so far.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Open returns how many connections it carries now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// Close ends the proxy and all that goes through it.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close() // its other end sees to it
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close proxy: %w", err)
	}
	return nil
}

// keep notes a connection, to be closed with the proxy. It reports false after that.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close() // it may be closed
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.keep(c) {
			_ = c.Close() // the proxy ends
			return
		}
		p.wg.Go(func() {
			defer p.drop(c)
			_ = p.serve(c) // the client sees it
		})
	}
}

var errProtocol = errors.New("not what a SOCKS5 client with a password says")

// serve takes one client.
func (p *Proxy) serve(c net.Conn) error {
	r, err := request(c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.requests = append(p.requests, r)
	p.mu.Unlock()
	to := net.JoinHostPort(r.Host, strconv.Itoa(r.Port))
	if p.resolve != nil {
		to = p.resolve(r.Host, r.Port)
	}
	out, err := net.Dial("tcp", to)
	if err != nil {
		_, werr := c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0}) // connection refused
		return errors.Join(err, werr)
	}
	defer p.drop(out)
	if !p.keep(out) {
		return net.ErrClosed
	}
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	p.mu.Lock()
	p.open++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
	}()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(out, c)
		_ = out.Close() // ends the other direction
	})
	_, _ = io.Copy(c, out)
	_ = c.Close()
	both.Wait()
	return nil
}

// request reads what a client wants.
func request(c net.Conn) (r Request, err error) {
	read := func(n int) []byte {
		b := make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(c, b)
		}
		return b
	}
	say := func(b ...byte) {
		if err == nil {
			_, err = c.Write(b)
		}
	}
	hello := read(2)
	methods := read(int(hello[1]))
	if err == nil && (hello[0] != 5 || !slices.Contains(methods, 2)) {
		return r, errProtocol
	}
	say(5, 2) // user name and password
	r.User = string(read(int(read(2)[1])))
	r.Password = string(read(int(read(1)[0])))
	say(1, 0)
	head := read(4)
	if err == nil && (head[0] != 5 || head[1] != 1) {
		return r, errProtocol
	}
	switch head[3] {
	case 1:
		r.Host = net.IP(read(net.IPv4len)).String()
	case 3:
		r.Host, r.Name = string(read(int(read(1)[0]))), true
	case 4:
		r.Host = net.IP(read(net.IPv6len)).String()
	default:
		if err == nil {
			err = errProtocol
		}
	}
	port := read(2)
	r.Port = int(port[0])<<8 | int(port[1])
	return r, err
}
