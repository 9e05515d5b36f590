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
	"strconv"
	"strings"
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
// The library reads and writes from one goroutine, and during IDLE writes from
// a second one.
type wire struct {
	net.Conn
	s      *Server
	br     *bufio.Reader
	secure bool
	closer sync.Once
	// detached is set when the connection lives on in another wire. It has no
	// lock, since Close must not wait for a stuck write.
	detached atomic.Bool

	// These belong to the goroutine that reads.
	out  []byte // to be read by the library before anything else
	err  error  // ends reading for good
	raw  int64  // bytes of a literal to be read after out
	bad  int    // invalid commands in a row
	size int    // bytes of the command so far

	mu sync.Mutex // guards what follows, and that responses of ours stay whole
	// greeted is false while the library's greeting is to be swallowed, since the
	// client had one before STARTTLS.
	greeted  bool
	authed   bool // a login succeeded
	tag      string
	verb     string // of the last command, upper case
	state    state
	lit      literal
	asked    bool // the library has sent a continuation request
	deadline time.Time
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
}

func newWire(s *Server, conn net.Conn, secure bool) *wire {
	return &wire{Conn: conn, s: s, br: bufio.NewReader(conn), secure: secure, greeted: true}
}

// Close implements net.Conn; the library calls it once it is done.
func (w *wire) Close() error {
	var err error
	w.closer.Do(func() {
		if !w.detached.Load() {
			err = w.Conn.Close()
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

// SetReadDeadline implements net.Conn and remembers the deadline, which drain
// has to put back.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	w.deadline = t
	w.mu.Unlock()
	return w.Conn.SetReadDeadline(t)
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
	switch {
	case p[0] == '+' && (w.state == stateLiteral || w.state == stateAnswer):
		w.asked = true
		if w.state == stateLiteral && w.lit.nonSync {
			return n, nil // the client sends it unasked
		}
	case bytes.Contains(p, literalPlus) && (w.verb == "CAPABILITY" || w.verb == "LOGIN" || w.verb == "AUTHENTICATE"):
		// The library always announces LITERAL-, of which LITERAL+ is the larger
		// brother; one of them is enough (RFC 7888 section 5).
		p = bytes.Replace(p, literalMinus, nil, 1)
	case bytes.Equal(p, []byte(w.tag+libraryBug)):
		// The session has words of its own for internal errors. The library says
		// this only of arguments that it could not parse.
		p = []byte(w.tag + " BAD [CLIENTBUG] Syntax error in the arguments\r\n")
	}
	if _, err := w.Conn.Write(p); err != nil {
		return 0, err
	}
	return n, nil
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
	if err := w.Conn.SetWriteDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w.Conn, format+"\r\n", args...)
	return errors.Join(err, w.Conn.SetWriteDeadline(time.Time{}))
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
	st, asked, lit, verb := w.state, w.asked, w.lit, w.verb
	w.asked = false
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
	case st == stateRest:
		return w.rest(verb, lit)
	case st == stateAnswer && asked:
		return w.answer(verb)
	}
	w.set(stateCommand)
	return w.command()
}

func (w *wire) set(st state) {
	w.mu.Lock()
	w.state = st
	w.mu.Unlock()
}

// line reads up to and with the next line feed and returns it without its line
// ending. Of a line of more than limit bytes it returns only the end, and long.
func (w *wire) line(limit int) (line string, long bool, err error) {
	var b []byte
	total := 0
	for {
		part, err := w.br.ReadSlice('\n')
		total += len(part)
		b = append(b, part...)
		if total > limit+2 {
			b = b[max(0, len(b)-lineEnd):]
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", false, err
		}
		if total > maxDiscard {
			return "", true, w.bye("The line does not end")
		}
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), total > limit+2, nil
}

// lineEnd bytes are enough to see that a line ends in a literal's announcement.
const lineEnd = 64

// command reads the first line of a command.
func (w *wire) command() error {
	line, long, err := w.line(maxCommand)
	if err != nil {
		return err
	}
	tag, rest, ok := strings.Cut(line, " ")
	verb, args, _ := strings.Cut(rest, " ")
	switch {
	case long:
		return w.invalid("*", line, fmt.Sprintf("The command has more than %d bytes", maxCommand))
	case !ok || !isTag(tag) || !isName(verb):
		return w.invalid("*", line, "Syntax error: a command is a tag, a space and a name")
	}
	verb = strings.ToUpper(verb)
	if sub, _, _ := strings.Cut(args, " "); verb == "UID" && !isName(sub) {
		return w.invalid(tag, line, "Syntax error: UID is followed by a command's name")
	}
	w.mu.Lock()
	w.tag, w.verb, w.asked, w.lit = tag, verb, false, literal{}
	authed := w.authed
	w.mu.Unlock()
	w.size = len(line)
	if verb == "STARTTLS" && !w.secure && w.s.o.TLS != nil && !authed {
		if args != "" {
			return w.invalid(tag, line, "Syntax error: STARTTLS has no arguments")
		}
		return w.startTLS(tag)
	}
	if !balanced(line) || strings.ContainsRune(line, 0) {
		return w.invalid(tag, line, "Syntax error in the arguments")
	}
	w.bad = 0
	return w.hand(line, true)
}

// invalid answers BAD to a line that the library is not shown.
func (w *wire) invalid(tag, line, text string) error {
	if err := w.say("%s BAD %s", tag, text); err != nil {
		return err
	}
	if unread(line) {
		return w.bye("The literal cannot be told from commands")
	}
	if w.bad++; w.bad >= maxBadCommands {
		return w.bye("Too many invalid commands")
	}
	return nil
}

// unread reports whether a literal follows the line unasked.
func unread(line string) bool {
	_, _, nonSync, ok := cutLiteral(line)
	return ok && nonSync
}

// hand gives the library a line of a command, with its literal's announcement if
// it ends in one.
func (w *wire) hand(line string, first bool) error {
	head, size, nonSync, ok := cutLiteral(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.verb == "SEARCH" || w.verb == "UID" {
		head = guardSmaller(head)
		line = head // where there is no literal
	}
	if !ok {
		w.state = stateCommand
		if w.verb == "AUTHENTICATE" || w.verb == "IDLE" {
			w.state = stateAnswer
		}
		w.out = []byte(line + "\r\n")
		return nil
	}
	w.state = stateLiteral
	w.lit = literal{size: size, nonSync: nonSync}
	// The first argument of APPEND is a name, which may be a literal as well.
	w.lit.message = w.verb == "APPEND" && !(first && strings.Count(strings.TrimRight(head, " "), " ") == 1)
	if !w.lit.message && size > maxString {
		w.out = []byte(head + poison + "\r\n")
		return nil
	}
	w.out = fmt.Appendf(nil, "%s{%d}\r\n", head, size)
	return nil
}

// rest reads what follows a literal.
func (w *wire) rest(verb string, lit literal) error {
	line, long, err := w.line(maxCommand - min(w.size, maxCommand))
	if err != nil {
		return err
	}
	w.size += len(line)
	if lit.message && line != "" && line != ")" {
		// The library has stored the message by now and would answer nothing. A
		// second literal (MULTIAPPEND, which is not announced) must not look stored.
		return w.bye("APPEND takes one message")
	}
	if long || !balanced(line) || strings.ContainsRune(line, 0) {
		if unread(line) {
			return w.bye("The literal cannot be told from commands")
		}
		w.set(stateCommand)
		w.out = []byte(poison + "\r\n")
		return nil
	}
	return w.hand(line, false)
}

// answer reads the client's line after a continuation request.
func (w *wire) answer(verb string) error {
	line, long, err := w.line(maxAnswer)
	if err != nil {
		return err
	}
	if verb == "IDLE" {
		// What is not DONE ends IDLE just the same: the library would go on
		// without waiting for the session's answer.
		w.set(stateCommand)
		w.out = []byte("DONE\r\n")
		if long || !strings.EqualFold(line, "DONE") {
			return w.say("* BAD Expected DONE")
		}
		return nil
	}
	w.set(stateAnswer) // a mechanism may ask more than once
	if long {
		line = "*" // cancels (RFC 9051 section 6.2.2)
	}
	w.out = []byte(line + "\r\n")
	return nil
}

// drain reads and drops a refused literal and the rest of its command.
func (w *wire) drain(size int64) error {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.Conn.SetReadDeadline(w.deadline) // fails only with the connection, as the next read does
	}()
	for range maxLiterals {
		if size > maxDrain {
			return w.bye("The literal is too large")
		}
		for size > 0 {
			if err := w.Conn.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
				return err
			}
			n, err := io.CopyN(io.Discard, w.br, min(size, 1<<20))
			if err != nil {
				return err
			}
			size -= n
		}
		line, long, err := w.line(maxCommand)
		if err != nil {
			return err
		}
		var nonSync, ok bool
		if _, size, nonSync, ok = cutLiteral(line); long || !ok || !nonSync {
			return nil // a client sends a synchronizing literal only when asked
		}
	}
	return w.bye("Too many literals")
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
	if err := w.SetReadDeadline(time.Time{}); err != nil {
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
	w.s.secure.put(next)
	return io.EOF
}

type prefixed struct {
	net.Conn
	r io.Reader
}

func (p prefixed) Read(b []byte) (int, error) { return p.r.Read(b) }

// isTag follows the tag rule of RFC 9051 section 9, less ], which the library
// does not take.
func isTag(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\+]`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// cutLiteral splits a line before the {n} or {n+} at its end.
func cutLiteral(line string) (head string, size int64, nonSync, ok bool) {
	body, ok := strings.CutSuffix(line, "}")
	i := strings.LastIndexByte(body, '{')
	if !ok || i < 0 {
		return line, 0, false, false
	}
	digits, nonSync := strings.CutSuffix(body[i+1:], "+")
	for j := range len(digits) {
		if digits[j] < '0' || digits[j] > '9' {
			return line, 0, false, false
		}
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	if digits == "" {
		return line, 0, false, false
	}
	if err != nil {
		size = 1<<63 - 1 // more than anybody takes
	}
	return body[:i], size, nonSync, true
}

// balanced reports whether every quoted string ends: the library reads one
// across lines, and so would take the next commands for its text.
func balanced(line string) bool {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == '\\' && quoted:
			i++
		}
	}
	return !quoted
}
