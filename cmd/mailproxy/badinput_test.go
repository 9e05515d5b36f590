package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
)

// Bad input of every kind, and the words with which whoever gave it is answered.
// Beside these: a second daemon on a copy of the data is in internal/demo
// (TestCopyOfADaemon), the reports on mail that cannot be delivered are there too
// (TestReport…), the command line's flags are in testdata/script/flags.txt.

// A badPlace is where bad input is put.
type badPlace struct {
	*demo.World
	dir string // for configurations; the test's own
}

// A badInput is one. Its do returns what is seen of the answer, in which each of want must
// stand.
type badInput struct {
	name string
	do   func(*testing.T, *badPlace) string
	want []string
}

// badInputs are given to a daemon and a network that run.
var badInputs = []badInput{
	// Logging in.
	{"wrong password, SMTP", saying("smtp", "EHLO x\r\nAUTH PLAIN "+plain(demo.Alice, "wrong")+"\r\n"),
		[]string{"535 5.7.8 the user name or the password is wrong; it must be the password that mailproxy gave this account"}},
	{"wrong password, IMAP", saying("imap", "a LOGIN "+demo.Alice+" wrong\r\n"),
		[]string{"a NO [AUTHENTICATIONFAILED] Wrong user name or password"}},
	{"wrong password, POP3", saying("pop3", "USER "+demo.Alice+"\r\nPASS wrong\r\n"),
		[]string{"-ERR [AUTH] Wrong user name or password: log in with the whole address and the password that mailproxy gave for it"}},
	{"no such account", saying("imap", "a LOGIN nobody@north.test wrong\r\n"),
		[]string{"a NO [AUTHENTICATIONFAILED] "}},
	{"mail without a login", saying("smtp", "EHLO x\r\nMAIL FROM:<"+demo.Alice+">\r\n"),
		[]string{"530 5.7.0 log in before sending mail"}},

	// Addresses.
	{"unknown recipient", report("nobody@south.test"),
		[]string{"failed", "5.1.1", "There is no mailbox with this name at south.test."}},
	{"address outside the network", loggedIn("MAIL FROM:<" + demo.Alice + ">\r\nRCPT TO:<someone@example.org>\r\n"),
		[]string{"550 5.1.2 someone@example.org is outside this private network", "write to someone@example.org from your ordinary mail account"}},
	{"address that nobody can have", loggedIn("MAIL FROM:<" + demo.Alice + ">\r\nRCPT TO:<\"a b\"@south.test>\r\n"),
		[]string{"553 5.1.3 ", "has a form that no address of this network has"}},
	{"another's address", loggedIn("MAIL FROM:<" + demo.Bob + ">\r\n"),
		[]string{"553 5.7.1 " + demo.Alice + " may send as " + demo.Alice + " only; choose that identity in your mail program"}},
	{"another's address in From", loggedIn(envelope + "From: " + demo.Bob + "\r\n\r\nx\r\n.\r\n"),
		[]string{"550 5.7.1 This account is " + demo.Alice + " and cannot send mail from another address"}},

	// Messages.
	{"oversized mail, announced", loggedIn("MAIL FROM:<" + demo.Alice + "> SIZE=30000000\r\n"),
		[]string{"552 5.3.4 the message is too large: at most 26214400 bytes (25 MiB) can be sent"}},
	{"oversized mail, sent", oversized,
		[]string{"552 5.3.4 the message is too large: at most 26214400 bytes (25 MiB) can be sent"}},
	{"header that is none", loggedIn(envelope + "Subject: x\r\nno field\r\n\r\nx\r\n.\r\n"),
		[]string{"554 5.6.0 Line 2 of the message's header has no colon."}},
	// This one is no error: mail passes as it is (design, section 6).
	{"over-long line of a body", loggedIn(envelope + "Subject: long line\r\n\r\n" + strings.Repeat("x", 100_000) + "\r\n.\r\n"),
		[]string{"250 2.0.0 "}},

	// Lines and garbage on the mail ports.
	{"over-long line, SMTP", saying("smtp", strings.Repeat("x", 70_000)+"\r\n"), []string{"500 5.5.2 too much came in one line"}},
	{"over-long line, IMAP", saying("imap", "a NOOP "+strings.Repeat("x", 70_000)+"\r\n"), []string{"BAD The command has more than 49152 bytes"}},
	{"over-long line, POP3", saying("pop3", strings.Repeat("x", 3000)+"\r\n"), []string{"-ERR A command has at most"}},
	{"garbage, SMTP", saying("smtp", garbage(3000)), []string{"500 5.5.2 this is not a command", "421 4.7.0 too many commands were wrong"}},
	{"garbage, IMAP", saying("imap", garbage(3000)), []string{"BAD"}},
	{"garbage, POP3", saying("pop3", garbage(3000)), []string{"-ERR Syntax error"}},
	{"garbage after the login, SMTP", loggedIn(garbage(3000)), []string{"500 5.5.2 this is not a command", "421 4.7.0 too many commands were wrong"}},
	{"TLS at once, SMTP", tlsHello("smtp"), []string{"500 5.5.1 this port begins without TLS: choose STARTTLS as the connection security"}},

	// The nodes' ports. What is no member gets no words, only a counter.
	{"garbage, every node", nodeGarbage, []string{"all closed, all counted"}},
	{"a stranger's key, every mix and service", nodeStranger, []string{"all refused, all counted"}},
	{"malformed packets, gateway", gatewayGarbage, []string{"packet counted", "frame counted, connection closed"}},
}

// badFiles are what a daemon that starts finds.
var badFiles = []badInput{
	// The configuration.
	{"no configuration", running(func(p *badPlace) error { return os.Remove(p.config()) }),
		[]string{"not set up here yet: there is no ", "mailproxy join INVITATION"}},
	{"configuration of no TOML", running(rewrite("config.toml", func(s string) string { return s + "\n[network\n" })),
		[]string{"config.toml, line ", "column ", "; correct that line, or take it out"}},
	{"configuration of garbage", running(rewrite("config.toml", func(string) string { return garbage(500) })),
		[]string{"config.toml, line 1, column "}},
	{"unknown setting", running(rewrite("config.toml", func(s string) string { return "colour = 'red'\n" + s })),
		[]string{"config.toml has settings that this program does not know:", "colour", "Correct these lines, or take them out; there are dir, network.document, "}},
	{"setting of a wrong type", running(rewrite("config.toml", func(s string) string { return strings.Replace(s, "version = 1", "version = 'one'", 1) })),
		[]string{"config.toml, line 1, column "}},
	{"configuration of another version", running(rewrite("config.toml", func(s string) string { return strings.Replace(s, "version = 1", "version = 2", 1) })),
		[]string{"config.toml has version 2, and this program reads 1: it was written by a newer mailproxy, so install that"}},
	{"configuration without a version", running(rewrite("config.toml", func(s string) string { return strings.Replace(s, "version = 1", "", 1) })),
		[]string{"config.toml names no version: it should begin with version = 1"}},
	{"no network document named", running(rewrite("config.toml", func(s string) string { return strings.Replace(s, "'network.note'", "''", 1) })),
		[]string{"names no network document: set network.document"}},
	{"threshold of none", running(rewrite("config.toml", func(s string) string { return strings.Replace(s, "threshold = 2", "threshold = 0", 1) })),
		[]string{"a threshold of 0 with 2 trusted keys makes no sense; correct network.keys and network.threshold in the configuration"}},
	{"damaged trusted key", running(rewrite("config.toml", func(s string) string { return strings.Replace(s, "east-operator+", "east-operator+0", 1) })),
		[]string{"trusted key \"east-operator+0", "malformed", "; correct network.keys and network.threshold in the configuration"}},
	{"gateway that is not there", running(rewrite("config.toml", func(s string) string { return strings.Replace(s, "[listen]", "gateway = 'nowhere'\n[listen]", 1) })),
		[]string{"has no gateway \"nowhere\""}},
	{"listener for the whole network", running(rewrite("config.toml", func(s string) string { return strings.Replace(s, "smtp = '127.0.0.1:0'", "smtp = '0.0.0.0:0'", 1) })),
		[]string{"offer smtp: listen on \"0.0.0.0:0\": not a loopback address"}},
	{"port taken", takenPort, []string{"offer imap: 127.0.0.1:", " is taken by ", "stop it, or choose another port in the configuration"}},

	// The network document.
	{"no network document", running(func(p *badPlace) error { return os.Remove(filepath.Join(p.dir, "network.note")) }),
		[]string{"read network document: ", "no such file"}},
	{"network document altered", running(rewrite("network.note", func(s string) string { return strings.Replace(s, "layer = 1", "layer = 2", 1) })),
		[]string{"network.note: network document is not signed by enough trusted keys", "the document was altered", "ask your provider for the current one"}},
	{"network document cut", running(rewrite("network.note", func(s string) string { return s[:len(s)/2] })),
		[]string{"network.note: invalid network document", "ask your provider for the current one"}},
	{"network document of garbage", running(rewrite("network.note", func(string) string { return garbage(5000) })),
		[]string{"network.note: invalid network document"}},
	{"network document too large", running(rewrite("network.note", func(s string) string { return strings.Repeat(s, 1000) })),
		[]string{"network.note: invalid network document", "the limit is 1048576"}},
	{"too few signatures", running(rewrite("network.note", func(s string) string { return s[:strings.LastIndex(s, "— ")] })),
		[]string{"1 of 2 needed have signed (east-operator)"}},
	{"signatures of others", running(signedByOthers), []string{"none of the 2 trusted keys has signed it"}},
	{"network document of another format", running(anotherFormat), []string{"format 2, this program reads 1; another release may fit"}},

	// The data directory.
	{"store.key missing", running(func(p *badPlace) error { return os.Remove(p.key()) }),
		[]string{"store.key is missing, and the mail in ", "cannot be opened without it: restore it from a backup"}},
	{"store.key of another", running(func(p *badPlace) error { return os.WriteFile(p.key(), make([]byte, 32), 0o600) }),
		[]string{"store key does not fit: store.key in ", "is not the one that the mail was written with; restore it from a backup"}},
	{"store.key cut", running(func(p *badPlace) error { return os.Truncate(p.key(), 16) }),
		[]string{"store.key has 16 bytes, want 32: restore it from a backup"}},
	{"store.key for all to read", running(func(p *badPlace) error { return os.Chmod(p.key(), 0o644) }),
		[]string{"store.key opens all mail and others can read it: run chmod 600 "}},
	{"two daemons on one directory", twoDaemons, []string{"store is in use by another process: mailproxy runs already with "}},
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	w, err := demo.Start(demo.Config{
		Dir: t.TempDir(), Parameters: directory.DefaultParameters().Scaled(10), Times: outbox.DefaultTimes().Scaled(10),
		Listen: proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if closed {
			return
		}
		if err := w.Close(); err != nil {
			t.Errorf("close world: %v", err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Register(ctx, func(string, time.Duration) {}); err != nil {
		t.Fatal(err)
	}
	giveAll(t, w, badInputs)
	// It cost nobody else anything.
	const subject = "after all that"
	m := "From: " + demo.Alice + "\r\nSubject: " + subject + "\r\n\r\nStill here?\r\n"
	if err := w.Submit(w.Accounts[0], demo.Bob, []byte(m)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		got := inbox(t, w, demo.Bob)
		return strings.Contains(got, subject) && strings.Contains(got, "Subject: long line")
	})
	if got := inbox(t, w, demo.Bob); !strings.Contains(got, "\r\n"+strings.Repeat("x", 100_000)+"\r\n") {
		t.Error("the mail with a long line has not arrived as it was")
	}
	// For the rest the network need not run, which takes a processor's time.
	closed = true
	if err := w.Close(); err != nil {
		t.Errorf("close world: %v", err)
	}
	giveAll(t, w, badFiles)
}

// giveAll gives all bad inputs at once, and returns when each has its answer.
func giveAll(t *testing.T, w *demo.World, all []badInput) {
	t.Run("inputs", func(t *testing.T) {
		for _, b := range all {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				if strings.Contains(b.name, "for all to read") && runtime.GOOS == "windows" {
					t.Skip("Windows has no such bits")
				}
				got := b.do(t, newBadPlace(t, w))
				for _, want := range b.want {
					if !strings.Contains(got, want) {
						t.Errorf("the answer lacks %q:\n%.3000s", want, got)
					}
				}
				if strings.Contains(got, "panic") || strings.Contains(got, "goroutine ") {
					t.Errorf("it crashed:\n%s", got)
				}
			})
		}
	})
}

// oversized makes its mail when it is asked to: this program is the scripts' mailproxy, too,
// which would make it at each start.
func oversized(t *testing.T, p *badPlace) string {
	return loggedIn(envelope+"Subject: large\r\n\r\n"+strings.Repeat(strings.Repeat("x", 70)+"\r\n", outbox.MaxMessage/72+1)+".\r\n")(t, p)
}

// report sends mail and returns the report on it.
func report(to string) func(*testing.T, *badPlace) string {
	return func(t *testing.T, p *badPlace) string {
		m := "From: " + demo.Alice + "\r\nSubject: x\r\n\r\nx\r\n"
		if err := p.Submit(p.Accounts[0], to, []byte(m)); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return strings.Contains(inbox(t, p.World, demo.Alice), to) })
		return inbox(t, p.World, demo.Alice)
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v", patience)
		}
	}
}

// inbox returns all that an account's INBOX holds, one message after the other.
func inbox(t *testing.T, w *demo.World, address string) string {
	t.Helper()
	a, err := w.Daemon.Mailbox(address)
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, m := range list {
		b, err := f.Bytes(m)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}
