package proxy

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
)

// A told is a connection on which one line at a time is sent and answered.
type told struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func tell(t *testing.T, d *Daemon, protocol string) *told {
	t.Helper()
	conn, err := net.Dial("tcp", d.Address(protocol).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &told{t, conn, bufio.NewReader(conn)}
	c.answer("")
	return c
}

// answer reads until a line that begins with one of the prefixes.
func (c *told) answer(prefixes ...string) string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				return line
			}
		}
	}
}

func (c *told) say(line string, prefixes ...string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.answer(prefixes...)
}

// ended waits until the daemon has ended the connection.
func (c *told) ended() {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c.r); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			c.t.Error("a connection that was logged in with the old password goes on")
		}
	}
}

// logsIn are the ways to log in; each returns the connection and the answer.
var logsIn = map[string]func(c *told, address, password string) string{
	"smtp": func(c *told, address, password string) string {
		c.say("EHLO x", "250 ")
		return c.say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+address+"\x00"+password)), "235", "535")
	},
	"imap": func(c *told, address, password string) string {
		return c.say(fmt.Sprintf("a LOGIN %s %s", address, password), "a ")
	},
	"pop3": func(c *told, address, password string) string {
		c.say("USER "+address, "+OK")
		return c.say("PASS "+password, "+OK", "-ERR")
	},
}

// TestChangePassword: the new password opens the account and the old one does not, now
// and after a restart; who was in with the old one is put out, and nobody else is.
func TestChangePassword(t *testing.T) {
	const me, other = "me@north.test", "other@north.test"
	dir := t.TempDir()
	d := openDaemon(t, dir, &versions{})
	defer func() { closeDaemon(t, d) }()
	for _, address := range []string{me, other} {
		if _, err := d.AddAccount(t.Context(), NewAccount{Address: address, Password: personPassword}); err != nil {
			t.Fatal(err)
		}
	}
	good := func(answer string) bool {
		return strings.HasPrefix(answer, "235") || strings.HasPrefix(answer, "a OK") || strings.HasPrefix(answer, "+OK")
	}
	var mine, others []*told
	for protocol, logIn := range logsIn {
		for _, address := range []string{me, other} {
			c := tell(t, d, protocol)
			if answer := logIn(c, address, personPassword); !good(answer) {
				t.Fatalf("%s answers %q to the first password", protocol, answer)
			}
			if address == me {
				mine = append(mine, c)
			} else {
				others = append(others, c)
			}
		}
	}

	out, err := d.ChangePassword(ChangePassword{Address: "Me@North.test"})
	if err != nil || out.Address != me || len(out.Password) != 23 || out.Password == personPassword {
		t.Fatalf("ChangePassword = %+v, %v", out, err)
	}
	for _, c := range mine {
		c.ended()
	}
	for _, c := range others {
		c.say("b NOOP", "500", "b OK", "-ERR") // one of the three knows that
	}
	check := func(when string) {
		t.Helper()
		for protocol, logIn := range logsIn {
			c := tell(t, d, protocol)
			answer := logIn(c, me, personPassword)
			if good(answer) || !strings.Contains(answer, "mailproxy account password ADDRESS") {
				t.Errorf("%s: %s answers %q to the old password", when, protocol, answer)
			}
			c = tell(t, d, protocol)
			if answer := logIn(c, me, out.Password); !good(answer) {
				t.Errorf("%s: %s answers %q to the new password", when, protocol, answer)
			}
		}
	}
	check("at once")

	closeDaemon(t, d)
	d = openDaemon(t, dir, &versions{})
	check("after a restart")
	if a := d.account(me); a.record.Registered || a.record.Owner != "" {
		t.Errorf("the record is %+v", a.record)
	}

	// One that was deleted has mail, and so a password.
	if err := d.eraseAccount(d.account(me), false); err != nil {
		t.Fatal(err)
	}
	if out, err = d.ChangePassword(ChangePassword{Address: me, Password: "another kangaroo"}); err != nil {
		t.Fatal(err)
	}
	if who, err := d.authenticate(t.Context(), me, "another kangaroo"); who != me || err != nil || d.account(me).ending() != Deleted {
		t.Errorf("log in to a deleted account: %q, %v", who, err)
	}

	d.mu.Lock()
	d.accounts["alias@north.test"] = &account{d: d, owner: other, record: &accountRecord{Address: "alias@north.test", Owner: other}}
	d.mu.Unlock()
	for address, want := range map[string]string{
		"nobody@north.test": "there is no such account here",
		"alias@north.test":  "mailproxy account password other@north.test",
		"me":                "not an address of the network",
	} {
		if _, err := d.ChangePassword(ChangePassword{Address: address}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the password of %s: %v", address, err)
		}
	}
	if _, err := d.ChangePassword(ChangePassword{Address: other, Password: "short"}); err == nil || !strings.Contains(err.Error(), "fewer than 12") {
		t.Errorf("a short password: %v", err)
	}
	if _, err := d.authenticate(t.Context(), other, personPassword); err != nil {
		t.Errorf("after a change that failed: %v", err)
	}
	d.mu.Lock()
	delete(d.accounts, "alias@north.test")
	d.mu.Unlock()
	err = d.store.View(func(tx *store.Tx) error { _, err := tx.Get(accountKey("alias@north.test")); return err })
	if err == nil {
		t.Error("the alias was written")
	}
}
