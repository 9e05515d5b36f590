package pop3

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailproxy/internal/store"
	"mailproxy/internal/tlstest"
	"mailproxy/proxy/mailbox"
)

const (
	user     = "ann@north.test"
	password = "open  sesame" // two spaces: PASS takes the rest of the line
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newMailbox(t testing.TB) *mailbox.Store {
	t.Helper()
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	mb, err := mailbox.Open(st, mailbox.Options{Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mb.CreateAccount(user); err != nil {
		t.Fatal(err)
	}
	return mb
}

func checkPassword(_ context.Context, name, pass string) (string, error) {
	switch {
	case name == "broken":
		return "", errors.New("the keychain is locked: secret detail")
	case name != user || pass != password:
		return "", fmt.Errorf("check: %w", mailbox.ErrBadPassword)
	}
	return user, nil
}

// A world is a mailbox with one account, and a server for it.
type world struct {
	t       *testing.T
	account *mailbox.Account
	server  *Server
	addr    string
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	mb := newMailbox(t)
	o := Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true, BadPasswordDelay: time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	account, err := mb.Account(user)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, account: account, server: New(o)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	w.serve(ln)
	return w
}

func (w *world) serve(ln net.Listener) {
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(ln) }()
	w.t.Cleanup(func() {
		if err := w.server.Close(); err != nil {
			w.t.Error(err)
		}
		if err := <-done; err != nil {
			w.t.Errorf("serve: %v", err)
		}
	})
}

func (w *world) deliver(raw string) mailbox.ID {
	w.t.Helper()
	id, err := w.account.Deliver(mailbox.Inbox, []byte(raw), nil, start)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) count() int {
	w.t.Helper()
	f, err := w.account.Folder(mailbox.Inbox)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	return len(list)
}

// A line is a raw connection.
type line struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func newLine(t *testing.T, conn net.Conn) *line {
	t.Cleanup(func() { conn.Close() })
	return &line{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func (w *world) dial() *line {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		w.t.Fatal(err)
	}
	l := newLine(w.t, conn)
	l.expect("+OK")
	return l
}

func (l *line) login() *line {
	l.t.Helper()
	l.do("USER "+user, "+OK")
	l.do("PASS "+password, "+OK")
	return l
}

func (l *line) write(s string) {
	l.t.Helper()
	if _, err := io.WriteString(l.conn, s); err != nil {
		l.t.Fatal(err)
	}
}

func (l *line) expect(want string) string {
	l.t.Helper()
	s, err := l.r.ReadString('\n')
	if err != nil {
		l.t.Fatalf("read: %v", err)
	}
	if s = strings.TrimSuffix(s, "\r\n"); !strings.HasPrefix(s, want) {
		l.t.Errorf("answered %q, want %s", s, want)
	}
	return s
}

func (l *line) do(command, want string) string {
	l.t.Helper()
	l.write(command + "\r\n")
	return l.expect(want)
}

// lines reads a multi-line answer with the dots as they are on the wire.
func (l *line) lines(command string) string {
	l.t.Helper()
	l.do(command, "+OK")
	var all strings.Builder
	for {
		s, err := l.r.ReadString('\n')
		if err != nil {
			l.t.Fatalf("%s: %v", command, err)
		}
		if s == ".\r\n" {
			return all.String()
		}
		all.WriteString(s)
	}
}

func (l *line) closed() string {
	l.t.Helper()
	rest, err := io.ReadAll(l.r)
	var op *net.OpError
	if err != nil && (!errors.As(err, &op) || op.Timeout()) {
		l.t.Errorf("the connection was not closed: %v", err)
	}
	return string(rest)
}

// inBubble runs fn, whose time is synctest's, with a server on in-memory
// connections.
func inBubble(t *testing.T, fn func(t *testing.T, dial func() *line)) {
	mb := newMailbox(t)
	account, err := mb.Account(user)
	if err != nil {
		t.Fatal(err)
	}
	large := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 20000)
	if _, err := account.Deliver(mailbox.Inbox, []byte(large), nil, start); err != nil {
		t.Fatal(err)
	}
	// A look at the message now: the database's own goroutines, which live outside
	// the bubble, have settled then, and no later look waits for them.
	f, err := account.Folder(mailbox.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Message(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Bytes(m); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true})
		fn(t, func() *line {
			ours, theirs := net.Pipe()
			s.admit(theirs)
			l := newLine(t, ours)
			l.expect("+OK")
			return l
		})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSilentStranger: who does not log in is not kept for long, whatever was said before.
func TestSilentStranger(t *testing.T) {
	inBubble(t, func(t *testing.T, dial func() *line) {
		l := dial()
		time.Sleep(loginTimeout - time.Second)
		l.do("CAPA", "+OK")
		began := time.Now()
		if _, err := io.Copy(io.Discard, l.r); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != loginTimeout {
			t.Errorf("dropped after %v", d)
		}
	})
}

// TestDeadClient is for a client that holds the maildrop and is gone.
func TestDeadClient(t *testing.T) {
	inBubble(t, func(t *testing.T, dial func() *line) {
		began := time.Now()
		idle := dial().login()
		other := dial()
		other.do("USER "+user, "+OK")
		other.do("PASS "+password, "-ERR [IN-USE]")
		if d := time.Since(began); d != lockWait {
			t.Errorf("[IN-USE] was answered after %v", d)
		}
		time.Sleep(idleTimeout - lockWait - time.Second)
		idle.do("NOOP", "+OK") // RFC 1939 section 3: not before ten minutes
		if _, err := idle.r.ReadByte(); err == nil {
			t.Error("something was said to an idle client")
		}
		if d := time.Since(began); d != 2*idleTimeout-time.Second {
			t.Errorf("dropped after %v", d)
		}
		synctest.Wait()

		// One that stops reading in the middle of a message is dropped much sooner.
		stuck := dial().login()
		began = time.Now()
		stuck.do("RETR 1", "+OK")
		time.Sleep(writeTimeout - time.Second) // a login waits that long
		dial().login()
		if d := time.Since(began); d > time.Minute {
			t.Errorf("a stuck client held the maildrop for %v", d)
		}
	})
}

func TestWrongPasswordIsSlow(t *testing.T) {
	inBubble(t, func(t *testing.T, dial func() *line) {
		l := dial()
		l.do("USER a", "+OK")
		began := time.Now()
		l.do("PASS b", "-ERR [AUTH]")
		if d := time.Since(began); d != time.Second {
			t.Errorf("a wrong password was answered after %v", d)
		}
		l.do("USER a", "+OK")
		l.write("PASS b\r\n") // Close does not wait for the delay
	})
}

func TestTLS(t *testing.T) {
	server, client := tlstest.Configs()
	w := newWorld(t, func(o *Options) { o.AllowPlaintext, o.TLS = false, server })
	w.deliver("one")
	l := w.dial()
	caps := l.lines("CAPA")
	if !strings.Contains(caps, "STLS\r\n") || strings.Contains(caps, "USER") || strings.Contains(caps, "SASL") {
		t.Errorf("before TLS: %q", caps)
	}
	l.do("USER "+user, "-ERR Logging in needs TLS")
	l.do("AUTH PLAIN", "-ERR Logging in needs TLS")
	l.do("PASS "+password, "-ERR")
	l.do("STLS now", "-ERR")
	l.do("STLS", "+OK")
	l = newLine(t, tls.Client(l.conn, client))
	caps = l.lines("CAPA")
	for _, want := range []string{"TOP", "UIDL", "USER", "SASL PLAIN", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE"} {
		if !strings.Contains(caps, want+"\r\n") {
			t.Errorf("no %s in %q", want, caps)
		}
	}
	if strings.Contains(caps, "STLS") {
		t.Errorf("inside TLS: %q", caps)
	}
	l.do("STLS", "-ERR")
	l.login()
	if got := l.lines("RETR 1"); got != "one\r\n" {
		t.Errorf("message %q", got)
	}
	l.do("QUIT", "+OK")

	// RFC 2595 section 4: commands behind STLS must not be run inside TLS.
	l = w.dial()
	l.write("STLS\r\nUSER " + user + "\r\nPASS " + password + "\r\n")
	if got := l.closed(); !strings.HasPrefix(got, "-ERR") || strings.Contains(got, "+OK") {
		t.Errorf("commands behind STLS: %q", got)
	}

	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	w.serve(ln)
	silent, err := net.Dial("tcp", ln.Addr().String()) // never shakes hands, and holds up nobody
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	l = newLine(t, conn)
	l.expect("+OK")
	l.login().do("STAT", "+OK 1")
}

func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	w := newWorld(t)
	w.deliver("Subject: one\r\n\r\n.dot\r\n")
	for url, want := range map[string]string{"/1": "Subject: one\r\n\r\n.dot\r\n", "/": "1 22\r\n"} {
		out, err := exec.Command(curl, "--silent", "--show-error", "--max-time", "10", "--user", user+":"+password, "pop3://"+w.addr+url).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: %v, %q", url, err, out)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"USER ann", "PASS a b ", "RETR 1", "TOP 1 10", "", "\x00", "QUIT ", "UIDL 99999999999999999999", "\xff\xff\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := parseCommand(in)
		if err != nil {
			return
		}
		if len(c.verb) < 3 || len(c.verb) > 4 || c.verb != strings.ToUpper(c.verb) || strings.ContainsAny(c.verb+c.arg, "\x00\r\n") {
			t.Errorf("%q became %+v", in, c)
		}
		line := c.verb + " " + c.arg
		if again, err := parseCommand([]byte(line)); err != nil || again != c {
			t.Errorf("%q reads as %+v, %v", line, again, err)
		}
		for want := range 3 {
			n, err := c.numbers(want)
			if err == nil && len(n) != want {
				t.Errorf("%d numbers of %q: %v", want, c.arg, n)
			}
			for _, v := range n {
				if v < 0 {
					t.Errorf("a negative number in %q", c.arg)
				}
			}
		}
	})
}
