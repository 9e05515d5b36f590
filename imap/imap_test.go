package imap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/goleak"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

const (
	user     = "ann@north.test"
	password = "open sesame"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A world is a mailbox with one account, and a server for it.
type world struct {
	t       testing.TB
	st      *store.Store
	account *mailbox.Account
	server  *Server
	addr    string
}

// newMailbox makes a store with one account.
func newMailbox(t testing.TB) (*mailbox.Store, *store.Store) {
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
	return mb, st
}

// corrupt removes everything that is kept of messages' contents.
func (w *world) corrupt(t testing.TB) {
	t.Helper()
	err := w.st.Update(func(tx *store.Tx) error {
		var keys [][]byte
		for _, kind := range []string{"b", "c", "e"} {
			err := tx.Iterate(store.Range{Prefix: []byte("mailbox/" + kind + "/")}, func(it store.Item) error {
				keys = append(keys, bytes.Clone(it.Key))
				return nil
			})
			if err != nil {
				return err
			}
		}
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
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

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	mb, st := newMailbox(t)
	o := Options{
		Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true, MaxMessage: 1 << 20,
		Now: func() time.Time { return start }, BadPasswordDelay: time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	account, err := mb.Account(user)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, st: st, account: account, server: New(o)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	w.serve(ln)
	t.Cleanup(func() {
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) serve(ln net.Listener) {
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(ln) }()
	w.t.Cleanup(func() { // runs before the server's Close if registered after it
		if err := w.server.Close(); err != nil {
			w.t.Error(err)
		}
		if err := <-done; err != nil {
			w.t.Errorf("serve: %v", err)
		}
	})
}

func (w *world) deliver(folder, raw string, flags ...string) mailbox.ID {
	w.t.Helper()
	id, err := w.account.Deliver(folder, []byte(raw), flags, start)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) messages(folder string) []mailbox.Message {
	w.t.Helper()
	f, err := w.account.Folder(folder)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func letter(n int) string {
	return fmt.Sprintf("From: a@x.test\r\nSubject: number %d\r\nMessage-ID: <m%d@x.test>\r\n\r\nbody %d\r\n", n, n, n)
}

// client returns a logged-in client of the library.
func (w *world) client(o *imapclient.Options) *imapclient.Client {
	w.t.Helper()
	c, err := imapclient.DialInsecure(w.addr, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	if err := c.Login(user, password).Wait(); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// A line is a raw connection.
type line struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	tag  int

	greeting string
}

func (w *world) dial() *line {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	l := newLine(w.t, conn)
	l.greeting = l.expect("* OK ")
	return l
}

func newLine(t testing.TB, conn net.Conn) *line {
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &line{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// login is dial and LOGIN.
func (w *world) login() *line {
	w.t.Helper()
	l := w.dial()
	l.ok("LOGIN " + user + ` "` + password + `"`)
	return l
}

func (l *line) write(s string) {
	l.t.Helper()
	if _, err := io.WriteString(l.conn, s); err != nil {
		l.t.Fatal(err)
	}
}

func (l *line) read() string {
	l.t.Helper()
	s, err := l.r.ReadString('\n')
	if err != nil {
		l.t.Fatalf("read: %v (after %q)", err, s)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// expect reads lines up to one with the prefix, and returns all of them.
func (l *line) expect(prefix string) string {
	l.t.Helper()
	var all []string
	for {
		s := l.read()
		all = append(all, s)
		if strings.HasPrefix(s, prefix) {
			return strings.Join(all, "\n")
		}
		if len(all) > 5000 {
			l.t.Fatalf("no %q", prefix)
		}
	}
}

// do sends a command and returns everything up to its tagged answer.
func (l *line) do(command string) string {
	l.t.Helper()
	l.tag++
	tag := fmt.Sprintf("t%d", l.tag)
	l.write(tag + " " + command + "\r\n")
	return l.expect(tag + " ")
}

func last(answer string) string { return answer[strings.LastIndexByte(answer, '\n')+1:] }

func (l *line) ok(command string) string {
	l.t.Helper()
	return l.status(command, "OK")
}

// status sends a command whose tagged answer must begin with want.
func (l *line) status(command, want string) string {
	l.t.Helper()
	answer := l.do(command)
	if _, rest, _ := strings.Cut(last(answer), " "); !strings.HasPrefix(rest, want) {
		l.t.Errorf("%.60s: answered %q, want %s", command, last(answer), want)
	}
	return answer
}

// closed expects the server to close the connection, after no more than some
// last words.
func (l *line) closed() string {
	l.t.Helper()
	rest, err := io.ReadAll(l.r)
	if err != nil {
		var op *net.OpError
		if !errors.As(err, &op) || op.Timeout() {
			l.t.Errorf("the connection was not closed: %v", err)
		}
	}
	return string(rest)
}

// within fails if the answer does not hold each of want, in that order.
func within(t *testing.T, answer string, want ...string) {
	t.Helper()
	rest := answer
	for _, s := range want {
		_, after, ok := strings.Cut(rest, s)
		if !ok {
			t.Errorf("no %q (in this order) in:\n%s", s, answer)
			return
		}
		rest = after
	}
}

// without fails if the answer holds one of not.
func without(t *testing.T, answer string, not ...string) {
	t.Helper()
	for _, s := range not {
		if strings.Contains(answer, s) {
			t.Errorf("%q in:\n%s", s, answer)
		}
	}
}
