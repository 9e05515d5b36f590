package proxy

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixclient/memory"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
	"mailproxy/spool"
)

// A person is a daemon with one account at a provider, in a network of its own.
type person struct {
	t       *testing.T
	p       *provider
	address string
	dir     string
	d       *Daemon
	network *memory.Network
	log     bytes.Buffer // of the daemon, to be read when that is closed
}

// person starts a daemon on a new directory, and registers its account.
func (p *provider) person(address string) *person {
	p.t.Helper()
	w := &person{t: p.t, p: p, address: address, dir: p.t.TempDir()}
	w.open()
	p.t.Cleanup(w.close)
	if _, err := w.d.AddAccount(p.t.Context(), NewAccount{Address: address, Password: personPassword}); err != nil {
		p.t.Fatal(err)
	}
	if err := w.d.WaitRegistered(p.t.Context(), address); err != nil {
		p.t.Fatal(err)
	}
	return w
}

func (w *person) open() {
	w.t.Helper()
	w.network = memory.New(memory.Config{
		Services: map[mixclient.Service]memory.Handler{north: w.p},
		Limits:   mixclient.Limits{Request: spool.MaxRequestSize, Reply: spool.MaxReplySize},
		Slot:     2 * time.Millisecond, Latency: 2 * time.Millisecond, Pad: true,
	})
	times := outbox.DefaultTimes()
	times.TellDelay, times.RetryFirst, times.RetryMost = times.Expire, 20*time.Millisecond, 100*time.Millisecond
	var err error
	w.d, err = Open(Options{
		Dir:     w.dir,
		Listen:  ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true},
		Network: func(string) mixclient.Network { return w.network },
		Times:   times,
		Now:     w.p.now,
		Logger:  slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),

		AliasWait: time.Millisecond,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *person) close() {
	if w.d == nil {
		return
	}
	closeDaemon(w.t, w.d)
	if strings.Contains(w.log.String(), "@") {
		w.t.Errorf("an address is in the log:\n%s", &w.log)
	}
	if err := w.network.Close(); err != nil {
		w.t.Error(err)
	}
	w.d = nil
}

func (w *person) restart() { w.t.Helper(); w.close(); w.open() }

// send submits a mail.
func (w *person) send(to *person, subject string) {
	w.t.Helper()
	msg := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\n\r\nhello\r\n", w.address, to.address, subject)
	submit(w.t, w.d.Address("smtp").String(), w.address, personPassword, to.address, msg)
}

// A received message, in one line of text where it was quoted-printable.
type received struct {
	text  string
	flags []string
}

func (r received) subject() string {
	_, s, _ := strings.Cut(r.text, "Subject: ")
	s, _, _ = strings.Cut(s, "\r\n")
	return s
}

// plain undoes the line breaks of quoted-printable text.
func (r received) plain() string {
	return strings.Join(strings.Fields(strings.ReplaceAll(r.text, "=\r\n", "")), " ")
}

func (w *person) inbox() (out []received) {
	w.t.Helper()
	mail, err := w.d.Mailbox(w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := mail.Folder(mailbox.Inbox)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range list {
		raw, err := f.Bytes(m)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, received{string(raw), m.Flags})
	}
	return out
}

// with returns those messages of the Inbox in whose subject the words are.
func (w *person) with(words string) (out []received) {
	w.t.Helper()
	for _, r := range w.inbox() {
		if strings.Contains(r.subject(), words) {
			out = append(out, r)
		}
	}
	return out
}

// one waits for a message with these words in its subject, which must be the only one.
func (w *person) one(words string) received {
	w.t.Helper()
	w.until("a message about "+words, func() bool { return len(w.with(words)) > 0 })
	got := w.with(words)
	if len(got) != 1 {
		w.t.Fatalf("%d messages about %q", len(got), words)
	}
	return got[0]
}

func (w *person) until(what string, f func() bool) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain for %s; the Inbox has %q", what, w.inbox())
		}
	}
}

// knows returns what the person knows of another.
func (w *person) knows(other *person) ContactKeys {
	w.t.Helper()
	c, err := w.d.ContactKeys(ContactName{Address: other.address})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *person) verify(other *person) (DecidedKey, error) {
	return w.d.VerifyContact(VerifyContact{ContactName: ContactName{Address: other.address}, Number: contacts.GroupDigits(other.knows(w).SafetyNumber)})
}
