package pop3

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/emersion/go-sasl"

	"mailproxy/internal/pause"
	"mailproxy/proxy/mailbox"
)

// errQuit ends a session in good order.
var errQuit = errors.New("quit")

// A session is one connection. All of it belongs to one goroutine.
type session struct {
	s        *Server
	accepted net.Conn // before STLS
	conn     net.Conn
	secure   bool
	r        *bufio.Reader
	w        *bufio.Writer

	user     string // of USER, until PASS
	failures int    // wrong passwords so far
	bad      int    // invalid commands in a row

	// The maildrop, once logged in. Messages keep their numbers; what another
	// session removes meanwhile is answered -ERR.
	account  *mailbox.Account
	inbox    *mailbox.Folder
	messages []mailbox.Message
	deleted  map[int]bool // by index in messages
}

func newSession(s *Server, conn net.Conn) *session {
	ss := &session{s: s, accepted: conn}
	_, ss.secure = conn.(*tls.Conn)
	ss.use(conn)
	return ss
}

func (ss *session) use(conn net.Conn) {
	ss.conn = conn
	ss.r = bufio.NewReaderSize(conn, maxAnswer)
	ss.w = bufio.NewWriterSize(timedWriter{conn}, 16<<10)
}

// A timedWriter gives each write writeTimeout: a client that has stopped reading
// does not keep the maildrop locked.
type timedWriter struct{ conn net.Conn }

func (w timedWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return w.conn.Write(p)
}

func (ss *session) serve() {
	defer func() { ss.conn.Close() }()
	defer ss.release()
	if c, ok := ss.conn.(*tls.Conn); ok && !ss.handshake(c) {
		return
	}
	err := ss.run()
	// Any other error is a client that went away; its deletions are void (RFC 1939
	// section 6).
	if err != nil && !errors.Is(err, errQuit) {
		ss.s.log.Debug("pop3: connection ended", "err", err)
	}
}

// refuse turns a client away, with a sentence if that needs no handshake.
func (ss *session) refuse() {
	defer ss.conn.Close()
	if ss.secure {
		return
	}
	// A client that does not take it learns nothing, and is gone all the same.
	_ = errors.Join(ss.err("SYS/TEMP", "Too many connections are open: close some mail programs and try again"), ss.w.Flush())
}

func (ss *session) handshake(c *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(ss.s.ctx, handshakeTimeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		ss.s.log.Debug("pop3: tls handshake failed", "err", err)
		return false
	}
	return true
}

// release gives up the maildrop, if it is held.
func (ss *session) release() {
	if ss.account != nil {
		ss.s.unlock(ss.account.Name())
		ss.account = nil
	}
}

func (ss *session) run() error {
	if err := ss.ok("mailproxy ready"); err != nil {
		return err
	}
	for {
		line, err := ss.line(maxLine)
		switch {
		case errors.Is(err, errLong):
			err = ss.invalid(fmt.Sprintf("A command has at most %d bytes", maxLine))
		case err != nil:
			return err
		default:
			var c command
			if c, err = parseCommand(line); err != nil {
				err = ss.invalid("Syntax error: that is no POP3 command")
			} else {
				err = ss.handle(c)
			}
		}
		if err != nil {
			return errors.Join(err, ss.w.Flush())
		}
	}
}

var errLong = errors.New("line is too long")

// line reads a line without its line ending; errLong if it has more than limit
// bytes, all of which are then read. Answers are sent only when no further
// command waits, which is what PIPELINING is for.
func (ss *session) line(limit int) ([]byte, error) {
	if ss.r.Buffered() == 0 {
		if err := ss.w.Flush(); err != nil {
			return nil, err
		}
	}
	timeout := idleTimeout
	if ss.account == nil {
		timeout = loginTimeout
	}
	if err := ss.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	total := 0
	for {
		part, err := ss.r.ReadSlice('\n')
		total += len(part)
		switch {
		case err == nil && total <= limit+2 && total == len(part):
			return bytes.TrimSuffix(bytes.TrimSuffix(part, []byte("\n")), []byte("\r")), nil
		case err == nil:
			return nil, errLong
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case total > maxDiscard:
			return nil, errors.Join(ss.err("", "The line does not end"), errors.New("line does not end"), ss.w.Flush())
		}
		if err := ss.w.Flush(); err != nil {
			return nil, err
		}
	}
}

func (ss *session) ok(format string, args ...any) error {
	_, err := fmt.Fprintf(ss.w, "+OK "+format+"\r\n", args...)
	return err
}

// err answers -ERR with a response code (RFC 2449 section 8), if there is one.
func (ss *session) err(code, text string) error {
	if code != "" {
		code = "[" + code + "] "
	}
	_, err := fmt.Fprintf(ss.w, "-ERR %s%s\r\n", code, text)
	return err
}

func (ss *session) invalid(text string) error {
	if err := ss.err("", text); err != nil {
		return err
	}
	if ss.bad++; ss.bad >= maxBadCommands {
		return errors.New("too many invalid commands")
	}
	return nil
}

// handle runs one command. An error ends the connection.
func (ss *session) handle(c command) error {
	in := ss.account != nil
	before := map[string]func(command) error{
		"CAPA": ss.capa, "STLS": ss.stls, "USER": ss.userCmd, "PASS": ss.pass, "AUTH": ss.auth, "QUIT": ss.quit,
	}
	after := map[string]func(command) error{
		"CAPA": ss.capa, "STAT": ss.stat, "LIST": ss.list, "UIDL": ss.list, "RETR": ss.retr, "TOP": ss.top,
		"DELE": ss.dele, "RSET": ss.rset, "NOOP": ss.noop, "QUIT": ss.quit,
	}
	state, other := before, after
	if in {
		state, other = after, before
	}
	f := state[c.verb]
	switch {
	case f != nil:
		ss.bad = 0
		return f(c)
	case other[c.verb] != nil && in:
		return ss.invalid("That is done before logging in")
	case other[c.verb] != nil:
		return ss.invalid("Log in first")
	}
	return ss.invalid("Unknown command")
}

// mayLogin reports whether passwords may be sent on this connection.
func (ss *session) mayLogin() bool { return ss.secure || ss.s.o.AllowPlaintext }

func (ss *session) capa(c command) error {
	if c.arg != "" {
		return ss.invalid("CAPA has no arguments")
	}
	caps := []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "IMPLEMENTATION mailproxy"}
	if ss.mayLogin() {
		caps = append(caps, "USER", "SASL PLAIN")
	}
	if ss.account == nil && !ss.secure && ss.s.o.TLS != nil {
		caps = append(caps, "STLS")
	}
	if err := ss.ok("Capabilities follow"); err != nil {
		return err
	}
	for _, name := range caps {
		fmt.Fprintf(ss.w, "%s\r\n", name) // a bufio.Writer keeps its error
	}
	_, err := ss.w.WriteString(".\r\n")
	return err
}

func (ss *session) stls(c command) error {
	switch {
	case c.arg != "":
		return ss.invalid("STLS has no arguments")
	case ss.secure:
		return ss.invalid("TLS is active already")
	case ss.s.o.TLS == nil:
		return ss.invalid("TLS is not available")
	}
	if ss.r.Buffered() > 0 {
		// RFC 2595 section 4. Whoever can put commands behind STLS in clear text
		// must not have them run inside TLS.
		return errors.Join(ss.err("", "Nothing may follow STLS before its answer"), errors.New("commands after STLS"))
	}
	if err := errors.Join(ss.ok("Begin TLS negotiation"), ss.w.Flush()); err != nil {
		return err
	}
	if err := ss.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	secured := tls.Server(ss.conn, ss.s.o.TLS)
	if !ss.handshake(secured) {
		return errors.New("tls handshake failed")
	}
	ss.use(secured)
	ss.secure, ss.user = true, "" // what was learned in clear text is forgotten
	return nil
}

func (ss *session) userCmd(c command) error {
	if !ss.mayLogin() {
		return ss.invalid("Logging in needs TLS: use STLS or the TLS port")
	}
	if c.arg == "" {
		return ss.invalid("USER needs a name")
	}
	ss.user = c.arg
	return ss.ok("Now the password") // for every name, so that none can be tried out
}

func (ss *session) pass(c command) error {
	if ss.user == "" {
		return ss.invalid("USER comes first")
	}
	user := ss.user
	ss.user = ""
	return ss.login(user, c.arg)
}

func (ss *session) auth(c command) error {
	if !ss.mayLogin() {
		return ss.invalid("Logging in needs TLS: use STLS or the TLS port")
	}
	mech, initial, given := bytes.Cut([]byte(c.arg), []byte(" "))
	if len(mech) == 0 { // older clients ask for the mechanisms like this
		return errors.Join(ss.ok("Mechanisms follow"), ss.raw("PLAIN\r\n.\r\n"))
	}
	if !bytes.EqualFold(mech, []byte(sasl.Plain)) {
		return ss.invalid("The only mechanism is PLAIN")
	}
	answer := bytes.Clone(initial)
	if !given {
		if err := ss.raw("+ \r\n"); err != nil {
			return err
		}
		line, err := ss.line(maxAnswer - 2)
		if errors.Is(err, errLong) {
			return ss.invalid("The answer is too long")
		}
		if err != nil {
			return err
		}
		answer = bytes.Clone(line)
	}
	if string(answer) == "*" {
		return ss.err("", "Cancelled")
	}
	if given && string(answer) == "=" { // RFC 5034 section 4: an empty one
		answer = nil
	}
	decoded, err := base64.StdEncoding.DecodeString(string(answer))
	if err != nil || len(decoded) == 0 {
		return ss.invalid("The answer is not base64")
	}
	var result error // of login, which is to end the connection or not
	plain := sasl.NewPlainServer(func(identity, username, password string) error {
		if identity != "" && identity != username {
			result = ss.err("AUTH", "Logging in for somebody else is not possible")
			return nil
		}
		result = ss.login(username, password)
		return nil
	})
	if _, _, err := plain.Next(decoded); err != nil {
		return ss.invalid("The answer is not that of PLAIN")
	}
	return result
}

func (ss *session) raw(text string) error {
	_, err := ss.w.WriteString(text)
	return err
}

// login answers a USER/PASS or AUTH.
func (ss *session) login(username, password string) error {
	name, err := ss.s.o.Auth(ss.s.ctx, username, password)
	if errors.Is(err, mailbox.ErrBadPassword) {
		if pause.For(ss.s.ctx, ss.s.o.BadPasswordDelay) != nil {
			return net.ErrClosed
		}
		if ss.failures++; ss.failures >= maxBadPasswords {
			return errors.Join(ss.err("AUTH", "Too many wrong passwords"), errors.New("too many wrong passwords"))
		}
		return ss.err("AUTH", "Wrong user name or password: log in with the whole address and the password that mailproxy gave for it; if that is lost, this makes another: mailproxy account password ADDRESS")
	}
	if err != nil {
		return ss.temporary("log in", err)
	}
	account, err := ss.s.o.Mailboxes.Account(name)
	if err != nil {
		return ss.temporary("open the account", err)
	}
	inbox, err := account.Folder(mailbox.Inbox)
	if err != nil {
		return ss.temporary("open the folder", err)
	}
	ss.s.loggedIn(ss.accepted, name)
	if !ss.s.lock(account.Name()) {
		return ss.err("IN-USE", "Another program is fetching this mail now: wait until it has ended; a session that is idle is ended after ten minutes")
	}
	ss.account, ss.inbox, ss.deleted = account, inbox, make(map[int]bool)
	if ss.messages, err = inbox.Messages(); err != nil {
		ss.release()
		return ss.temporary("read the folder", err)
	}
	return ss.ok("%d messages", len(ss.messages))
}

// temporary answers a failure of ours (RFC 3206 section 4).
func (ss *session) temporary(what string, err error) error {
	ss.s.log.Error("pop3: a command failed", "what", what, "err", err)
	return ss.err("SYS/TEMP", "Could not "+what+" now; try again later")
}

func (ss *session) quit(c command) error {
	if c.arg != "" {
		return ss.invalid("QUIT has no arguments")
	}
	if ss.account != nil {
		var uids []uint32
		for i := range ss.deleted {
			uids = append(uids, ss.messages[i].UID)
		}
		_, err := ss.inbox.Remove(uids) // synced when it returns
		ss.release()
		if err != nil {
			return errors.Join(ss.temporary("remove all the deleted messages", err), errQuit)
		}
	}
	return errors.Join(ss.ok("Goodbye"), errQuit)
}
