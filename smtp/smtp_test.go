package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netsmtp "net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"mailproxy/proxy/outbox"
	"mailproxy/proxy/refusal"
)

const mail = "From: alice@north.test\r\nTo: bob@south.test\r\nSubject: tea\r\n\r\nAt five.\r\n..\r\n.hidden\r\n"

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no submitter":          func(o *Options) { o.Submitter = nil },
		"no auth":               func(o *Options) { o.Auth = nil },
		"nobody could log in":   func(o *Options) { o.TLS, o.AllowPlaintext = nil, false },
		"negative message size": func(o *Options) { o.MaxMessage = -1 },
		"absurd message size":   func(o *Options) { o.MaxMessage = 1 << 40 },
	} {
		o, _ := options(&submitter{}, change)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNetSMTP(t *testing.T) {
	r := start(t, nil)
	c, err := netsmtp.Dial(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(clientTLS()); err != nil {
		t.Fatal(err)
	}
	if err := c.Auth(netsmtp.PlainAuth("", "alice@north.test", "wonderland", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("alice@north.test"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("bob@south.test"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(mail)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	got := r.one(t)
	if string(got.body) != mail || got.Account != "alice" || got.From != "alice@north.test" {
		t.Errorf("got %+v, body %q", got.Submission, got.body)
	}
}

func TestGoSMTPClientEnvelope(t *testing.T) {
	r := start(t, nil)
	c, err := gosmtp.DialStartTLS(r.addr, clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(sasl.NewLoginClient("alice@north.test", "wonderland")); err != nil {
		t.Fatal(err)
	}
	err = c.Mail("älice@north.test", &gosmtp.MailOptions{UTF8: true, Return: gosmtp.DSNReturnHeaders,
		EnvelopeID: "QQ314159", Size: int64(len(mail)), Body: gosmtp.Body8BitMIME})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Rcpt("bob@south.test", &gosmtp.RcptOptions{
		Notify:                []gosmtp.DSNNotify{gosmtp.DSNNotifySuccess, gosmtp.DSNNotifyDelayed},
		OriginalRecipientType: gosmtp.DSNAddressTypeRFC822, OriginalRecipient: "Bob+x@south.test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("carol@north.test", &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifyNever}}); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(mail)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := outbox.Submission{Account: "alice", From: "älice@north.test", EnvelopeID: "QQ314159",
		Return: outbox.ReturnHeaders, UTF8: true, Size: int64(len(mail)),
		Recipients: []outbox.Recipient{
			{Address: "bob@south.test", Notify: outbox.NotifySuccess | outbox.NotifyDelay, Original: "Bob+x@south.test", OriginalType: "rfc822"},
			{Address: "carol@north.test", Notify: outbox.NotifyNever},
		}}
	if got := r.one(t); !reflect.DeepEqual(got.Submission, want) {
		t.Errorf("got %+v\nwant %+v", got.Submission, want)
	}
}

func TestExtensions(t *testing.T) {
	r := start(t, func(o *Options) { o.AllowPlaintext, o.MaxMessage, o.MaxRecipients = false, 1<<20, 7 })
	c := r.dial(t)
	plain := c.cmd("250", "EHLO client.test")
	if strings.Contains(plain, "AUTH") || !strings.Contains(plain, "STARTTLS") {
		t.Errorf("before TLS: %q", plain)
	}
	c.cmd("220", "STARTTLS")
	s := newRaw(t, tls.Client(c.Conn, clientTLS()))
	secure := s.cmd("250", "EHLO client.test")
	for _, want := range []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "AUTH PLAIN LOGIN",
		"SMTPUTF8", "DSN", "SIZE 1048576", "LIMITS RCPTMAX=7"} {
		if !strings.Contains(secure, want) {
			t.Errorf("%s is missing from %q", want, secure)
		}
	}
	for _, unwanted := range []string{"STARTTLS", "BINARYMIME", "REQUIRETLS", "1048577"} {
		if strings.Contains(secure, unwanted) {
			t.Errorf("%s is announced", unwanted)
		}
	}
	s.logIn()
	s.cmd("250", "MAIL FROM:<alice@north.test>")
	for i := range 7 {
		s.cmd("250", fmt.Sprintf("RCPT TO:<bob%d@south.test>", i))
	}
	s.cmd("452 4.5.3", "RCPT TO:<bob8@south.test>")
}

// Invariant 6 of the design.
func TestAddressOutsideTheNetworkIsRefusedAtRCPT(t *testing.T) {
	r := start(t, nil)
	c := r.dialIn(t)
	c.cmd("250", "MAIL FROM:<alice@north.test>")
	got := c.cmd("550 5.1.2", "RCPT TO:<someone@example.org>")
	if !strings.Contains(got, "not an address of this network") || strings.Contains(got, "secret") {
		t.Errorf("reply %q", got)
	}
}

func TestRepliesAreOneLine(t *testing.T) {
	r := start(t, nil)
	r.before = func(context.Context) error {
		return &refusal.Error{Code: 999, Text: "a\r\n250 fine\x00" + strings.Repeat("ä", 400)}
	}
	c := r.dialIn(t)
	c.begin()
	c.cmd("354", "DATA")
	got := c.cmd("451 4.0.0 a  250 fine ", mail+".")
	if len(got) > 512 || strings.Count(got, "\n") != 1 || strings.Contains(got, "\ufffd") {
		t.Errorf("reply %q", got)
	}
	c.cmd("250", "NOOP")
}

func TestPipelining(t *testing.T) {
	r := start(t, nil)
	c := r.dialIn(t)
	c.send("MAIL FROM:<alice@north.test>\r\nRCPT TO:<bob@south.test>\r\nRCPT TO:<x@example.org>\r\nDATA\r\n")
	for _, want := range []string{"250", "250", "550", "354"} {
		c.expect(want)
	}
	c.send("Subject: a\r\n\r\na\r\n.\r\nMAIL FROM:<alice@north.test>\r\nRCPT TO:<bob@south.test>\r\nDATA\r\n")
	for _, want := range []string{"250", "250", "250", "354"} {
		c.expect(want)
	}
	c.send("Subject: b\r\n\r\nb\r\n.\r\nQUIT\r\n")
	c.expect("250")
	c.expect("221")
	c.ended()
	if all := r.all(); len(all) != 2 || string(all[1].body) != "Subject: b\r\n\r\nb\r\n" {
		t.Errorf("got %v", all)
	}
}

func TestChunking(t *testing.T) {
	r := start(t, func(o *Options) { o.MaxMessage = 1 << 16 })
	c := r.dialIn(t)
	c.begin()
	c.send("BDAT 5\r\n.\r\n.\r")
	c.expect("250")
	c.send("BDAT 6 LAST\r\n\n.\r\r\n.")
	c.expect("250")
	if got := r.one(t); string(got.body) != ".\r\n.\r\n.\r\r\n." {
		t.Errorf("body %q", got.body)
	}
	// Beyond the limit, in one chunk and in two; the connection stays.
	c.begin()
	c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", 1<<16+1, strings.Repeat("x", 1<<16+1)))
	c.expect("552 5.3.4")
	c.begin()
	c.send(fmt.Sprintf("BDAT %d\r\n%s", 1<<16, strings.Repeat("x", 1<<16)))
	c.expect("250")
	c.send("BDAT 100 LAST\r\n" + strings.Repeat("x", 100))
	c.expect("552 5.3.4")
	// Given up by RSET.
	c.begin()
	c.send("BDAT 5\r\nhello")
	c.expect("250")
	c.cmd("250", "RSET")
	c.begin()
	c.send("BDAT 0 LAST\r\n")
	c.expect("250")
	all := r.all()
	if len(all) != 2 || len(all[1].body) != 0 {
		t.Errorf("%d messages", len(all))
	}
}

func TestServeTLS(t *testing.T) {
	s := &submitter{}
	o, _ := options(s, func(o *Options) { o.AllowPlaintext = false })
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(ln) }()
	conn, err := tls.Dial("tcp", ln.Addr().String(), clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := newRaw(t, conn)
	c.expect("220")
	c.cmd("250", "EHLO client.test")
	c.logIn()
	c.begin()
	c.cmd("354", "DATA")
	c.cmd("250", mail+".")
	if got := s.one(t); len(got.body) == 0 {
		t.Error("empty body")
	}
	if err := errors.Join(server.Close(), <-done); err != nil {
		t.Error(err)
	}
	if err := server.Serve(ln); err == nil {
		t.Error("a closed server serves")
	}
}

func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	r := start(t, nil)
	file := filepath.Join(t.TempDir(), "mail")
	for i, body := range []string{mail, "Subject: long\r\n\r\n" + strings.Repeat("x", 100<<10) + "\r\n", "Subject: cr\r\n\r\nends with a bare CR\r"} {
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(curl, "-sS", "--insecure", "--ssl-reqd", "--max-time", "10", "--url", "smtp://"+r.addr,
			"--user", "alice@north.test:wonderland", "--mail-from", "alice@north.test", "--mail-rcpt", "bob@south.test",
			"--upload-file", file).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
		all := r.all()
		if len(all) != i+1 {
			t.Fatalf("%d messages", len(all))
		}
		// A client ends the last line if the file does not (RFC 5321 section 4.1.1.4).
		if want := strings.TrimSuffix(body, "\r\n") + "\r\n"; !bytes.Equal(all[i].body, []byte(want)) {
			t.Errorf("body %d differs: %.100q", i, all[i].body)
		}
	}
}
