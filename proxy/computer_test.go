package proxy

import (
	"context"
	"errors"
	"io"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixclient/memory"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/storekey"
	"mailproxy/spool"
)

// A computer runs a daemon on a directory.
type computer struct {
	p       *provider
	dir     string
	handler memory.Handler // nil: p
	daemon  *Daemon
	network mixclient.Network
	stop    context.CancelFunc
	served  sync.WaitGroup
}

// start starts the daemon as "mailproxy run" does.
func (c *computer) start() error {
	handler := c.handler
	if handler == nil {
		handler = c.p
	}
	c.network = memory.New(memory.Config{
		Services: map[mixclient.Service]memory.Handler{north: handler},
		Limits:   mixclient.Limits{Request: spool.MaxRequestSize, Reply: spool.MaxReplySize},
		Slot:     2 * time.Millisecond, Latency: 2 * time.Millisecond, Pad: true,
	})
	d, err := Open(Options{
		Dir:     c.dir,
		Listen:  ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true},
		Network: func(string) mixclient.Network { return c.network }, Now: c.p.now, Receipts: true,
	})
	if err != nil {
		return errors.Join(err, c.network.Close())
	}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(c.p.t.Context())
	c.daemon = d
	c.served.Go(func() {
		if err := errors.Join(d.ServeControl(ctx), d.Close(), c.network.Close()); err != nil {
			c.p.t.Error(err)
		}
	})
	return nil
}

// end stops the daemon, unless it has been stopped.
func (c *computer) end() {
	if c.daemon != nil {
		c.stop()
		c.served.Wait()
		c.daemon = nil
	}
}

// computer returns one that is stopped when the test ends, with a directory of its own.
func (p *provider) computer(dir string) *computer {
	c := &computer{p: p, dir: dir}
	p.t.Cleanup(c.end)
	return c
}

func (c *computer) run() *computer {
	c.p.t.Helper()
	if err := c.start(); err != nil {
		c.p.t.Fatal(err)
	}
	return c
}

// add makes an account and waits until its provider has it.
func (c *computer) add(address string) {
	c.p.t.Helper()
	if _, err := c.daemon.AddAccount(c.p.t.Context(), NewAccount{Address: address, Password: password}); err != nil {
		c.p.t.Fatal(err)
	}
	if err := c.daemon.WaitRegistered(c.p.t.Context(), address); err != nil {
		c.p.t.Fatal(err)
	}
}

// send hands in a mail by SMTP.
func (c *computer) send(from, to, subject string) {
	c.p.t.Helper()
	mail := "From: " + from + "\r\nTo: " + to + "\r\nSubject: " + subject + "\r\n\r\nhello\r\n"
	s, err := smtp.Dial(c.daemon.Address("smtp").String())
	if err != nil {
		c.p.t.Fatal(err)
	}
	defer s.Close()
	if err = s.Auth(smtp.PlainAuth("", from, password, "127.0.0.1")); err == nil {
		err = s.Mail(from)
	}
	if err == nil {
		err = s.Rcpt(to)
	}
	var w io.WriteCloser
	if err == nil {
		w, err = s.Data()
	}
	if err == nil {
		_, err = w.Write([]byte(mail))
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		c.p.t.Fatalf("send %q: %v", subject, err)
	}
}

// inbox returns the folder of an account and its messages.
func (c *computer) inbox(address string) (*mailbox.Folder, []mailbox.Message) {
	c.p.t.Helper()
	a, err := c.daemon.Mailbox(address)
	if err != nil {
		c.p.t.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		c.p.t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		c.p.t.Fatal(err)
	}
	return f, list
}

// subjects returns the subjects in an INBOX, sorted.
func (c *computer) subjects(address string) (list []string) {
	c.p.t.Helper()
	f, messages := c.inbox(address)
	for _, m := range messages {
		raw, err := f.Bytes(m)
		if err != nil {
			c.p.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(raw), "\r\nSubject: ")
		subject, _, _ := strings.Cut(rest, "\r\n")
		list = append(list, subject)
	}
	slices.Sort(list)
	return list
}

// gets waits until an INBOX has mails of these subjects, sorted, and no others.
func (c *computer) gets(address string, want ...string) {
	c.p.t.Helper()
	c.p.until(address+" to get mail", func() bool { return len(c.subjects(address)) >= len(want) })
	if got := c.subjects(address); !slices.Equal(got, want) {
		c.p.t.Errorf("%s has got %q, want %q", address, got, want)
	}
}

// move is a Move of the computer's, with a key and a passphrase that nobody is asked for.
func (c *computer) move(file string) Move {
	return Move{
		Dir: c.dir, File: file, cost: 10,
		Key:        func() ([]byte, error) { return storekey.Open(c.dir, storekey.Sources{}) },
		Passphrase: func() (string, error) { return secret, nil },
	}
}

// copied returns a copy of the computer's directory, as in a backup. Nothing runs there.
func (c *computer) copied() *computer {
	c.p.t.Helper()
	to := c.p.computer(filepath.Join(c.p.t.TempDir(), "copy"))
	if err := os.CopyFS(to.dir, os.DirFS(c.dir)); err != nil {
		c.p.t.Fatal(err)
	}
	for _, name := range []string{"store.key", "tls/ca.key", "tls/leaf.key"} { // which CopyFS opens to all
		if err := os.Chmod(filepath.Join(to.dir, name), 0o600); err != nil {
			c.p.t.Fatal(err)
		}
	}
	return to
}
