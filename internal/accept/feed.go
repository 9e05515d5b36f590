package accept

import "net"

// A Feed is a listener whose connections others put into it: a library takes them as if
// it had accepted them.
type Feed struct {
	conns chan net.Conn
	done  <-chan struct{}
}

var _ net.Listener = (*Feed)(nil)

// NewFeed returns a feed that ends with done.
func NewFeed(done <-chan struct{}) *Feed {
	return &Feed{conns: make(chan net.Conn), done: done}
}

// Put waits until c is accepted. It returns false if the feed ends before; c is the
// caller's then.
func (f *Feed) Put(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.done:
		return false
	}
}

// Accept implements net.Listener.
func (f *Feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; done is what ends a feed.
func (f *Feed) Close() error { return nil }

// Addr implements net.Listener.
func (f *Feed) Addr() net.Addr { return &net.TCPAddr{} }
