// Package socks makes connections through a SOCKS5 proxy (RFC 1928), such as Tor's.
//
// Nothing is resolved here: a name goes to the proxy as it is. Each connection shows
// the proxy a user name and a password of its own (RFC 1929), drawn at random. They
// let nobody in: Tor puts connections with different ones on different circuits
// (IsolateSOCKSAuth, which is on by default), and other proxies pass them over. There is no
// way around the proxy: if it does not answer, there is no connection.
//
// It is a leaf. The user's daemon and its command line use it for all that they fetch.
package socks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/net/proxy"
)

// A Dialer makes connections through one proxy. Its methods may be called from any
// goroutine.
type Dialer struct{ address string }

// New returns the dialer for the proxy at address, "127.0.0.1:9050". It connects to
// nothing.
func New(address string) (*Dialer, error) {
	host, port, err := net.SplitHostPort(address)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
		return nil, fmt.Errorf("%q is not the address of a SOCKS5 proxy: write host and port, for Tor usually 127.0.0.1:9050", address)
	}
	return &Dialer{address}, nil
}

// An Error says what kept the proxy from connecting.
type Error struct {
	Proxy string // its address
	Down  bool   // it was not reached itself
	Err   error
}

func (e *Error) Error() string {
	if e.Down {
		return fmt.Sprintf("connect to the SOCKS5 proxy at %s: %v", e.Proxy, e.Err)
	}
	return fmt.Sprintf("connect through the SOCKS5 proxy at %s: %v", e.Proxy, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reason says to a user what is wrong, and what to do.
func (e *Error) Reason() string {
	if e.Down {
		return fmt.Sprintf("the SOCKS5 proxy at %s does not answer; start it (Tor, perhaps), or correct socks5 in the configuration. Nothing goes past it; trying again", e.Proxy)
	}
	cause := e.Err
	var op *net.OpError
	if errors.As(cause, &op) { // it repeats the addresses
		cause = op.Err
	}
	return fmt.Sprintf("the SOCKS5 proxy at %s has not connected to the gateway (%v); trying again", e.Proxy, cause)
}

// isolation is how many random characters a user name and a password have. RFC 1929
// allows 255.
const isolation = 24

// DialContext connects to address, host and port, over network "tcp". All errors but
// that of a wrong address are of type *Error.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var to capture
	auth := &proxy.Auth{User: rand.Text()[:isolation], Password: rand.Text()[:isolation]}
	through, err := proxy.SOCKS5("tcp", d.address, auth, &to)
	if err != nil {
		return nil, fmt.Errorf("use SOCKS5 proxy: %w", err)
	}
	if _, err := through.(proxy.ContextDialer).DialContext(ctx, network, address); err != nil {
		return nil, &Error{Proxy: d.address, Down: to.conn == nil, Err: err}
	}
	// The connection itself, which has all that TCP offers: what is read and written
	// is the same.
	return to.conn, nil
}

// A capture connects to the proxy, and keeps the connection.
type capture struct {
	dialer net.Dialer
	conn   net.Conn
}

var _ proxy.ContextDialer = (*capture)(nil)

// Dial implements proxy.Dialer.
func (c *capture) Dial(network, address string) (net.Conn, error) {
	return c.DialContext(context.Background(), network, address)
}

// DialContext implements proxy.ContextDialer.
func (c *capture) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dialer.DialContext(ctx, network, address)
	if err == nil {
		c.conn = conn
	}
	return conn, err
}
