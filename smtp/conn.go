package smtp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// A listener wraps what it accepts into conns and turns away what is too many.
type listener struct {
	net.Listener
	server *Server
	tls    *tls.Config // not nil if TLS comes first
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, server: l.server, sniff: l.tls == nil}
		if !l.server.add(c) {
			refuseConn(raw, l.tls == nil)
			continue
		}
		if l.tls != nil {
			return tls.Server(c, l.tls), nil
		}
		return c, nil
	}
}

// refuseConn ends a connection before it began; errors have nobody to go to.
func refuseConn(raw net.Conn, plain bool) {
	if plain {
		_ = raw.SetWriteDeadline(time.Now().Add(lingerFor))
		_, _ = io.WriteString(raw, "421 4.3.2 too many connections are open: close some and try again\r\n")
	}
	_ = raw.Close()
}

// add makes room for c, or returns false.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxConns {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// A conn is a client's connection below TLS. It sets the deadlines, bounds what
// a client may send before its login, and ends so that the last reply arrives.
type conn struct {
	net.Conn
	server *Server
	sniff  bool // look at the first byte: TLS does not belong here

	mu       sync.Mutex // guards what follows, and the order of deadlines
	loggedIn bool
	received int64 // bytes before the login
	probing  bool  // Read only tells whether the client is there
	gone     error // how reading ended, if it did
	ending   bool  // nothing more is read
	closing  bool  // the server closes: do not linger
	closed   bool
}

// Read refreshes the deadline, so that a long message is not cut by it: the
// library's own timeout runs once for a whole DATA.
func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	switch {
	case c.ending:
		c.mu.Unlock()
		return 0, io.EOF
	case c.probing && c.gone != nil:
		c.mu.Unlock()
		return 0, c.gone
	case c.probing:
		c.mu.Unlock()
		return 0, errThere
	}
	timeout := idleTimeout
	if !c.loggedIn {
		timeout = loginTimeout
	}
	err := c.SetReadDeadline(time.Now().Add(timeout))
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}

	n, err := c.Conn.Read(b)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.gone = err
	}
	if c.ending {
		return 0, io.EOF
	}
	if n > 0 && c.sniff {
		c.sniff = false
		if b[0] == 0x16 { // a TLS handshake record, RFC 8446 section 5.1
			return 0, c.refuseTLS()
		}
	}
	if !c.loggedIn {
		if c.received += int64(n); c.received > maxAnonymous {
			// The library answers this error with "too long line".
			return 0, gosmtp.ErrTooLongLine
		}
	}
	return n, err
}

// refuseTLS answers a client that began with TLS on the STARTTLS port. Most show
// the text or write it to their log. The caller holds c.mu.
func (c *conn) refuseTLS() error {
	c.ending = true
	c.server.log.Warn("smtp: a client began with TLS on the STARTTLS port; its connection security must be STARTTLS")
	_ = c.SetWriteDeadline(time.Now().Add(lingerFor))
	_, _ = io.WriteString(c.Conn, "500 5.5.1 this port begins without TLS: choose STARTTLS as the connection security\r\n")
	return io.EOF
}

func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	timeout := writeTimeout
	if c.closing {
		timeout = lingerFor
	}
	err := c.SetWriteDeadline(time.Now().Add(timeout))
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// errThere is what Read returns to a probe when there is nothing else to say.
// TLS takes it for a timeout, after which reading may go on.
var errThere net.Error = &net.OpError{Op: "probe", Err: os.ErrDeadlineExceeded}

// there reports whether the client had not ended its side of the connection by
// what has been read from it until now. top is c, or the TLS upon it. It is called
// while nobody reads.
func (c *conn) there(top net.Conn) bool {
	c.probe(true)
	defer c.probe(false)
	var b [1]byte
	n, err := top.Read(b[:])
	if n > 0 {
		// Something that follows was decrypted already, and a byte of it is
		// lost now: the client must say it again on another connection.
		c.end()
		return true
	}
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func (c *conn) probe(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing = on
}

// logIn lifts the limits of strangers.
func (c *conn) logIn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loggedIn = true
}

// end lets the client send no more; what is written still goes out.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
}

// shutDown is end from outside: a Read that waits returns.
func (c *conn) shutDown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending, c.closing = true, true
	// Errors mean that the connection is gone already.
	_ = c.SetReadDeadline(time.Unix(1, 0))
	_ = c.SetWriteDeadline(time.Now().Add(lingerFor))
}

// Close says that no more comes and gives the client a moment to read what was
// said: closing over unread input would make the system throw replies away.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed, c.ending = true, true
	linger := !c.closing
	if linger {
		linger = c.SetReadDeadline(time.Now().Add(lingerFor)) == nil
	}
	c.mu.Unlock()
	defer c.server.remove(c)

	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && linger {
		if half.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, c.Conn)
		}
	}
	return c.Conn.Close()
}

// connOf finds the conn beneath what the library holds.
func connOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*conn) // every connection comes from listener.Accept
}
