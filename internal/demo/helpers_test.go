package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/progress"
)

// patience is longer than anything takes on a machine that does much else.
const patience = slow * 240 * time.Second

// patientTimes let an outbox try for ever, and soon again.
var patientTimes = outbox.Times{
	Expire: time.Hour, Confirm: time.Hour, TellDelay: time.Hour,
	RetryFirst: 100 * time.Millisecond, RetryMost: time.Second, Receipt: 200 * time.Millisecond,
}

// A testWorld is a world that remembers all that is told of its messages.
type testWorld struct {
	*World

	mu     sync.Mutex // guards events
	events []progress.Event
}

// newWorld starts a world with registered accounts, whose network is so fast that a
// mail takes about a quarter of a second. change may alter how it is.
func newWorld(t *testing.T, change func(*Config)) *testWorld {
	t.Helper()
	w := &testWorld{}
	cfg := Config{
		Dir: t.TempDir(), Parameters: parameters(t),
		Times: patientTimes, Listen: loopback(),
		Receipts: true, Observe: w.observe,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if w.World, err = Start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close world: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Register(ctx, func(string, time.Duration) {}); err != nil {
		t.Fatal(err)
	}
	return w
}

// epochOf returns a length for epochs of a network with these parameters: of at least
// that, and as many mean delays as a network document demands.
func epochOf(p directory.Parameters, least time.Duration) directory.Duration {
	return max(directory.Duration(least*slow), 120*p.MixDelay)
}

func loopback() proxy.ListenConfig {
	return proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true}
}

func (w *testWorld) observe(e progress.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// count returns how often that was told of mail to recipient, or of all mail
// received by account if recipient is empty.
func (w *testWorld) count(kind progress.Kind, account, recipient string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if e.Kind == kind && e.Account == account && e.Recipient == recipient {
			n++
		}
	}
	return n
}

// delivered returns how many mails were put into an account's INBOX.
func (w *testWorld) delivered(account string) int {
	return w.count(progress.Delivered, account, "")
}

func (w *testWorld) account(t *testing.T, address string) Account {
	t.Helper()
	i := slices.IndexFunc(w.Accounts, func(a Account) bool { return a.Address == address })
	if i < 0 {
		t.Fatalf("there is no account %s", address)
	}
	return w.Accounts[i]
}

// send submits a mail of from by SMTP, and fails the test if it is refused.
func (w *testWorld) send(t *testing.T, from, to, subject, body string) {
	t.Helper()
	if err := w.Submit(w.account(t, from), to, mailOf(from, to, subject, body)); err != nil {
		t.Fatalf("submit %q: %v", subject, err)
	}
}

func mailOf(from, to, subject, body string) []byte {
	return []byte("From: " + from + "\r\nTo: " + to + "\r\nSubject: " + subject + "\r\n\r\n" + body + "\r\n")
}

// eventually waits until done.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("%s: not in %v", what, patience)
}

// tlsConfig trusts the daemon's own authority, as a mail program does after the
// user imported it.
func (w *testWorld) tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(w.Daemon.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// imap logs in and returns the client.
func (w *testWorld) imap(t *testing.T, address string) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialStartTLS(w.Daemon.Address("imap").String(), &imapclient.Options{TLSConfig: w.tlsConfig(t)})
	if err != nil {
		t.Fatalf("connect to IMAP: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() }) // after the test nobody waits for it
	a := w.account(t, address)
	if err := c.Login(a.Username, a.Password).Wait(); err != nil {
		t.Fatalf("log in to IMAP: %v", err)
	}
	return c
}

// fetch returns all messages of an account's folder, over IMAP.
func (w *testWorld) fetch(t *testing.T, address, folder string) [][]byte {
	t.Helper()
	c := w.imap(t, address)
	defer func() {
		if err := c.Logout().Wait(); err != nil {
			t.Errorf("log out of IMAP: %v", err)
		}
	}()
	in, err := c.Select(folder, &goimap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatalf("select %s: %v", folder, err)
	}
	if in.NumMessages == 0 {
		return nil
	}
	var all goimap.SeqSet
	all.AddRange(1, in.NumMessages)
	whole := &goimap.FetchItemBodySection{Peek: true}
	list, err := c.Fetch(all, &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{whole}}).Collect()
	if err != nil {
		t.Fatalf("fetch from %s: %v", folder, err)
	}
	var out [][]byte
	for _, m := range list {
		out = append(out, m.FindBodySection(whole))
	}
	return out
}

// inInbox returns how many messages an account's INBOX has.
func (w *testWorld) inInbox(t *testing.T, address string) int {
	t.Helper()
	return len(w.messages(t, address, "INBOX"))
}

// retr returns all messages of an account's INBOX, over POP3.
func (w *testWorld) retr(t *testing.T, address string) [][]byte {
	t.Helper()
	a := w.account(t, address)
	conn, err := net.Dial("tcp", w.Daemon.Address("pop3").String())
	if err != nil {
		t.Fatalf("connect to POP3: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	ask := func(command string) string {
		t.Helper()
		if command != "" {
			if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
				t.Fatalf("POP3: %v", err)
			}
		}
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "+OK") {
			t.Fatalf("POP3 answered %q (%v)", line, err)
		}
		return line
	}
	ask("")
	ask("USER " + a.Username)
	ask("PASS " + a.Password)
	var n, size int
	if _, err := fmt.Sscanf(ask("STAT"), "+OK %d %d", &n, &size); err != nil {
		t.Fatalf("POP3 STAT: %v", err)
	}
	var out [][]byte
	for i := range n {
		ask(fmt.Sprintf("RETR %d", i+1))
		var m []byte
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				t.Fatalf("POP3 RETR: %v", err)
			}
			if string(line) == ".\r\n" {
				break
			}
			m = append(m, bytes.TrimPrefix(line, []byte("."))...)
		}
		out = append(out, m)
	}
	ask("QUIT")
	return out
}

// headerAndBody cuts a message at its first empty line.
func headerAndBody(m []byte) (header, body []byte) {
	if bytes.HasPrefix(m, []byte("\r\n")) {
		return nil, m[2:]
	}
	header, body, _ = bytes.Cut(m, []byte("\r\n\r\n"))
	return header, body
}

// fields returns the header fields of a message with CRLF, unfolded, in order.
func fields(m []byte) (out [][2]string) {
	header, _ := headerAndBody(m)
	for _, line := range strings.Split(string(header), "\r\n") {
		if line != "" && (line[0] == ' ' || line[0] == '\t') && len(out) > 0 {
			out[len(out)-1][1] += line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if ok {
			out = append(out, [2]string{strings.TrimSpace(name), value})
		}
	}
	for i := range out {
		out[i][1] = strings.TrimSpace(out[i][1])
	}
	return out
}

// field returns the first value of a field that is not empty.
func field(m []byte, name string) string {
	for _, f := range fields(m) {
		if strings.EqualFold(f[0], name) && f[1] != "" {
			return f[1]
		}
	}
	return ""
}

// subjects returns the sorted subjects of messages.
func subjects(messages [][]byte) []string {
	var out []string
	for _, m := range messages {
		out = append(out, field(m, "Subject"))
	}
	slices.Sort(out)
	return out
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
