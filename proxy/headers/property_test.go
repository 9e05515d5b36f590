package headers

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mailproxy/proxy/refusal"
)

// names are field names that a mail may have: those that pass, those that must not,
// and some that look like the others.
var names = append([]string{
	"Bcc", "BCC", "bCc", "Resent-Bcc", "Received", "User-Agent", "X-Mailer", "Sender", "Return-Path", "Organization", "X-Identity-Key", "Fcc",
	"Content-Language", "Content-Location", "Mail-Followup-To", "Thread-Index", "X-Originating-IP", "DKIM-Signature", "Comments", "Keywords",
	"X-From", "From-X", "To_", "Subject2", "Dates", "MessageID", "Message-ID-Hash", "HP-Outer", SenderField,
}, allowed...)

var values = []string{
	"alice@north.test", "Alice Real <alice@north.test>", "\"Bob, B.\" <bob@south.test>", "Team: bob@south.test, Carol <carol@south.test>;", "undisclosed-recipients:;",
	"Sun, 22 Nov 2026 09:41:37 +0100", "Sat, 31 Dec 2016 23:59:60 +0000", "yesterday", "<seen.1@x> <other@laptop>", "<x@laptop>", "=?utf-8?Q?=C3=84?=", "1.0 (x)",
	"multipart/signed; boundary=b", "text/plain", "b\xfcro", "(comment) x@y.test (another)", "<@route.test:x@y.test>", "x@y.test; z@y.test", "\x00", "a\rBcc: hidden@south.test",
	"", " ", "\t", "x@y.test\r\n ,\r\n z@y.test", "a\r\n b", "\r\n ", "\v\f",
}

// TestNothingElseLeaves makes headers of fields that are and are not allowed, in any
// order and number, with any values: nothing outside the allow-list leaves, the rules
// for each field hold, hidden recipients are nowhere, and the body is the same.
func TestNothingElseLeaves(t *testing.T) {
	const hidden = "hidden.recipient@south.test"
	rapid.Check(t, func(rt *rapid.T) {
		p := policy()
		p.KeepAutocrypt = rapid.Bool().Draw(rt, "autocrypt")
		p.Rand = nil
		var head strings.Builder
		for range rapid.IntRange(0, 12).Draw(rt, "fields") {
			name := rapid.SampledFrom(names).Draw(rt, "name")
			value := rapid.OneOf(rapid.SampledFrom(values), rapid.StringMatching(`[ -~]{0,40}`)).Draw(rt, "value")
			if strings.EqualFold(name, "Bcc") || strings.EqualFold(name, "Resent-Bcc") {
				value = rapid.SampledFrom([]string{"", "Hid <", "x@y.test,\r\n "}).Draw(rt, "before") + hidden
			}
			space := rapid.SampledFrom([]string{":", ": ", " : ", ":\t"}).Draw(rt, "colon")
			end := rapid.SampledFrom([]string{"\r\n", "\n"}).Draw(rt, "end")
			head.WriteString(name + space + value + end)
		}
		body := rapid.SliceOfN(rapid.SampledFrom([]byte("\r\n\x00\x80.-=a ")), 0, 80).Draw(rt, "body")
		msg := append([]byte(head.String()+"\r\n"), body...)
		r, err := rewriteAll(msg, p)
		if refused := (*refusal.Error)(nil); errors.As(err, &refused) {
			return // with a sentence; TestRefused has when
		}
		if err != nil {
			rt.Fatal(err)
		}
		got, sent, _ := bytes.Cut(r.Message, []byte("\r\n\r\n"))
		// A value may have ended the header early: then what follows is body.
		if _, rest, _ := split(msg); !bytes.Equal(sent, appendCRLF(nil, rest)) {
			rt.Fatalf("body %q became %q", rest, sent)
		}
		if bytes.Contains(got, []byte(hidden)) {
			rt.Fatalf("a hidden recipient leaves:\n%s", got)
		}
		if slices.ContainsFunc(slices.Concat(r.To, r.Cc), func(a string) bool { return a == hidden }) {
			rt.Fatalf("a hidden recipient is shown: %+v", r)
		}
		checkHeader(t, r, p)
		if t.Failed() {
			rt.Fatalf("from\n%q\ncame\n%q", msg, r.Message)
		}
	})
}

// TestMessageIDsAreRandom makes many: none twice, all of the same form and domain.
func TestMessageIDsAreRandom(t *testing.T) {
	p := policy()
	p.Rand = nil
	seen := make(map[string]bool)
	for range 5000 {
		id := outgoing(t, "Message-ID: <always.the.same@laptop>\r\n\r\n", p).MessageID
		if seen[id] || !idForm.MatchString("<"+id+">") {
			t.Fatalf("%s", id)
		}
		seen[id] = true
	}
}
