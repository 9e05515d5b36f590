package headers

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/refusal"
)

// zeros is a source of randomness that makes message ids known.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

const zeroID = "00000000000000000000000000000000@mailproxy.invalid"

func policy() Policy {
	return Policy{
		Sender:  Mailbox{Address: "alice@north.test", Name: "Alice"},
		Aliases: []Mailbox{{Address: "shop@north.test"}},
		Seen:    func(id string) bool { return strings.HasPrefix(id, "seen") },
		Now:     func() time.Time { return time.Date(2026, 11, 22, 14, 15, 16, 0, time.FixedZone("", 3600)) },
		Rand:    zeros{},
	}
}

// lines makes a message of lines that end in CRLF.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n" }

func outgoing(t *testing.T, msg string, p Policy) *rewritten {
	t.Helper()
	r, err := rewriteAll([]byte(msg), p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestMailPrograms takes headers as mail programs write them.
func TestMailPrograms(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"Thunderbird", lines(
			"Message-ID: <0d6dd1d9-7a5a-4a3b-8a53-6f1f0a3e6d11@north.test>",
			"Date: Sun, 22 Nov 2026 14:03:59 +0100",
			"MIME-Version: 1.0",
			"User-Agent: Mozilla Thunderbird",
			"Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=",
			"Content-Language: de-DE",
			"To: Bob Example <bob@north.test>, \"Carol, C.\" <carol@south.test>",
			"References: <seen1@x> <unseen@y>",
			" <seen2@z>",
			"From: Alice Realname <alice@north.test>",
			"Autocrypt: addr=alice@north.test; keydata=",
			" xjMEZ",
			"Organization: Secret Ltd.",
			"In-Reply-To: <seen2@z>",
			"X-Mozilla-Draft-Info: internal/draft; vcard=0; receipt=0; DSN=0; uuencode=0;",
			" attachmentreminder=0; deliveryformat=0",
			"X-Identity-Key: id1",
			"Fcc: imap://alice@localhost/Sent",
			"Content-Type: text/plain; charset=UTF-8; format=flowed",
			"Content-Transfer-Encoding: 8bit",
			"", "hello ", "flowed", "-- ", "Alice"),
			lines(
				"From: \"Alice\" <alice@north.test>",
				"To: bob@north.test, carol@south.test",
				"Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=",
				"Date: Sun, 22 Nov 2026 13:03:00 +0000",
				"Message-ID: <"+zeroID+">",
				"In-Reply-To: <seen2@z>",
				"References: <seen1@x> <seen2@z>",
				"MIME-Version: 1.0",
				"Content-Type: text/plain; charset=UTF-8; format=flowed",
				"Content-Transfer-Encoding: 8bit",
				"", "hello ", "flowed", "-- ", "Alice")},
		{"Apple Mail", lines(
			"From: Alice <alice@north.test>",
			"Content-Type: multipart/alternative;",
			"\tboundary=\"Apple-Mail=_5C6B1E5D\"",
			"Mime-Version: 1.0 (Mac OS X Mail 16.0 \\(3776.700.51\\))",
			"Subject: Re: x",
			"Message-Id: <96F1@alices-macbook.local>",
			"X-Universally-Unique-Identifier: 5C6B",
			"X-Apple-Notify-Thread: NO",
			"Date: Fri, 1 May 2026 23:59:59 -0700",
			"Cc: =?utf-8?Q?Bj=C3=B6rn?= <bjorn@south.test>",
			"To: Bob <bob@north.test>",
			"X-Mailer: Apple Mail (2.3776.700.51)",
			"", "--Apple-Mail=_5C6B1E5D", ""),
			lines(
				"From: \"Alice\" <alice@north.test>",
				"To: bob@north.test",
				"Cc: bjorn@south.test",
				"Subject: Re: x",
				"Date: Sat, 02 May 2026 06:59:00 +0000",
				"Message-ID: <"+zeroID+">",
				"MIME-Version: 1.0",
				"Content-Type: multipart/alternative;",
				"\tboundary=\"Apple-Mail=_5C6B1E5D\"",
				"", "--Apple-Mail=_5C6B1E5D", "")},
		{"Outlook", lines(
			"From: \"Alice\" <ALICE@North.Test>",
			"To: \"'bob@north.test'\" <bob@north.test>",
			"Subject: FW: plan",
			"Date: Mon, 2 Nov 2026 09:10:11 +0100",
			"Message-ID: <000001d9$0a1b2c3d$1e2f3a4b$@north.test>",
			"MIME-Version: 1.0",
			"Content-Type: text/plain;",
			"\tcharset=\"us-ascii\"",
			"Content-Transfer-Encoding: 7bit",
			"X-Mailer: Microsoft Outlook 16.0",
			"Thread-Index: AdZ0p8q0",
			"Thread-Topic: plan",
			"Content-Language: en-us",
			"X-MS-Exchange-Organization-AuthAs: Internal",
			"Importance: High",
			"Sender: secretary@north.test",
			"", "x"),
			lines(
				"From: \"Alice\" <alice@north.test>",
				"To: bob@north.test",
				"Subject: FW: plan",
				"Date: Mon, 02 Nov 2026 08:10:00 +0000",
				"Message-ID: <"+zeroID+">",
				"MIME-Version: 1.0",
				"Content-Type: text/plain;",
				"\tcharset=\"us-ascii\"",
				"Content-Transfer-Encoding: 7bit",
				"", "x")},
		{"K-9", lines(
			"Date: Thu, 05 Nov 2026 10:00:30 +0200",
			"From: alice@north.test",
			"To: bob@north.test",
			"Subject:",
			" =?UTF-8?Q?a_long?=",
			" =?UTF-8?Q?_one?=",
			"User-Agent: K-9 Mail for Android",
			"Message-ID: <AB12@north.test>",
			"MIME-Version: 1.0",
			"Bcc: dave@south.test",
			"Content-Type: text/plain; charset=utf-8",
			"", "x"),
			lines(
				"From: \"Alice\" <alice@north.test>",
				"To: bob@north.test",
				"Subject: =?UTF-8?Q?a_long?=",
				" =?UTF-8?Q?_one?=",
				"Date: Thu, 05 Nov 2026 08:00:00 +0000",
				"Message-ID: <"+zeroID+">",
				"MIME-Version: 1.0",
				"Content-Type: text/plain; charset=utf-8",
				"", "x")},
		{"mutt", "Date: Fri, 6 Nov 2026 11:12:13 +0000\n" +
			"From: Alice <alice@north.test>\n" +
			"To: Friends: bob@north.test, Carol <carol@south.test>;\n" +
			"Mail-Followup-To: alice@north.test\n" +
			"Reply-To: Alice at home <shop@north.test>\n" +
			"Subject: x\n" +
			"Message-ID: <Zy@host.local>\n" +
			"MIME-Version: 1.0\n" +
			"Content-Type: text/plain; charset=us-ascii\n" +
			"Content-Disposition: inline\n" +
			"Received: from host.local (localhost [127.0.0.1])\n\tby host.local\n" +
			"\none\ntwo\n",
			lines(
				"From: \"Alice\" <alice@north.test>",
				"To: bob@north.test, carol@south.test",
				"Reply-To: shop@north.test",
				"Subject: x",
				"Date: Fri, 06 Nov 2026 11:12:00 +0000",
				"Message-ID: <"+zeroID+">",
				"MIME-Version: 1.0",
				"Content-Type: text/plain; charset=us-ascii",
				"Content-Disposition: inline",
				"", "one", "two")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(outgoing(t, tt.in, policy()).Message); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestResult(t *testing.T) {
	r := outgoing(t, lines("From: shop@north.test", "To: a@b.test, c <C@d.test>", "To: a@b.test, e@f.test", "Cc: g@h.test", "Bcc: i@j.test (x)", "Message-ID: <orig@host>", "", ""), policy())
	if r.From != "shop@north.test" || r.MessageID != zeroID || r.OriginalMessageID != "orig@host" {
		t.Errorf("%+v", r)
	}
	if got := strings.Join(r.To, " "); got != "a@b.test C@d.test e@f.test" {
		t.Errorf("To is %s", got)
	}
	if strings.Join(r.Cc, " ") != "g@h.test" || strings.Join(r.Bcc, " ") != "i@j.test" {
		t.Errorf("Cc %v, Bcc %v", r.Cc, r.Bcc)
	}
	if bytes.Contains(r.Message, []byte("i@j.test")) {
		t.Error("Bcc is in the message")
	}
	if bytes.Contains(r.Message, []byte("Alice")) {
		t.Error("mail from an alias carries the account's name")
	}
	p := policy()
	p.Rand = nil
	one, other := outgoing(t, "\r\n", p), outgoing(t, "\r\n", p)
	if one.MessageID == other.MessageID {
		t.Error("message ids repeat")
	}
}

// TestFields looks at single fields. Want is the field in the result, or "" for
// none; wants of several lines are folded.
func TestFields(t *testing.T) {
	tests := []struct{ name, in, field, want string }{
		{"From missing", "Subject: x", "From", "\"Alice\" <alice@north.test>"},
		{"From empty", "From: ", "From", "\"Alice\" <alice@north.test>"},
		{"From twice, the same", "From: alice@north.test\r\nfrom: Alice <ALICE@north.test>", "From", "\"Alice\" <alice@north.test>"},
		{"From with a comment", "From: alice@north.test (Alice on her laptop)", "From", "\"Alice\" <alice@north.test>"},
		{"From with a name of unknown character set", "From: =?x-foo?Q?=E4?= <alice@north.test>", "From", "\"Alice\" <alice@north.test>"},
		{"From with a name of bytes", "From: Al\xefce <alice@north.test>", "From", "\"Alice\" <alice@north.test>"},
		{"From with white space before the colon", "From : alice@north.test", "From", "\"Alice\" <alice@north.test>"},
		{"To empty", "To: ", "To", ""},
		{"To with an empty group", "To: undisclosed-recipients:;", "To", ""},
		{"To with a group", "To: Secret Plan: a@b.test, c@d.test;", "To", "a@b.test, c@d.test"},
		{"To twice", "To: a@b.test\r\nTo: c@d.test", "To", "a@b.test, c@d.test"},
		{"To with a route", "To: X <@r.test,@s.test:a@b.test>, c@d.test", "To", "a@b.test, c@d.test"},
		{"To of Outlook with semicolons", "To: Bob Secret <a@b.test>; c@d.test", "To", "a@b.test, c@d.test"},
		{"To with one that cannot be read", "To: a@b.test, nobody knows, Eve <c@d.test>", "To", "a@b.test, c@d.test"},
		{"To with none that can be read", "To: the whole team", "To", ""},
		{"To with a half-open quote", "To: \"Bob <a@b.test>, c@d.test", "To", "a@b.test"},
		{"To with text after the address", "To: Bob <a@b.test> secret, c@d.test", "To", "a@b.test, c@d.test"},
		{"To with a quoted comma", "To: \"a, b; <c>\" <a@b.test>", "To", "a@b.test"},
		{"To with a quoted local part", "To: \"a b\"@c.test", "To", "\"a b\"@c.test"},
		{"To with a literal", "To: a@[192.0.2.1]", "To", "a@[192.0.2.1]"},
		{"To with bytes in the address", "To: b\xfcx@b.test, c@d.test", "To", "c@d.test"},
		{"To internationalised", "To: b\u00fcx@b.test", "To", "b\u00fcx@b.test"},
		{"To with a CR", "To: a@b.test\rX-Secret: 1, c@d.test", "To", "c@d.test"},
		{"To with NUL", "To: a\x00 <a@b.test>", "To", "a@b.test"},
		{"To folded", "To: Bob\r\n\t<a@b.test>,\r\n c@d.test", "To", "a@b.test, c@d.test"},
		{"To long", "To: aaaaaaaaaaaaaaaaaaaaaa@bbbbbbbbbbbbbbbbb.test, cccccccccccccccccccccc@bbbbbbbbbbbbbbbbb.test, d@e.test", "To",
			"aaaaaaaaaaaaaaaaaaaaaa@bbbbbbbbbbbbbbbbb.test,\r\n cccccccccccccccccccccc@bbbbbbbbbbbbbbbbb.test, d@e.test"},
		{"Bcc", "Bcc: a@b.test", "Bcc", ""},
		{"Resent-Bcc", "Resent-Bcc: a@b.test", "Resent-Bcc", ""},
		{"Resent-From", "Resent-From: a@b.test", "Resent-From", ""},
		{"Sender", "Sender: root@host.local", "Sender", ""},
		{"Reply-To", "Reply-To: Me <a@b.test>", "Reply-To", "a@b.test"},
		{"Subject with bytes", "Subject: Gr\xfc\xdfe \u00e4", "Subject", "Gr\xfc\xdfe \u00e4"},
		{"Subject with a CR and NUL", "Subject: a\rBcc: x\x00y", "Subject", "a Bcc: x y"},
		{"Subject with a blank continuation", "Subject: a\r\n \t\r\n b", "Subject", "a\r\n b"},
		{"Subject without a space", "sUBJECT:x", "Subject", "x"},
		{"Subject twice", "Subject: x\r\nSubject: y", "Subject", "x"},
		{"Subject empty", "Subject:", "Subject", ""},
		{"Date with a zone name and seconds", "Date: Sun, 22 Nov 2026 00:00:59 +0530 (IST)", "Date", "Sat, 21 Nov 2026 18:30:00 +0000"},
		{"Date with two digits", "Date: 22 Nov 26 10:00 GMT", "Date", "Sun, 22 Nov 2026 10:00:00 +0000"},
		{"Date missing", "Subject: x", "Date", "Sun, 22 Nov 2026 13:15:00 +0000"},
		{"Date unreadable", "Date: yesterday", "Date", "Sun, 22 Nov 2026 13:15:00 +0000"},
		{"Message-ID unreadable", "Message-ID: me@my-laptop", "Message-ID", "<" + zeroID + ">"},
		{"In-Reply-To unseen", "In-Reply-To: <x@my-laptop>", "In-Reply-To", ""},
		{"In-Reply-To with a phrase", "In-Reply-To: Your message of Monday <seen@x>", "In-Reply-To", "<seen@x>"},
		{"References that repeat", "References: <seen@x> <no@y> <seen@x>,<seen2@z>", "References", "<seen@x> <seen2@z>"},
		{"List-Id", "List-Id: <l.test>\r\nList-Post: NO", "List-Post", "NO"},
		{"List-Post in a mail from no list", "List-Post: NO", "List-Post", ""},
		{"an unknown field of lists", "List-Id: <l.test>\r\nList-Software: x 1.2", "List-Software", ""},
		{"Autocrypt", "Autocrypt: addr=alice@north.test", "Autocrypt", ""},
		{"MIME-Version with a comment", "Mime-Version: 1.0 (Apple Message framework v936)", "MIME-Version", "1.0"},
		{"Content-ID", "content-id: <x@y>", "Content-ID", "<x@y>"},
		{"Content-Description", "Content-Description: x", "Content-Description", "x"},
		{"Content-Language", "Content-Language: de", "Content-Language", ""},
		{"Content-MD5", "Content-MD5: x", "Content-MD5", ""},
		{"Disposition-Notification-To", "Disposition-Notification-To: a@b.test", "Disposition-Notification-To", ""},
		{"ours", "X-Mailproxy-Sender: verified", "X-Mailproxy-Sender", ""},
		{"an mbox separator", "From alice Mon Nov 02 10:00:00 2026\r\nSubject: x", "Subject", "x"},
		{"a quoted mbox separator", ">From alice Mon Nov 02 10:00:00 2026\r\nSubject: x", "Subject", "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, end := range []string{"\r\n\r\nbody\r\n", "\r\n", ""} { // also without a blank line
				r := outgoing(t, tt.in+end, policy())
				if got := fieldOf(t, r.Message, tt.field); got != tt.want {
					t.Errorf("%s is %q, want %q", tt.field, got, tt.want)
				}
			}
		})
	}
}

// fieldOf returns the lines of the one field of that name in msg.
func fieldOf(t *testing.T, msg []byte, name string) string {
	t.Helper()
	fields, _, bad := split(msg)
	if bad != nil {
		t.Fatalf("result is damaged: %+v\n%s", bad, msg)
	}
	var found []string
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			if f.name != name {
				t.Errorf("name is written %s", f.name)
			}
			found = append(found, strings.TrimPrefix(strings.Join(f.lines, "\r\n"), " "))
		}
	}
	if len(found) > 1 {
		t.Fatalf("%s is there %d times", name, len(found))
	}
	return strings.Join(found, "")
}

// TestOldDate takes the date of RFC 5322's own examples (appendix A.1.3), and one
// that no mail can have.
func TestOldDate(t *testing.T) {
	for in, want := range map[string]string{
		"Thu, 13 Feb 1969 23:32:54 -0330": "Fri, 14 Feb 1969 03:02:00 +0000",
		"Thu, 13 Feb 1669 23:32:54 -0330": "Sun, 22 Nov 2026 13:15:00 +0000", // now
	} {
		r := outgoing(t, lines("From: alice@north.test", "Date: "+in, "", "x"), policy())
		if !bytes.Contains(r.Message, []byte("\r\nDate: "+want+"\r\n")) {
			t.Errorf("%s became\n%s", in, r.Message)
		}
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name, in string
		code     int
		text     string
	}{
		{"another's address", "From: bob@north.test\r\n\r\n", 550, "alice@north.test"},
		{"another's address behind one's own name", "From: \"alice@north.test\" <bob@north.test>\r\n\r\n", 550, "another address"},
		{"two senders", "From: alice@north.test, bob@north.test\r\n\r\n", 550, "2 senders"},
		{"two From fields", "From: alice@north.test\r\nFrom: bob@north.test\r\n\r\n", 550, "2 senders"},
		{"two own addresses", "From: alice@north.test, shop@north.test\r\n\r\n", 550, "2 senders"},
		{"From that is no address", "From: Alice\r\n\r\n", 550, "cannot be read"},
		{"From hidden by a CR", "From: alice@north.test\r, bob@north.test\r\n\r\n", 550, "2 senders"},
		{"From with NUL in the address", "From: alice@north.te\x00st\r\n\r\n", 550, "cannot be read"},
		{"no blank line before the body", "Subject: x\r\nDear Bob\r\n", 554, "Line 2"},
		{"a line of body that looks like a field", "Subject: x\r\nDear Bob: I\r\n", 554, "Line 2"},
		{"no header", "Dear Bob\r\n", 554, "no colon"},
		{"continuation of nothing", " x\r\n\r\n", 554, "Line 1"},
		{"no field name", ": x\r\n\r\n", 554, "no field name"},
		{"bytes in a name", "S\xfcbject: x\r\n\r\n", 554, "may not have"},
		{"NUL in a name", "Sub\x00ject: x\r\n\r\n", 554, "may not have"},
		{"a separator in the middle", "Subject: x\r\nFrom alice Mon\r\n\r\n", 554, "Line 2"},
		{"a huge header", "Subject: x\r\nX: " + strings.Repeat("x", MaxHeader) + "\r\n\r\n", 554, "bytes"},
	}
	for _, tt := range tests {
		_, err := rewriteAll([]byte(tt.in), policy())
		var r *refusal.Error
		ok := errors.As(err, &r)
		if !ok || r.Code != tt.code || !strings.Contains(r.Text, tt.text) || !strings.HasSuffix(r.Text, ".") {
			t.Errorf("%s: %v, want %d … %s", tt.name, err, tt.code, tt.text)
		}
		if ok && (r.Code == 550 && r.Enhanced != [3]int{5, 7, 1} || r.Code == 554 && r.Enhanced != [3]int{5, 6, 0}) {
			t.Errorf("%s: enhanced code %v", tt.name, r.Enhanced)
		}
	}
	failed := errors.New("no randomness")
	p := policy()
	p.Rand = failing{failed}
	if _, err := rewriteAll([]byte("\r\n"), p); !errors.Is(err, failed) {
		t.Errorf("without randomness: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestAutocryptOfAnotherAddress: a mail program that has several accounts tells nobody
// of the others.
func TestAutocryptOfAnotherAddress(t *testing.T) {
	p := policy()
	p.KeepAutocrypt = true
	for value, kept := range map[string]bool{
		"addr=Alice@North.test; keydata=xx":                           true,
		"prefer-encrypt=mutual; ADDR = alice@north.test ; keydata=xx": true,
		"addr=alice@work.example; keydata=xx":                         false,
		"addr=alice@north.test; addr=alice@work.example; keydata=xx":  false,
		"addr=alice@north.test; addr=alice@north.test; keydata=xx":    false,
		"addr=; keydata=xx": false,
		"keydata=xx":        false,
	} {
		r := outgoing(t, lines("Autocrypt: addr=alice@work.example; keydata=yy", "Autocrypt: "+value, "", ""), p)
		got, want := fieldOf(t, r.Message, "Autocrypt"), ""
		if kept {
			want = value
		}
		if got != want || strings.Contains(string(r.Message), "work.example") {
			t.Errorf("%s: kept %q, want %q", value, got, want)
		}
	}
}

func TestAutocryptIsKeptOnRequest(t *testing.T) {
	p := policy()
	p.KeepAutocrypt = true
	r := outgoing(t, lines("Autocrypt: addr=alice@north.test;", " keydata=xx", "OpenPGP: id=1234", "", ""), p)
	if fieldOf(t, r.Message, "Autocrypt") != "addr=alice@north.test;\r\n keydata=xx" || fieldOf(t, r.Message, "OpenPGP") != "id=1234" {
		t.Errorf("%s", r.Message)
	}
}

func TestNameIsEncoded(t *testing.T) {
	p := policy()
	for _, name := range []string{"Älice \"Ä\" Ünlü", "a\r\nBcc: x@y", strings.Repeat("long name ", 20), strings.Repeat("ä", 300), "=?utf-8?q?x?=", "   "} {
		p.Sender.Name = name
		r := outgoing(t, "\r\n", p)
		from := fieldOf(t, r.Message, "From")
		for line := range strings.SplitSeq(from, "\r\n") {
			if len(line) > 100 || line == "" {
				t.Errorf("%q gives the line %q", name, line)
			}
		}
		got, err := parser.Parse(strings.ReplaceAll(from, "\r\n", ""))
		if err != nil || got.Address != "alice@north.test" || strings.TrimSpace(got.Name) != strings.TrimSpace(name) {
			t.Errorf("%q becomes %q: %v, %v", name, from, got, err)
		}
		if fieldOf(t, r.Message, "Bcc") != "" {
			t.Errorf("%q makes a field", name)
		}
	}
}

// TestBodiesAreNotTouched has what bridges break: signatures, flowed text, parts
// with headers of their own, protected headers (RFC 9788), binary, long lines.
func TestBodiesAreNotTouched(t *testing.T) {
	bodies := map[string]string{
		"signed":    lines("--b", "Content-Type: text/plain; charset=utf-8; hp=\"clear\"", "Subject: protected", "User-Agent: x", "Bcc: y@z", "From:  Someone <a@b>", "", "hello ", "\tx", "--b", "Content-Type: application/pkcs7-signature", "", "MIIF=", "--b--", "", "epilogue"),
		"PGP":       lines("-----BEGIN PGP MESSAGE-----", "Version: x", "", "hQEMA", "=abcd", "-----END PGP MESSAGE-----"),
		"flowed":    lines("a ", "b", "", "> c ", "-- ", "From me"),
		"long line": strings.Repeat("x", 5000) + "\r\n",
		"no end":    "no line end",
		"binary":    "\x00\x01\xff\r\r\n\x80\r",
		"dots":      lines(".", "..", ".x"),
		"blank":     "\r\n\r\n\r\n",
		"empty":     "",
	}
	for name, body := range bodies {
		head := lines("From: alice@north.test", "MIME-Version: 1.0", "Content-Type: multipart/signed; boundary=b;", "\tmicalg=sha-256", "")
		r := outgoing(t, head+body, policy())
		if got := string(r.Message); !strings.HasSuffix(got, "\r\n\r\n"+body) {
			t.Errorf("%s: body is changed by Outgoing: %q", name, got)
		}
		if fieldOf(t, r.Message, "Content-Type") != "multipart/signed; boundary=b;\r\n\tmicalg=sha-256" {
			t.Errorf("%s: Content-Type is changed", name)
		}
		if got := string(arriveAll(r.Message, Seal{Address: "alice@north.test", State: StateNew}).Message); !strings.HasSuffix(got, "\r\n\r\n"+body) {
			t.Errorf("%s: body is changed by Incoming: %q", name, got)
		}
	}
	r := outgoing(t, "Subject: x\n\na\nb\r\n\n\nc", policy())
	if !bytes.HasSuffix(r.Message, []byte("\r\n\r\na\r\nb\r\n\r\n\r\nc")) {
		t.Errorf("line endings: %q", r.Message)
	}
}
