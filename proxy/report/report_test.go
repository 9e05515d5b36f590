package report

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
)

var now = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

const sent = "From: alice@north.test\r\nTo: bob@south.test\r\nSubject: =?utf-8?q?T=C3=A4a?=\r\n at five\r\n" +
	"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <abc@mailproxy.invalid>\r\n\r\nbody text\r\n"

func sample() Report {
	bob := UnknownUser.For("bob@south.test", time.Time{})
	bob.Original, bob.OriginalType, bob.Diagnostic = "Bob+tea@south.test", "rfc822", "spool said: no such name"
	return Report{
		From: "postmaster@localhost", To: "alice@north.test", EnvelopeID: "QQ314159",
		Arrival: now.Add(-time.Hour), Recipients: []Recipient{bob, Delayed.For("carol@east.test", now.Add(96*time.Hour))},
		Original: []byte(sent), Now: now, Rand: rand.NewChaCha8([32]byte{1}),
	}
}

type parsed struct {
	header message.Header
	types  []string
	bodies [][]byte
	fields []textproto.Header // of the status part, one per block
}

// parse takes a report apart with go-message.
func parse(t testing.TB, b []byte) parsed {
	t.Helper()
	e, err := message.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("read: %v\n%s", err, b)
	}
	mr := e.MultipartReader()
	if mr == nil {
		t.Fatalf("no multipart:\n%s", b)
	}
	p := parsed{header: e.Header}
	for {
		part, err := mr.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("next part: %v\n%s", err, b)
		}
		kind, _, err := part.Header.ContentType()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatal(err)
		}
		p.types, p.bodies = append(p.types, kind), append(p.bodies, body)
	}
	if len(p.bodies) < 2 {
		t.Fatalf("%d parts:\n%s", len(p.bodies), b)
	}
	r := bufio.NewReader(bytes.NewReader(append(p.bodies[1], "\r\n"...)))
	for {
		h, err := textproto.ReadHeader(r)
		if err != nil {
			t.Fatalf("status fields: %v\n%s", err, p.bodies[1])
		}
		p.fields = append(p.fields, h)
		if _, err := r.Peek(1); err == io.EOF {
			return p
		}
	}
}

func build(t testing.TB, r Report) []byte {
	t.Helper()
	b, err := Build(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuild(t *testing.T) {
	b := build(t, sample())
	p := parse(t, b)
	for name, want := range map[string]string{
		"Return-Path": "<>", "From": "mailproxy <postmaster@localhost>", "To": "<alice@north.test>",
		"Subject": "Your message could not be delivered", "Auto-Submitted": "auto-replied",
		"In-Reply-To": "<abc@mailproxy.invalid>", "References": "<abc@mailproxy.invalid>",
		"Date": "Sun, 22 Nov 2026 14:00:00 +0000",
	} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	kind, params, err := p.header.ContentType()
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Errorf("type %s %v, %v", kind, params, err)
	}
	if got := fmt.Sprint(p.types); got != "[text/plain message/delivery-status text/rfc822-headers]" {
		t.Errorf("parts %s", got)
	}
	human := string(p.bodies[0])
	for _, want := range []string{"Subject: Täa at five", "To bob@south.test:", "no mailbox with this name", "To carol@east.test:",
		"Thursday, 26", "Saturday, 21 November 2026"} {
		if !strings.Contains(human, want) {
			t.Errorf("%q is missing from\n%s", want, human)
		}
	}
	want := []map[string]string{
		{"Original-Envelope-Id": "QQ314159", "Reporting-Mta": "dns; localhost", "Arrival-Date": "Sun, 22 Nov 2026 13:00:00 +0000"},
		{"Original-Recipient": "rfc822; Bob+tea@south.test", "Final-Recipient": "rfc822; bob@south.test", "Action": "failed",
			"Status": "5.1.1", "Diagnostic-Code": "x-mailproxy; spool said: no such name"},
		{"Final-Recipient": "rfc822; carol@east.test", "Action": "delayed", "Status": "4.4.7",
			"Will-Retry-Until": "Thu, 26 Nov 2026 14:00:00 +0000"},
	}
	if len(p.fields) != len(want) {
		t.Fatalf("%d blocks", len(p.fields))
	}
	for i, w := range want {
		if p.fields[i].Len() != len(w) {
			t.Errorf("block %d has %d fields", i, p.fields[i].Len())
		}
		for k, v := range w {
			if got := p.fields[i].Get(k); got != v {
				t.Errorf("block %d: %s is %q, want %q", i, k, got, v)
			}
		}
	}
	if got := string(p.bodies[2]); got != sent[:strings.Index(sent, "\r\n\r\n")+2] {
		t.Errorf("returned header %q", got)
	}
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\r\n")) || len(line) > 1000 {
			t.Errorf("bad line %.80q", line)
		}
	}
}

func TestReasons(t *testing.T) {
	for why := UnknownUser; why <= KeyRejected; why++ {
		r := sample()
		r.Recipients = []Recipient{why.For("bob@south.test", now.Add(time.Hour))}
		p := parse(t, build(t, r))
		human := string(p.bodies[0])
		if strings.ContainsAny(human, "{}") || len(p.header.Get("Subject")) < 10 {
			t.Errorf("reason %d:\n%s", why, human)
		}
		if p.fields[1].Has("Will-Retry-Until") != (p.fields[1].Get("Action") == ActionDelayed) {
			t.Errorf("reason %d: Will-Retry-Until with %s", why, p.fields[1].Get("Action"))
		}
		for line := range strings.Lines(human) {
			if len(strings.TrimSpace(line)) > 72 {
				t.Errorf("reason %d: long line %q", why, line)
			}
		}
	}
	if len(reasons) != int(KeyRejected) {
		t.Errorf("%d reasons", len(reasons))
	}
	for why, want := range map[Reason]string{NotConfirmed: "not confirmed", InSpool: "mailbox", Delivered: "was delivered", Held: "delayed", Expired: "could not"} {
		r := sample()
		r.Recipients = []Recipient{why.For("bob@south.test", time.Time{})}
		if got := r.subject(); !strings.Contains(got, want) {
			t.Errorf("reason %d has the subject %q", why, got)
		}
	}
}

func TestReturnWhole(t *testing.T) {
	for name, c := range map[string]struct{ original, kind, encoding string }{
		"plain":           {sent, "message/rfc822", "7bit"},
		"eight bit":       {sent + "ä\r\n", "message/rfc822", "8bit"},
		"long line":       {sent + strings.Repeat("x", 2000), "message/rfc822", "binary"},
		"bare line feed":  {sent + "a\nb\r\n", "message/rfc822", "binary"},
		"utf-8 header":    {"Subject: ä\r\n" + sent, "message/global", "8bit"},
		"too large":       {sent + strings.Repeat("x\r\n", MaxWhole/3), "text/rfc822-headers", "7bit"},
		"no empty line":   {"Subject: x", "message/rfc822", "7bit"},
		"a boundary-like": {sent + "--report-\r\n--report---\r\n", "message/rfc822", "7bit"},
	} {
		r := sample()
		r.Whole, r.Original = true, []byte(c.original)
		b := build(t, r)
		p := parse(t, b)
		if p.types[2] != c.kind || !bytes.Contains(b, []byte("Content-Transfer-Encoding: "+c.encoding+"\r\n")) {
			t.Errorf("%s: %s\n%s", name, p.types[2], b)
		}
		if c.kind != "text/rfc822-headers" && string(p.bodies[2]) != c.original {
			t.Errorf("%s: the original came back as %q", name, p.bodies[2])
		}
	}
	r := sample()
	r.Original = nil
	if p := parse(t, build(t, r)); len(p.types) != 2 {
		t.Errorf("parts %v without an original", p.types)
	}
	r.Original = []byte("Subject: ä\r\nX: \xff\x00\r\n\r\n")
	p := parse(t, build(t, r))
	if p.types[2] != "message/global-headers" || string(p.bodies[2]) != "Subject: ä\r\nX: \ufffd?\r\n" {
		t.Errorf("%v %q", p.types, p.bodies[2])
	}
}

func TestGlobalAddresses(t *testing.T) {
	r := sample()
	r.Recipients = []Recipient{UnknownUser.For("bäb@süd.test", time.Time{}), InSpool.For("carol@east.test", time.Time{})}
	r.Recipients[0].Original, r.Recipients[0].OriginalType = "b+\\ä@süd.test", "utf-8"
	p := parse(t, build(t, r))
	_, params, _ := p.header.ContentType()
	if params["report-type"] != "global-delivery-status" || p.types[1] != "message/global-delivery-status" {
		t.Errorf("%v %v", params, p.types)
	}
	if got := p.fields[1].Get("Final-Recipient"); got != "utf-8; bäb@süd.test" {
		t.Errorf("final %q", got)
	}
	if got := p.fields[1].Get("Original-Recipient"); got != `utf-8; b\x{2B}\x{5C}ä@süd.test` {
		t.Errorf("original %q", got)
	}
	if got := p.fields[2].Get("Final-Recipient"); got != "rfc822; carol@east.test" {
		t.Errorf("final %q", got)
	}
	if !strings.Contains(string(p.bodies[0]), "no mailbox with this name at süd.test") {
		t.Errorf("human part:\n%s", p.bodies[0])
	}
}

func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*Report){
		"no sender":      func(r *Report) { r.From = "" },
		"two addresses":  func(r *Report) { r.To = "a@b,c@d" },
		"injecting to":   func(r *Report) { r.To = "a@b\r\nX-Evil: 1" },
		"no recipient":   func(r *Report) { r.Recipients = nil },
		"no time":        func(r *Report) { r.Now = time.Time{} },
		"no randomness":  func(r *Report) { r.Rand = nil },
		"bad randomness": func(r *Report) { r.Rand = iotest.ErrReader(errors.New("empty")) },
		"bad action":     func(r *Report) { r.Recipients[0].Action = "vanished" },
		"bad status":     func(r *Report) { r.Recipients[0].Status = "5.1.1\r\nX: y" },
		"wrong class":    func(r *Report) { r.Recipients[0].Status = "2.1.1" },
		"no text":        func(r *Report) { r.Recipients[0].Text = "" },
	} {
		r := sample()
		change(&r)
		if _, err := Build(r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// hostile builds a report of which every string is s.
func hostile(s string, whole bool) Report {
	r := sample()
	r.EnvelopeID, r.Whole = s, whole
	r.Original = []byte("Subject: " + s + "\r\nMessage-ID: <" + s + "@x>\r\n\r\n" + s)
	for i := range r.Recipients {
		p := &r.Recipients[i]
		p.Final, p.Original, p.Diagnostic = "x"+s, s, s
	}
	r.Recipients = append(r.Recipients, UnknownProvider.For("a@"+s, time.Time{}))
	return r
}

// checkHostile says what must hold whatever the strings are: the fields and parts
// are ours alone.
func checkHostile(t *testing.T, r Report) {
	t.Helper()
	b := build(t, r)
	p := parse(t, b)
	if len(p.types) != 3 || p.types[0] != "text/plain" {
		t.Fatalf("parts %q\n%q", p.types, b)
	}
	if n := p.header.Len(); n < 9 || n > 11 {
		t.Fatalf("%d header fields\n%q", n, b)
	}
	if len(p.fields) != 1+len(r.Recipients) {
		t.Fatalf("%d blocks\n%q", len(p.fields), p.bodies[1])
	}
	known := map[string]bool{"Original-Envelope-Id": true, "Reporting-Mta": true, "Arrival-Date": true, "Original-Recipient": true,
		"Final-Recipient": true, "Action": true, "Status": true, "Diagnostic-Code": true, "Will-Retry-Until": true}
	for _, block := range p.fields {
		seen := map[string]bool{}
		for f := block.Fields(); f.Next(); {
			if !known[f.Key()] || seen[f.Key()] {
				t.Fatalf("field %s\n%q", f.Key(), p.bodies[1])
			}
			seen[f.Key()] = true
		}
	}
	if !utf8.Valid(p.bodies[0]) || !utf8.Valid(p.bodies[1]) {
		t.Fatalf("not UTF-8:\n%q\n%q", p.bodies[0], p.bodies[1])
	}
}

func TestHostileStringsInjectNothing(t *testing.T) {
	for _, s := range []string{"a\r\nX-Evil: 1\r\n\r\nbody", "a\nX-Evil: 1", "a\rX-Evil: 1", "\x00\x1b[31m", "\xff\xfe", "\u202egpj.exe", "\u2028X: y",
		"{until}{domain}", "--report-\r\n", strings.Repeat("ä", 5000), strings.Repeat("x ", 5000), "=?utf-8?q?a=0D=0AX-Evil:_1?=", "=?nope?q?x?=", ""} {
		checkHostile(t, hostile(s, false))
		checkHostile(t, hostile(s, true))
	}
	r := hostile("=?utf-8?q?a=0D=0AX-Evil:_1?=", false)
	if p := parse(t, build(t, r)); !strings.Contains(string(p.bodies[0]), "Subject: a  X-Evil: 1") {
		t.Errorf("subject in\n%s", p.bodies[0])
	}
}

func FuzzBuild(f *testing.F) {
	f.Add("a\r\nX-Evil: 1", true)
	f.Add("=?utf-8?q?a=0D=0AX:_1?=", false)
	f.Fuzz(func(t *testing.T, s string, whole bool) { checkHostile(t, hostile(s, whole)) })
}

const python = `
import sys, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.SMTP)
def bad(x):
    return [str(d) for p in x.walk() for d in p.defects]
assert not bad(m), bad(m)
assert m.get_content_type() == "multipart/report", m.get_content_type()
human, status, back = m.iter_parts()
print(human.get_content_type(), len(human.get_content().splitlines()) > 5)
for block in status.get_payload():
    print([(k, str(v)) for k, v in block.items() if k in ("Final-Recipient", "Action", "Status")])
print(back.get_content_type())
`

func TestPythonReadsIt(t *testing.T) {
	py, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	r := sample()
	r.Whole = true
	cmd := exec.Command(py, "-c", python)
	cmd.Stdin = bytes.NewReader(build(t, r))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "text/plain True\n[]\n[('Final-Recipient', 'rfc822; bob@south.test'), ('Action', 'failed'), ('Status', '5.1.1')]\n" +
		"[('Final-Recipient', 'rfc822; carol@east.test'), ('Action', 'delayed'), ('Status', '4.4.7')]\nmessage/rfc822\n"
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}
