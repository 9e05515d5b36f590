package imap

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds on what a client can send. The library's own line limit is 50 KiB,
// beyond which it runs the rest of the line as a command.
const (
	maxCommand  = 48 << 10  // bytes of a command, its literals not counted
	maxAnswer   = 4000      // bytes of a line that answers a continuation request
	maxString   = 4096      // bytes of a literal that is not a message (the library's limit)
	maxDiscard  = 1 << 20   // bytes of one line before the connection is given up
	maxDrain    = 512 << 20 // bytes of a refused literal that are read to stay in step
	maxLiterals = 100       // of one refused command

	maxPending   = 32 << 10 // bytes of responses that wait to be sent
	maxPiece     = 64 << 10 // bytes that a client has writeTimeout to take
	writeTimeout = 30 * time.Second
	byeTimeout   = 100 * time.Millisecond // the last words, which others wait for
)

// poison makes the library answer BAD wherever it stands: no rule of the grammar
// begins with it.
const poison = "\x01"

// A wire is a connection as the library sees it. It reads the client's lines and
// literals one at a time and hands over only what is bounded and well framed:
//
//   - A line that is too long, or no command at all, is answered BAD here; the
//     library would close the connection or run the rest as a command.
//   - Every literal is handed over as a synchronizing one. If the library does
//     not ask for it (the message is too large, the arguments before it are
//     wrong), the client's bytes are read and thrown away. The library leaves a
//     non-synchronizing literal that it refuses where it is, and so runs the
//     text of a mail as commands.
//   - STARTTLS is answered here; what follows is a new connection for the
//     library, so that nothing sent before TLS outlives it (RFC 9051 section
//     6.2.1).
//
// It also gathers what the library writes. The library flushes after each line of
// a response, so that a FETCH of a folder would be a system call, and a wake-up of
// the client, for every message. What is written waits here until the library
// wants to read (the command is done), or until there is much of it. What a client
// waits for in between, in IDLE and before a literal, is sent at once.
//
// The library reads and writes from one goroutine, and during IDLE writes from
// a second one.
type wire struct {
	net.Conn
	s      *Server
	br     *bufio.Reader
	secure bool
	closer sync.Once
	sent   bool // it was turned away for another; guarded by the server's mu
	// detached is set when the connection lives on in another wire. It has no
	// lock, since Close must not wait for a stuck write.
	detached atomic.Bool
	// account is what a login opened, nil before. It has no lock for the same reason.
	account atomic.Pointer[string]
	// waiting says that the library waits for the client, and has no response half
	// written.
	waiting atomic.Bool

	// These belong to the goroutine that reads.
	out  []byte // to be read by the library before anything else
	err  error  // ends reading for good
	raw  int64  // bytes of a literal to be read after out
	bad  int    // invalid commands in a row
	size int    // bytes of the command so far
	// deadline is that of the next read, armed the one that the connection has.
	deadline, armed time.Time

	mu sync.Mutex // guards what follows, and that responses of ours stay whole
	// greeted is false while the library's greeting is to be swallowed, since the
	// client had one before STARTTLS.
	greeted bool
	authed  bool // a login succeeded
	tag     string
	verb    string // of the last command, upper case; "UID COPY" is one
	search  searchFix
	utf8    bool // folder names are UTF-8, see wirenames.go
	state   state
	lit     literal
	asked   bool // the library has sent a continuation request
	// answered is set when the library has answered a command of which it has not
	// read the end, after a literal.
	answered bool
	pending  []byte // what was written and not yet sent
	failed   error  // of sending; all later writes fail with it
}

// state says what the client's next bytes are.
type state int

const (
	stateCommand state = iota // a new command
	stateRest                 // the rest of a command, after a literal
	stateLiteral              // a literal, if the library asks for it
	stateAnswer               // the answer to a continuation request, if there was one
)

// A literal is one that was announced, and not yet read.
type literal struct {
	size    int64
	nonSync bool // its bytes come whether it is wanted or not
	message bool // it is what APPEND appends
	paren   bool // a parenthesis is to follow it: APPEND's UTF8 (~{n}
}

func newWire(s *Server, conn net.Conn, secure bool) *wire {
	w := &wire{Conn: conn, s: s, secure: secure, greeted: true}
	w.br = bufio.NewReader(source{w})
	return w
}

// Close implements net.Conn; the library calls it once it is done.
func (w *wire) Close() error {
	var err error
	w.closer.Do(func() {
		if !w.detached.Load() {
			// The last words. Where another write holds the lock, it is stuck.
			if w.mu.TryLock() {
				err = w.flush()
				w.mu.Unlock()
			}
			err = errors.Join(err, w.Conn.Close())
		}
		w.s.untrack(w)
	})
	return err
}

// interrupt makes pending reads and writes fail, so that the library closes the
// wire.
func (w *wire) interrupt() {
	if w.detached.Load() {
		return
	}
	if c, ok := w.Conn.(*tls.Conn); ok {
		c.NetConn().Close() // tls.Conn.Close may wait for a stuck peer
		return
	}
	w.Conn.Close()
}

// dismiss tells the client why the connection ends, if it can be told at once, and
// interrupts it. One that waits for a response's end, or takes nothing, hears no more.
func (w *wire) dismiss(why string) {
	if w.detached.Load() {
		return
	}
	if w.mu.TryLock() {
		if w.waiting.Load() && w.failed == nil {
			p := fmt.Appendf(w.pending, "* BYE %s\r\n", why)
			if w.failed = w.Conn.SetWriteDeadline(time.Now().Add(byeTimeout)); w.failed == nil {
				_, w.failed = w.Conn.Write(p)
			}
			if w.failed == nil {
				w.failed = net.ErrClosed // nothing follows a BYE
			}
			w.pending = nil
		}
		w.mu.Unlock()
	}
	w.interrupt()
}

// SetWriteDeadline implements net.Conn and does nothing: send has deadlines of its
// own, since what is written is not sent at once.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn. The library sets several for each command;
// one counts once something is read from the connection, see source.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

// A source is what a wire's buffer is filled from.
type source struct{ w *wire }

// Read implements io.Reader. The deadlines are those of minutes: one that has moved
// by less than a second stays.
func (s source) Read(p []byte) (int, error) {
	w := s.w
	deadline := w.deadline
	if w.account.Load() == nil {
		if most := time.Now().Add(loginTimeout); deadline.IsZero() || deadline.After(most) {
			deadline = most
		}
	}
	if moved := deadline.Sub(w.armed); moved < 0 || moved >= time.Second {
		if err := w.Conn.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		w.armed = deadline
	}
	w.waiting.Store(true)
	n, err := w.Conn.Read(p)
	w.waiting.Store(false)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// RFC 9051 section 5.4: a client is told that it was silent for too long.
		return n, errors.Join(err, w.say("* BYE Nothing came for too long"))
	}
	return n, err
}

// Write implements net.Conn. The library flushes after each response, so that p
// begins with one.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	if n == 0 {
		return 0, nil
	}
	if !w.greeted {
		w.greeted = true
		return n, nil
	}
	if w.state == stateRest && bytes.HasPrefix(p, []byte(w.tag+" ")) {
		w.answered = true
	}
	switch {
	case p[0] == '+' && (w.state == stateLiteral || w.state == stateAnswer):
		w.asked = true
		if w.state == stateLiteral && w.lit.nonSync {
			return n, nil // the client sends it unasked
		}
	case (w.verb == "CAPABILITY" || w.verb == "LOGIN" || w.verb == "AUTHENTICATE") && bytes.Contains(p, literalPlus):
		// The library always announces LITERAL-, of which LITERAL+ is the larger
		// brother: announcing both says nothing more (RFC 7888).
		p = bytes.Replace(p, literalMinus, nil, 1)
	case w.search.saveOnly && bytes.HasPrefix(p, []byte("* ESEARCH ")):
		return n, nil
	case w.utf8 && p[0] == '*':
		p = unescapeNames(w.verb, p)
	case w.verb == "ENABLE" && bytes.HasPrefix(p, []byte("* ENABLED ")):
		w.utf8 = true // neither of those that it can name goes without
	case len(p) == len(w.tag)+len(libraryBug) && string(p) == w.tag+libraryBug:
		// The session has words of its own for internal errors. The library says
		// this only of arguments that it could not parse.
		p = []byte(w.tag + " BAD [CLIENTBUG] Syntax error in the arguments\r\n")
	}
	switch {
	case p[0] == '+' || w.state == stateAnswer: // the client's turn, without a Read
		w.pending = append(w.pending, p...)
		return n, w.flush()
	case len(p) >= maxPending:
		if err := w.flush(); err != nil {
			return 0, err
		}
		return n, w.send(p)
	}
	if w.pending = append(w.pending, p...); len(w.pending) >= maxPending {
		return n, w.flush()
	}
	return n, w.failed
}

// flush sends what waits. Callers hold w.mu.
func (w *wire) flush() error {
	if len(w.pending) == 0 {
		return w.failed
	}
	err := w.send(w.pending)
	w.pending = w.pending[:0]
	return err
}

// send writes p to the connection, a piece at a time, so that a client that takes
// a large message slowly is not cut off. Callers hold w.mu.
func (w *wire) send(p []byte) error {
	for len(p) > 0 && w.failed == nil {
		n := min(len(p), maxPiece)
		if w.failed = w.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); w.failed == nil {
			_, w.failed = w.Conn.Write(p[:n])
		}
		p = p[n:]
	}
	return w.failed
}

var (
	literalPlus  = []byte(" LITERAL+")
	literalMinus = []byte(" LITERAL-")
)

const libraryBug = " NO [SERVERBUG] Internal server error\r\n"

// say writes a response of our own.
func (w *wire) say(format string, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.flush(); err != nil {
		return err
	}
	return w.send(fmt.Appendf(nil, format+"\r\n", args...))
}

// bye says goodbye; the library then sees the end of the connection.
func (w *wire) bye(text string) error {
	if err := w.say("* BYE %s", text); err != nil {
		return err
	}
	return io.EOF
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	for len(w.out) == 0 {
		w.mu.Lock()
		err := w.flush() // the library has no more to say to what it has read
		w.mu.Unlock()
		if err != nil {
			return 0, err
		}
		if w.raw > 0 {
			n, err := w.br.Read(p[:min(int64(len(p)), w.raw)])
			w.raw -= int64(n)
			return n, err
		}
		if w.err == nil {
			w.err = w.next()
		}
		if w.err != nil {
			return 0, w.err
		}
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}

// next reads one line, or learns what became of a literal.
func (w *wire) next() error {
	w.mu.Lock()
	st, asked, answered, lit, verb := w.state, w.asked, w.answered, w.lit, w.verb
	w.asked, w.answered = false, false
	w.mu.Unlock()
	switch {
	case st == stateLiteral && asked:
		w.raw = lit.size
		w.set(stateRest)
		return nil
	case st == stateLiteral:
		w.set(stateCommand)
		if lit.nonSync {
			return w.drain(lit.size)
		}
		return nil
	case st == stateRest && answered:
		// The library would take it for a command.
		w.set(stateCommand)
		return w.drain(0)
	case st == stateRest:
		return w.rest(verb, lit)
	case st == stateAnswer && asked:
		return w.answer(verb)
	}
	w.set(stateCommand)
	return w.command()
}

// running returns the name of the command that the library carries out.
func (w *wire) running() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.verb
}

func (w *wire) set(st state) {
	w.mu.Lock()
	w.state = st
	w.mu.Unlock()
}

// startTLS answers STARTTLS, shakes hands and hands the connection on.
func (w *wire) startTLS(tag string) error {
	if err := w.say("%s OK Begin TLS negotiation now", tag); err != nil {
		return err
	}
	// What the client sent too early goes into the handshake, which it breaks.
	early, err := w.br.Peek(w.br.Buffered())
	if err != nil {
		return err
	}
	var conn net.Conn = w.Conn
	if len(early) > 0 {
		conn = prefixed{conn, io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)}
	}
	if err := w.Conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	secured := tls.Server(conn, w.s.o.TLS)
	ctx, cancel := context.WithTimeout(w.s.ctx, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		w.s.log.Debug("imap: tls handshake failed", "err", err)
		return io.EOF
	}
	next := newWire(w.s, secured, true)
	next.greeted = false
	w.detached.Store(true)
	if _, err := w.s.track(next); err != nil {
		return errors.Join(io.EOF, secured.Close())
	}
	next.handTo(w.s.secure)
	return io.EOF
}

type prefixed struct {
	net.Conn
	r io.Reader
}

func (p prefixed) Read(b []byte) (int, error) { return p.r.Read(b) }
