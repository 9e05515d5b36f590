package smtp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailproxy/internal/tlstest"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/refusal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// login is the Auth of the tests: alice with the password "wonderland".
func login(_ context.Context, username, password string) (string, error) {
	switch {
	case username == "broken":
		return "", errors.New("store is gone")
	case username != "alice@north.test" || password != "wonderland":
		return "", fmt.Errorf("log in: %w", mailbox.ErrBadPassword)
	}
	return "alice", nil
}

type taken struct {
	outbox.Submission
	body []byte
}

// submitter keeps what it is given in memory. before runs in Submit when the
// message has been read.
type submitter struct {
	before func(ctx context.Context) error
	lazy   bool // accept without reading to the end

	mu    sync.Mutex // guards taken and ended
	taken []taken
	ended int // calls of Submit that returned
}

func (s *submitter) CheckSender(_ context.Context, account, from string) error {
	if account != "alice" {
		return errors.New("an unknown account came through")
	}
	if from != "" && from != "alice@north.test" && from != "älice@north.test" {
		return refusal.New(550, [3]int{5, 7, 1}, "this account may send as alice@north.test only")
	}
	return nil
}

func (s *submitter) CheckRecipient(_ context.Context, _, rcpt string) error {
	switch _, domain, _ := strings.Cut(rcpt, "@"); domain {
	case "north.test", "south.test":
		return nil
	case "fault.test":
		return errors.New("secret cause")
	}
	return fmt.Errorf("check: %w", &refusal.Error{Code: 550, Enhanced: [3]int{5, 1, 2},
		Text: rcpt + " is not an address of this network", Err: errors.New("secret cause")})
}

func (s *submitter) Submit(ctx context.Context, e *outbox.Submission, msg io.Reader) error {
	defer func() {
		s.mu.Lock()
		s.ended++
		s.mu.Unlock()
	}()
	if s.lazy {
		return nil
	}
	b, err := io.ReadAll(msg)
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if s.before != nil {
		if err := s.before(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = append(s.taken, taken{*e, b})
	return nil
}

func (s *submitter) all() []taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]taken(nil), s.taken...)
}

func (s *submitter) returned() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// one returns the only message that was taken.
func (s *submitter) one(t *testing.T) taken {
	t.Helper()
	all := s.all()
	if len(all) != 1 {
		t.Fatalf("%d messages were taken, want 1", len(all))
	}
	return all[0]
}

var testTLS = sync.OnceValues(tlstest.Configs)

func clientTLS() *tls.Config {
	_, client := testTLS()
	return client.Clone()
}

// logs collects what the server logs.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

type rig struct {
	*submitter
	server *Server
	addr   string
	logs   *logs
}

func options(s Submitter, change func(*Options)) (Options, *logs) {
	config, _ := testTLS()
	l := &logs{}
	o := Options{Submitter: s, Auth: login, TLS: config, AllowPlaintext: true,
		Logger: slog.New(slog.NewTextHandler(l, nil))}
	if change != nil {
		change(&o)
	}
	return o, l
}

// start runs a server on a TCP port until the test ends.
func start(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	s := &submitter{}
	o, l := options(s, change)
	r := serve(t, o)
	r.submitter, r.logs = s, l
	return r
}

// serve is start with a Submitter of the test's own.
func serve(t testing.TB, o Options) *rig {
	t.Helper()
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &rig{server: server, addr: ln.Addr().String()}
}

// A raw client sends lines and reads replies.
type raw struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// dial connects and reads the greeting.
func (r *rig) dial(t testing.TB) *raw {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w := newRaw(t, c)
	w.expect("220")
	return w
}

func newRaw(t testing.TB, c net.Conn) *raw {
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &raw{t, c, bufio.NewReader(c)}
}

// dialIn is dial, EHLO and a login.
func (r *rig) dialIn(t testing.TB) *raw {
	t.Helper()
	c := r.dial(t)
	c.cmd("250", "EHLO client.test")
	c.logIn()
	return c
}

func (c *raw) logIn() {
	c.t.Helper()
	c.cmd("235", "AUTH PLAIN AGFsaWNlQG5vcnRoLnRlc3QAd29uZGVybGFuZA==")
}

func (c *raw) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("send %.40q: %v", s, err)
	}
}

// reply reads one reply, which may have several lines.
func (c *raw) reply() (string, error) {
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			return all.String(), err
		}
		if len(line) < 4 || line[3] != '-' {
			return all.String(), nil
		}
	}
}

// expect reads one reply and checks how it begins.
func (c *raw) expect(prefix string) string {
	c.t.Helper()
	got, err := c.reply()
	if err != nil {
		c.t.Fatalf("reply: %v after %q, want %q", err, got, prefix)
	}
	if !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("reply %q, want %q", got, prefix)
	}
	return got
}

func (c *raw) cmd(want, line string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.expect(want)
}

// begin opens a transaction from alice to bob.
func (c *raw) begin() {
	c.t.Helper()
	c.cmd("250", "MAIL FROM:<alice@north.test>")
	c.cmd("250", "RCPT TO:<bob@south.test>")
}

// ended checks that the server has closed the connection.
func (c *raw) ended() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) != 0 {
		c.t.Fatalf("connection not closed cleanly: %q, %v", rest, err)
	}
}
