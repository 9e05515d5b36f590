package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Design section 8: "a password taken and never checked".
func TestTrapPasswordIsChecked(t *testing.T) {
	plain := func(s string) string { return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte(s)) }
	bubble(t, nil, func(t *testing.T, c *raw, s *submitter) {
		c.cmd("250", "EHLO client.test")
		c.cmd("504 5.5.4", "AUTH CRAM-MD5")
		c.cmd("501 5.5.2", plain("no separators"))
		c.cmd("501 5.5.2", "AUTH PLAIN =")
		c.cmd("501 5.5.2", "AUTH PLAIN !!!")
		c.cmd("334", "AUTH LOGIN")
		c.cmd("501 5.7.0", "*")
		c.cmd("535 5.7.8", plain("bob\x00alice@north.test\x00wonderland"))
		before := time.Now()
		got := c.cmd("535 5.7.8", plain("\x00alice@north.test\x00looking-glass"))
		if !strings.Contains(got, "password") {
			t.Errorf("reply %q does not help", got)
		}
		if d := time.Since(before); d != wrongDelay {
			t.Errorf("answered after %v", d)
		}
		c.cmd("530 5.7.0", "MAIL FROM:<alice@north.test>")
		c.cmd("334 VXNlcm5hbWU6", "AUTH LOGIN")
		c.cmd("334 UGFzc3dvcmQ6", "YWxpY2VAbm9ydGgudGVzdA==")
		c.cmd("535 5.7.8", "")
		c.cmd("530 5.7.0", "MAIL FROM:<alice@north.test>")
		// The third wrong password ends the connection.
		c.cmd("535 5.7.8", plain("\x00\x00"))
		c.ended()
	})
}

// Design section 8: "a missing OS keychain reported as a wrong password". Whatever
// keeps the password from being checked is a temporary failure.
func TestTrapLockedKeychain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *raw, s *submitter) {
		c.cmd("250", "EHLO client.test")
		got := c.cmd("454 4.7.0", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00broken\x00x")))
		if strings.Contains(got, "store") {
			t.Errorf("the cause is shown: %q", got)
		}
	})
}

func TestAuthLoginWithInitialResponse(t *testing.T) {
	r := start(t, nil)
	c := r.dial(t)
	c.cmd("250", "EHLO client.test")
	c.cmd("334 UGFzc3dvcmQ6", "AUTH LOGIN YWxpY2VAbm9ydGgudGVzdA==")
	c.cmd("235", "d29uZGVybGFuZA==")
	c.cmd("250", "MAIL FROM:<alice@north.test>")
}

func TestNoLoginWithoutTLS(t *testing.T) {
	r := start(t, func(o *Options) { o.AllowPlaintext = false })
	c := r.dial(t)
	c.cmd("250", "EHLO client.test")
	c.cmd("530 5.7.0", "AUTH PLAIN AGFsaWNlQG5vcnRoLnRlc3QAd29uZGVybGFuZA==")
	if got := c.cmd("530 5.7.0", "MAIL FROM:<alice@north.test>"); !strings.Contains(got, "STARTTLS") {
		t.Errorf("reply %q", got)
	}
}

// Commands sent in one packet with STARTTLS must not run inside TLS
// (CVE-2011-0411), and a login before it must not count after it.
func TestTrapStartTLSForgets(t *testing.T) {
	r := start(t, nil)
	c := r.dialIn(t)
	c.send("STARTTLS\r\nNOOP\r\n")
	c.expect("220")
	s := newRaw(t, tls.Client(c.Conn, clientTLS()))
	s.cmd("503", "MAIL FROM:<alice@north.test>") // no EHLO yet, and no reply to NOOP
	s.cmd("250", "EHLO client.test")
	s.cmd("530 5.7.0", "MAIL FROM:<alice@north.test>")
	s.logIn()
	s.cmd("250", "MAIL FROM:<alice@north.test>")
	s.cmd("503 5.5.1 TLS is on already", "STARTTLS")

	// Neither a message nor a login that was begun before is gone on with.
	c = r.dialIn(t)
	c.send("MAIL FROM:<alice@north.test>\r\nRCPT TO:<bob@south.test>\r\nSTARTTLS\r\nDATA\r\nstolen\r\n.\r\n")
	for _, want := range []string{"250", "250", "220"} {
		c.expect(want)
	}
	s = newRaw(t, tls.Client(c.Conn, clientTLS()))
	s.cmd("250", "EHLO client.test")
	s.cmd("503", "DATA")
	c = r.dial(t)
	c.cmd("250", "EHLO client.test")
	c.send("STARTTLS\r\nAUTH PLAIN AGFsaWNlQG5vcnRoLnRlc3QAd29uZGVybGFuZA==\r\nMAIL FROM:<alice@north.test>\r\n")
	c.expect("220")
	s = newRaw(t, tls.Client(c.Conn, clientTLS()))
	s.cmd("250", "EHLO client.test")
	s.cmd("530", "MAIL FROM:<alice@north.test>")
	if len(r.all()) != 0 {
		t.Error("what followed STARTTLS in clear text was submitted")
	}
}

// Design section 8: "a size limit that shows as a dropped connection".
func TestTrapSizeLimitDropsConnection(t *testing.T) {
	const limit = 1 << 20
	r := start(t, func(o *Options) { o.MaxMessage = limit })
	c := r.dialIn(t)
	c.cmd("552 5.3.4", "MAIL FROM:<alice@north.test> SIZE=1048577")
	c.cmd("552 5.3.4", "MAIL FROM:<alice@north.test> SIZE=1048578")
	c.cmd("250", "MAIL FROM:<alice@north.test> SIZE=1048576")
	c.cmd("250", "RSET")
	for _, size := range []int{limit + 1, limit + 2, 3 * limit} {
		c.begin()
		c.cmd("354", "DATA")
		c.send(lines(size))
		c.cmd("552 5.3.4", ".")
	}
	// One line that is too large by itself is answered all the same.
	c.begin()
	c.cmd("354", "DATA")
	c.send(strings.Repeat("x", 2*limit))
	c.cmd("552 5.3.4", "\r\n.")
	if len(r.all()) != 0 {
		t.Fatal("too large a message was submitted")
	}
	c.begin()
	c.cmd("354", "DATA")
	c.send(lines(limit))
	c.cmd("250", ".")
	if got := r.one(t); string(got.body) != lines(limit) {
		t.Error("a message of exactly the limit differs")
	}
}

// lines returns size bytes of lines that end with CRLF.
func lines(size int) string {
	const line = "twenty-two bytes here\r\n"
	n := (size - 2) / len(line)
	return strings.Repeat(line, n) + strings.Repeat("x", size-2-n*len(line)) + "\r\n"
}

// The library's line limit of 2000 holds for bodies and ends the connection.
func TestTrapLongLine(t *testing.T) {
	r := start(t, nil)
	c := r.dialIn(t)
	for _, n := range []int{100 << 10, 3 << 20} {
		c.begin()
		c.cmd("354", "DATA")
		body := "Subject: long\r\n\r\n" + strings.Repeat("x", n) + "\r\n"
		c.send(body)
		c.cmd("250", ".")
		if all := r.all(); !bytes.Equal(all[len(all)-1].body, []byte(body)) {
			t.Errorf("a line of %d bytes differs", n)
		}
	}
	c.cmd("221", "QUIT")
}

// Design section 7: 250 only when the message is on disk.
func TestTrap250BeforeTheMessageIsStored(t *testing.T) {
	r := start(t, nil)
	reached, goOn := make(chan bool), make(chan bool)
	r.before = func(context.Context) error {
		close(reached)
		<-goOn
		return errors.New("disk is on fire")
	}
	c := r.dialIn(t)
	c.begin()
	c.cmd("354", "DATA")
	c.send(mail + ".\r\n")
	<-reached
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.r.Peek(1); err == nil {
		t.Errorf("a reply (%q...) came before Submit returned", got)
	}
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	c.expect("451 4.3.0")
	r.before = nil
	r.lazy = true
	c.begin()
	c.cmd("354", "DATA")
	c.cmd("451 4.3.0", mail+".")
	if len(r.all()) != 0 {
		t.Error("a message was taken")
	}
}

func TestTrapCutBeforeTheFinalDot(t *testing.T) {
	r := start(t, nil)
	for i, partial := range []string{"DATA\r\n", "DATA\r\nSubject: x\r\n\r\nhal", "DATA\r\n" + mail + ".\r", "DATA\r\n" + mail + ".\n",
		"DATA\r\nx\n.\n", "DATA\r\nx\n.\r\n", "DATA\r\nx\r.\r", "BDAT 100 LAST\r\nSubject: x", "BDAT 5\r\nhello"} {
		c := r.dialIn(t)
		c.begin()
		c.send(partial)
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(c.r)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(rest)) {
			if strings.HasPrefix(line, "250") && !strings.Contains(line, "Continue") {
				t.Errorf("%q was accepted: %q", partial, rest)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for r.returned() <= i { // Submit has seen the cut
			time.Sleep(time.Millisecond)
		}
	}
	if len(r.all()) != 0 {
		t.Errorf("%d messages were submitted", len(r.all()))
	}
}

// The library takes a last chunk that the client's end cuts short for whole.
func TestTrapLastChunkCutShort(t *testing.T) {
	r := start(t, nil)
	connect := func() (*raw, *tls.Conn) {
		c := r.dial(t)
		c.cmd("250", "EHLO client.test")
		c.cmd("220", "STARTTLS")
		secure := tls.Client(c.Conn, clientTLS())
		s := newRaw(t, secure)
		s.cmd("250", "EHLO client.test")
		s.logIn()
		s.begin()
		return s, secure
	}
	s, secure := connect()
	s.send("BDAT 100 LAST\r\nSubject: cut")
	if err := secure.CloseWrite(); err != nil { // close_notify: a clean end of TLS
		t.Fatal(err)
	}
	s.expect("451 4.4.2")
	s.ended()
	s, secure = connect()
	s.send("BDAT 100 LAST\r\nSubject: cut")
	if err := secure.NetConn().Close(); err != nil {
		t.Fatal(err)
	}
	for r.returned() < 2 {
		time.Sleep(time.Millisecond)
	}
	if len(r.all()) != 0 {
		t.Fatal("a cut message was submitted")
	}
	// Whole chunks, several messages on one connection.
	s, _ = connect()
	big := strings.Repeat("x", 100_000)
	for range 3 {
		s.send("BDAT 5\r\nhello")
		s.expect("250")
		s.send("BDAT 100000 LAST\r\n" + big)
		s.expect("250 2.0.0 OK")
		s.begin()
	}
	if all := r.all(); len(all) != 3 || string(all[2].body) != "hello"+big {
		t.Errorf("%d messages", len(all))
	}
}

// A line feed alone does not end a line of DATA: else a body could carry a second
// message (SMTP smuggling).
func TestTrapSmuggling(t *testing.T) {
	r := start(t, nil)
	c := r.dialIn(t)
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r\r\n"} {
		n := len(r.all())
		c.begin()
		c.cmd("354", "DATA")
		c.send("Subject: x\r\n\r\n1" + end + "MAIL FROM:<alice@north.test>\r\n")
		c.cmd("250", ".")
		c.cmd("250 2.0.0 still", "NOOP")
		if got := len(r.all()); got != n+1 {
			t.Errorf("%q: %d messages", end, got-n)
		}
	}
}

// The library does not see CR LF . CR LF after an even number of CRs: a body
// that ends with a bare CR then hangs until the client gives up.
func TestTrapBareCRBeforeTheFinalDot(t *testing.T) {
	for _, body := range []string{"\r", "a\r", "a\r\r", "a\r\r\r", "a\r\r\n.b\r\r\n\r\n.\r\r\r\n.x", "a\r\r\n.\rb", "a\r\r\n."} {
		r := start(t, nil)
		c := r.dialIn(t)
		c.begin()
		c.cmd("354", "DATA")
		c.send(stuff(body))
		c.expect("250")
		if got := r.one(t); string(got.body) != body+"\r\n" {
			t.Errorf("got %q, want %q", got.body, body+"\r\n")
		}
		_ = c.Close()
	}
}

// stuff is what RFC 5321 section 4.5.2 has a client do.
func stuff(body string) string {
	body = "\r\n" + body + "\r\n"
	return strings.ReplaceAll(body, "\r\n.", "\r\n..")[2:] + ".\r\n"
}
