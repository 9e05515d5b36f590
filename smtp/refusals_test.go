package smtp

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"mailproxy/proxy/outbox"
	"mailproxy/proxy/refusal"
)

// A refusalTest provokes one refusal.
type refusalTest struct {
	before []string // commands that are taken
	send   string   // without CRLF
	want   string   // code and enhanced code
	says   string   // a part of the sentence
}

const (
	plainAlice = "AUTH PLAIN AGFsaWNlQG5vcnRoLnRlc3QAd29uZGVybGFuZA=="
	mailAlice  = "MAIL FROM:<alice@north.test>"
	rcptBob    = "RCPT TO:<bob@south.test>"
)

// refusals are all of them: of this package, of the outbox by way of it, and of the
// library. Behind them stand the RFCs: 5321 section 4.2, 3463, 4954 section 6, 3207
// section 4, 1870 section 6.1, 3461 section 4, 6531 section 3.5, 3030.
func refusals() []refusalTest {
	in, mail, rcpt := []string{plainAlice}, []string{plainAlice, mailAlice}, []string{plainAlice, mailAlice, rcptBob}
	chunk := append(rcpt[:3:3], "BDAT 3\r\nx")
	const limit = 1 << 20
	return []refusalTest{
		{nil, "XYZZY", "500 5.5.2", "not a command"},
		{nil, "QUI", "500 5.5.2", "not a command"},
		{nil, "", "500 5.5.2", "empty line"},
		{nil, "HELP", "502 5.5.1", "does not have"},
		{nil, "EXPN list", "502 5.5.1", "does not have"},
		{nil, "LHLO x", "500 5.5.1", "use EHLO"},
		{nil, "EHLO", "501 5.5.4", "missing behind EHLO"},
		{nil, "NOOP\r\n" + strings.Repeat("XYZZY\r\n", 4) + "XYZZY", "421 4.7.0", "too many"},

		{nil, mailAlice, "530 5.7.0", "log in before"},
		{nil, "AUTH", "501 5.5.4", "PLAIN or LOGIN"},
		{nil, "AUTH GSSAPI", "504 5.5.4", "AUTH PLAIN and AUTH LOGIN"},
		{nil, "AUTH PLAIN !!!", "501 5.5.2", "base64"},
		{nil, "AUTH PLAIN eA==", "501 5.5.2", "malformed"},
		{nil, "AUTH LOGIN\r\n*", "501 5.7.0", "cancelled"},
		{nil, "AUTH PLAIN AGFsaWNlQG5vcnRoLnRlc3QAYmFk", "535 5.7.8", "if it is lost, this makes another: mailproxy account password ADDRESS"},
		{nil, "AUTH PLAIN Ym9iAGFsaWNlQG5vcnRoLnRlc3QAd29uZGVybGFuZA==", "535 5.7.8", "another user"},
		{nil, "AUTH PLAIN AGJyb2tlbgB4", "454 4.7.0", "try again later"},
		{in, plainAlice, "503 5.5.1", "logged in already"},

		{in, "MAIL alice@north.test", "501 5.1.7", "FROM:<name@domain>"},
		{in, "MAIL FROM:<alice>", "501 5.1.7", "FROM:<name@domain>"},
		{in, "MAIL FROM:<alice@north.test> SIZE=1=2", "501 5.5.4", "parameters of MAIL"},
		{in, "MAIL FROM:<alice@north.test> X=1", "555 5.5.4", "does not offer"},
		{in, "MAIL FROM:<alice@north.test> REQUIRETLS", "555 5.5.4", "REQUIRETLS"},
		{in, "MAIL FROM:<alice@north.test> BY=60;R", "555 5.5.4", "does not offer"},
		{in, "MAIL FROM:<alice@north.test> BODY=BINARYMIME", "504 5.5.4", "8BITMIME"},
		{in, "MAIL FROM:<alice@north.test> BODY=9BIT", "501 5.5.4", "7BIT or 8BITMIME"},
		{in, "MAIL FROM:<alice@north.test> RET=NONE", "501 5.5.4", "FULL or HDRS"},
		{in, "MAIL FROM:<alice@north.test> ENVID=+0A", "501 5.5.4", "ENVID"},
		{in, "MAIL FROM:<alice@north.test> ENVID=" + strings.Repeat("x", 101), "501 5.5.4", "100 characters"},
		{in, "MAIL FROM:<alice@north.test> AUTH=x", "501 5.5.4", "AUTH parameter"},
		{in, "MAIL FROM:<alice@north.test> AUTH=", "501 5.5.4", "AUTH parameter"},
		{in, fmt.Sprintf("MAIL FROM:<alice@north.test> SIZE=%d", limit+1), "552 5.3.4", "at most 1048576 bytes (1 MiB)"},
		{in, fmt.Sprintf("MAIL FROM:<alice@north.test> SIZE=%d", limit+2), "552 5.3.4", "at most 1048576 bytes (1 MiB)"},
		{in, "MAIL FROM:<alice@north.test> SIZE=5000000000", "552 5.3.4", "at most 1048576 bytes (1 MiB)"},
		{in, "MAIL FROM:<mallory@north.test>", "550 5.7.1", "may send as alice@north.test only"},
		{in, "MAIL FROM:<älice@north.test>", "553 5.6.7", "SMTPUTF8"},
		{in, "MAIL FROM:<\"al ice\"@north.test>", "553 5.1.7", "sender's address"},
		{in, "MAIL FROM:<" + strings.Repeat("a", 65) + "@north.test>", "553 5.1.7", "too long"},
		{mail, mailAlice, "503 5.5.1", "RSET"},

		{in, rcptBob, "503 5.5.1", "MAIL comes before RCPT"},
		{mail, "RCPT bob@south.test", "501 5.1.3", "TO:<name@domain>"},
		{mail, "RCPT TO:<>", "501 5.1.3", "TO:<name@domain>"},
		{mail, "RCPT TO:<bob@south.test> NOTIFY=1=2", "501 5.5.4", "parameters of RCPT"},
		{mail, "RCPT TO:<bob@south.test> X=1", "555 5.5.4", "does not offer"},
		{mail, "RCPT TO:<bob@south.test> RRVS=2014-04-03T23:01:00Z", "555 5.5.4", "does not offer"},
		{mail, "RCPT TO:<bob@south.test> NOTIFY=NEVER,SUCCESS", "501 5.5.4", "NEVER alone"},
		{mail, "RCPT TO:<bob@south.test> NOTIFY=SOMETIMES", "501 5.5.4", "NEVER alone"},
		{mail, "RCPT TO:<bob@south.test> ORCPT=bob", "501 5.5.4", "rfc822 or utf-8"},
		{mail, "RCPT TO:<bob@south.test> ORCPT=rfc822;" + strings.Repeat("x", 501), "501 5.5.4", "too long"},
		{mail, "RCPT TO:<someone@example.org>", "550 5.1.2", "not an address of this network"},
		{mail, "RCPT TO:<bob@fault.test>", "451 4.3.0", "try again later"},
		{mail, "RCPT TO:<bob@south.test@evil.test>", "553 5.1.3", "recipient's address"},
		{mail, "RCPT TO:<\"bob@south.test\"@north.test>", "553 5.1.3", "recipient's address"},
		{mail, "RCPT TO:<b\x01b@south.test>", "553 5.1.3", "recipient's address"},
		{mail, "RCPT TO:<b\rX-Evil@south.test>", "553 5.1.3", "recipient's address"},
		{mail, "RCPT TO:<b\xffb@south.test>", "553 5.1.3", "UTF-8"},
		{mail, "RCPT TO:<bö@south.test>", "553 5.6.7", "SMTPUTF8"},
		{mail, "RCPT TO:<" + strings.Repeat("b", 65) + "@south.test>", "553 5.1.3", "too long"},
		{append(rcpt[:3:3], "RCPT TO:<b2@south.test>"), "RCPT TO:<b3@south.test>", "452 4.5.3", "can have 2 recipients"},

		{in, "DATA", "503 5.5.1", "no recipient has been accepted"},
		{append(mail[:2:2], "RSET"), "DATA", "503 5.5.1", "no recipient has been accepted"},
		{rcpt, "DATA now", "501 5.5.4", "stands alone"},
		{in, "BDAT 0 LAST", "503 5.5.1", "no recipient has been accepted"},
		{rcpt, "BDAT", "501 5.5.4", "size of the chunk"},
		{rcpt, "BDAT -1", "501 5.5.4", "size of the chunk"},
		{rcpt, "BDAT 1 LAST LAST", "501 5.5.4", "LAST only"},
		{rcpt, "BDAT 1 FIRST", "501 5.5.4", "LAST only"},
		{chunk, mailAlice, "503 5.5.1", "BDAT"},
		{chunk, rcptBob, "503 5.5.1", "BDAT"},
		{chunk, "DATA", "503 5.5.1", "BDAT"},
		{rcpt, fmt.Sprintf("BDAT %d LAST\r\n%s", limit+1, strings.Repeat("x", limit-1)), "552 5.3.4", "at most 1048576 bytes"},
		{append(rcpt[:3:3], "DATA"), lines(limit+1) + ".", "552 5.3.4", "at most 1048576 bytes"},
		{append(rcpt[:3:3], "DATA"), "Subject: refuse me\r\n\r\n.", "554 5.6.0", "of the header"},
		{append(rcpt[:3:3], "DATA"), "Subject: full disk\r\n\r\n.", "452 4.3.1", "no room"},
		{append(rcpt[:3:3], "DATA"), "Subject: fault\r\n\r\n.", "451 4.3.0", "try again later"},
	}
}

// refuser refuses messages by their subject, as an outbox may.
type refuser struct{ submitter }

func (r *refuser) Submit(_ context.Context, _ *outbox.Submission, msg io.Reader) error {
	b, err := io.ReadAll(msg)
	switch s := string(b); {
	case err != nil:
		return err
	case strings.Contains(s, "refuse me"):
		return &refusal.Error{Code: 554, Enhanced: [3]int{5, 6, 0}, Text: "line 3 of the header has no colon", Err: fmt.Errorf("secret cause")}
	case strings.Contains(s, "full disk"):
		return refusal.New(452, [3]int{4, 3, 1}, "there is no room on the disk; free some and send again")
	}
	return fmt.Errorf("secret cause")
}

var replyForm = regexp.MustCompile(`^[45]\d\d [45]\.\d\.\d{1,2} [^\r\n]*[a-z][^\r\n]*\r\n$`)

// TestEveryRefusal wants of every refusal its code, an enhanced code of the same class
// (RFC 2034 section 4), one line that fits, and a sentence which helps.
func TestEveryRefusal(t *testing.T) {
	seen := map[string]bool{}
	for _, tt := range refusals() {
		name := tt.send[:min(len(tt.send), 40)]
		s := &refuser{}
		o, logs := options(s, func(o *Options) { o.MaxMessage, o.MaxRecipients = 1<<20, 2 })
		r := serve(t, o)
		c := r.dial(t)
		c.cmd("250", "EHLO client.test")
		for _, b := range tt.before {
			c.send(b + "\r\n")
			if got, err := c.reply(); err != nil || got[0] != '2' && got[0] != '3' {
				t.Fatalf("%s: before it, %q: %q, %v", name, b, got, err)
			}
		}
		c.send(tt.send + "\r\n")
		got := ""
		for got == "" || got[0] == '2' || got[0] == '3' || strings.Contains(tt.send, "XYZZY\r\n") && strings.HasPrefix(got, "500") {
			var err error
			if got, err = c.reply(); err != nil {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
		}
		if !strings.HasPrefix(got, tt.want+" ") || !strings.Contains(got, tt.says) {
			t.Errorf("%s: %q, want %s … %s", name, got, tt.want, tt.says)
		}
		if !replyForm.MatchString(got) || got[0] != got[4] || len(got) > 512 || strings.Contains(got, "secret") {
			t.Errorf("%s: %q", name, got)
		}
		for _, w := range reworded {
			if strings.HasPrefix(got, w.ours) {
				seen[w.ours] = true
			}
		}
		if strings.Contains(logs.String(), "@") {
			t.Errorf("%s: the log has an address: %s", name, logs)
		}
		c.Close()
	}
	// Others are provoked elsewhere: silence, broken connections and endless lines in
	// limits_test.go, a login without TLS in traps_test.go, a panic nowhere.
	elsewhere := "530 5.7.0 turn on|503 5.5.1 EHLO|421 4.3.0|421 4.4.2|500 5.5.2 too much"
	for _, w := range reworded {
		if !seen[w.ours] && !regexp.MustCompile("^("+elsewhere+")").MatchString(w.ours) {
			t.Errorf("nothing provokes %q: does the library still say %q?", w.ours, w.library)
		}
	}
}

// TestSizeIsExact: the limit that EHLO announces is the largest that is taken (RFC 1870
// section 4), announced and not.
func TestSizeIsExact(t *testing.T) {
	r := start(t, func(o *Options) { o.MaxMessage = 1000 })
	c := r.dialIn(t)
	if got := c.cmd("250", "EHLO client.test"); !strings.Contains(got, "SIZE 1000\r\n") {
		t.Errorf("announced %q", got)
	}
	for size, want := range map[int]string{999: "250", 1000: "250", 1001: "552 5.3.4", 1002: "552 5.3.4"} {
		c.cmd(want, fmt.Sprintf("MAIL FROM:<alice@north.test> SIZE=%d", size))
		c.cmd("250", "RSET")
		c.begin()
		c.cmd("354", "DATA")
		c.send(lines(size))
		c.cmd(want, ".")
		c.begin()
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", size, strings.Repeat("x", size)))
		c.expect(want)
		c.cmd("250", "RSET")
	}
	if n := len(r.all()); n != 4 {
		t.Errorf("%d messages were taken", n)
	}
}

// TestPerRecipientAnswers: each recipient has an answer of its own, and a message goes
// to those that were accepted (RFC 5321 section 3.3; RFC 9422 section 4.2 for RCPTMAX).
func TestPerRecipientAnswers(t *testing.T) {
	r := start(t, func(o *Options) { o.MaxRecipients = 3 })
	c := r.dialIn(t)
	if got := c.cmd("250", "EHLO client.test"); !strings.Contains(got, "LIMITS RCPTMAX=3\r\n") {
		t.Errorf("announced %q", got)
	}
	c.cmd("250", mailAlice)
	for _, rcpt := range []struct{ address, want string }{
		{"bob@south.test", "250"}, {"x@example.org", "550 5.1.2"}, {"carol@north.test", "250"}, {"a b@north.test", "501 5.1.3"},
		{"bob@fault.test", "451 4.3.0"}, {"dave@north.test", "250"}, {"eve@north.test", "452 4.5.3"},
	} {
		c.cmd(rcpt.want, "RCPT TO:<"+rcpt.address+">")
	}
	c.cmd("354", "DATA")
	c.cmd("250", mail+".")
	got := r.one(t)
	if to := strings.Join(got.Addresses(), " "); to != "bob@south.test carol@north.test dave@north.test" {
		t.Errorf("sent to %s", to)
	}
}

// TestPlainWords: what is answered to commands that are taken says what is so, promises
// nothing, and repeats nothing of the client's.
func TestPlainWords(t *testing.T) {
	r := start(t, func(o *Options) { o.Hostname = "desk.test" })
	c := r.dial(t)
	if got := c.cmd("250", "HELO client.test"); got != "250 desk.test\r\n" {
		t.Errorf("HELO: %q", got)
	}
	if got := c.cmd("250", "EHLO client.test"); !strings.HasPrefix(got, "250-desk.test\r\n") || strings.Contains(got, "client.test") {
		t.Errorf("EHLO: %q", got)
	}
	c.cmd("235", plainAlice)
	for _, tt := range []struct{ command, want string }{
		{"NOOP", "250 2.0.0 still here"},
		{"VRFY bob", "252 2.5.0 addresses are not looked up here"},
		{mailAlice, "250 2.1.0 the sender is accepted"},
		{rcptBob, "250 2.1.5 the recipient is accepted"},
		{"DATA", "354 send the message"},
	} {
		c.send(tt.command + "\r\n")
		if got, err := c.reply(); err != nil || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %q, %v", tt.command, got, err)
		}
	}
}
