package smtp

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
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
		c := newConn(l.server, raw, l.tls)
		if !l.server.add(c) {
			refuseConn(raw, l.tls == nil)
			continue
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

// add makes room for c, or returns false. When too many are open, c is in the place of
// the oldest that has not logged in: other people of this machine, who cannot, do not
// keep the owner out.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= 2*maxConns { // those that are sent away take a moment to go
		return false
	}
	if len(s.conns) >= maxConns && !s.makeRoom() {
		return false
	}
	s.came++
	s.conns[c] = s.came
	return true
}

// makeRoom sends the oldest stranger away; false means that there is none. Callers hold
// s.mu.
func (s *Server) makeRoom() bool {
	var oldest *conn
	for c, came := range s.conns {
		if (oldest == nil || came < s.conns[oldest]) && c.stranger() {
			oldest = c
		}
	}
	if oldest == nil {
		return false
	}
	oldest.shutDown("421 4.3.2 too many connections are open, and this one had not logged in")
	return true
}

// replace gives the place of old to next, which the secure server goes on with; false
// if the server closes.
func (s *Server) replace(old, next *conn) bool {
	s.mu.Lock()
	closed, came := s.closed, s.conns[old]
	delete(s.conns, old)
	if !closed {
		s.conns[next] = came
	}
	s.mu.Unlock()
	if closed {
		return false
	}
	if !s.feed.Put(next) {
		s.remove(next)
		return false
	}
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// A conn is a client's connection, as the library has it: above TLS, of which the
// library knows nothing. It sets the deadlines, does STARTTLS, bounds what a client
// may send before its login, puts the library's replies into words that help, and
// ends so that the last reply arrives.
type conn struct {
	net.Conn          // raw, or the TLS upon it
	raw      net.Conn // as accepted
	server   *Server
	secure   bool // Conn is TLS
	sniff    bool // look at the first byte: TLS does not belong here
	// Of the goroutine that writes replies: the handshake is done; the next line is
	// a greeting behind STARTTLS, where there is none; what of a line was written.
	shaken, quiet bool
	line          []byte

	mu       sync.Mutex // guards what follows, and the order of deadlines
	loggedIn bool
	account  string // of the login
	received int64  // bytes before the login
	inBody   bool   // what is read is of a message that follows DATA
	command  commandLine
	gone     error  // how reading ended, if it did
	handed   bool   // STARTTLS: another conn goes on with raw
	ending   bool   // nothing more is read
	closing  bool   // the server closes: do not linger
	farewell string // what is said then
	closed   bool
}

// newConn wraps a connection that was accepted; config is not nil if TLS comes first.
func newConn(s *Server, raw net.Conn, config *tls.Config) *conn {
	c := &conn{Conn: raw, raw: raw, server: s, sniff: config == nil}
	if config != nil {
		c.Conn, c.secure = tls.Server(raw, config), true
	}
	return c
}

// Read refreshes the deadline, so that a long message is not cut by it: the
// library's own timeout runs once for a whole DATA.
func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return 0, io.EOF
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
	if !c.inBody && !c.command.take(b[:n]) {
		return 0, gosmtp.ErrTooLongLine
	}
	return n, err
}

// body says that what is read now is of a message, or is not any more.
func (c *conn) body(in bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inBody != in {
		c.inBody, c.command = in, commandLine{}
	}
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

// Write takes the library's replies, a line or less at a time.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.handshake(); err != nil {
		return 0, err
	}
	for rest := b; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		rest = after
		c.line = append(c.line, line...)
		if !whole {
			break
		}
		reply := string(bytes.TrimSuffix(c.line, []byte{'\r'}))
		c.line = c.line[:0]
		if err := c.reply(reply); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// reply sends a line of the library's, in our words.
func (c *conn) reply(line string) error {
	c.mu.Lock()
	handed := c.handed
	c.mu.Unlock()
	switch {
	case handed:
		return nil // to what followed STARTTLS in clear text (RFC 3207 section 4.2)
	case c.quiet:
		c.quiet = false
		return nil
	case line == startTLSReply && !c.secure && c.server.opts.TLS != nil:
		return c.startTLS()
	}
	return c.send(c.reword(line) + "\r\n")
}

func (c *conn) send(s string) error {
	c.mu.Lock()
	timeout := writeTimeout
	if c.closing {
		timeout = lingerFor
	}
	err := c.SetWriteDeadline(time.Now().Add(timeout))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = io.WriteString(c.Conn, s)
	return err
}

// handshake does TLS, once, within the time that a stranger has.
func (c *conn) handshake() error {
	t, ok := c.Conn.(*tls.Conn)
	if !ok || c.shaken {
		return nil
	}
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return net.ErrClosed
	}
	err := c.SetDeadline(time.Now().Add(loginTimeout))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := t.Handshake(); err != nil {
		c.end() // there is nobody to talk to
		return fmt.Errorf("tls handshake: %w", err)
	}
	c.shaken = true
	return nil
}

// startTLS answers STARTTLS, and gives the connection to the server for those that
// are secure. The library, which knows neither, reads to an end here: so nothing that
// came with STARTTLS in clear text counts inside TLS (RFC 3207 section 4.2), nor does
// what was said before it.
func (c *conn) startTLS() error {
	if err := c.send("220 2.0.0 begin TLS\r\n"); err != nil {
		return err
	}
	next := newConn(c.server, c.raw, c.server.opts.TLS)
	next.quiet = true
	c.mu.Lock()
	c.handed, c.ending = true, true
	c.mu.Unlock()
	if !c.server.replace(c, next) {
		return errors.Join(net.ErrClosed, c.raw.Close())
	}
	return nil
}

// there reports whether the client had not ended its side of the connection by
// what has been read from it until now.
func (c *conn) there() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone == nil
}

// over reports whether what is said on this connection counts no more.
func (c *conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handed
}

// logIn lifts the limits of strangers.
func (c *conn) logIn(account string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loggedIn, c.account = true, account
}

// stranger reports whether the client has not logged in, and may still do it.
func (c *conn) stranger() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.loggedIn && !c.closing
}

// may reports whether the client is logged in as account, or might be about to.
func (c *conn) may(account string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.loggedIn || c.account == account
}

// end lets the client send no more; what is written still goes out.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
}

// shutDown is end from outside: a Read that waits returns. RFC 5321 section 3.8 wants a
// reply of 421 before the end, which is farewell.
func (c *conn) shutDown(farewell string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending, c.closing, c.farewell = true, true, farewell
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
	if c.handed {
		c.mu.Unlock()
		return nil // the connection lives on
	}
	linger, farewell := !c.closing, c.farewell
	if linger {
		linger = c.SetReadDeadline(time.Now().Add(lingerFor)) == nil
	}
	c.mu.Unlock()
	defer c.server.remove(c)

	if _, secure := c.Conn.(*tls.Conn); farewell != "" && (!secure || c.shaken) {
		_ = c.send(farewell + "\r\n") // who does not take it is gone
	}
	if t, ok := c.Conn.(*tls.Conn); ok && c.shaken {
		_ = t.SetWriteDeadline(time.Now().Add(lingerFor))
		_ = t.CloseWrite() // who does not take it is gone
	}
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok && linger {
		if half.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, c.raw)
		}
	}
	return c.raw.Close()
}
