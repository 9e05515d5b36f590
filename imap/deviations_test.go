package imap

import (
	"strings"
	"testing"
)

// docs/imap.md lists where this server differs from RFC 3501 and RFC 9051. This
// holds the list to what is true: a test that fails here because something got
// better is to be taken off both.
func TestDeviations(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", "Date: Fri, 20 Nov 2026 10:00 +0200 (EET)\r\nSubject: =?iso-8859-1?Q?=FC?=\r\nTo: a@x.test, b@x.test\r\nTo: c@x.test\r\nCc: \r\n"+
		"Message-ID: 1@x.test\r\nContent-Type: text/plain; charset=utf-8; name*=iso-8859-1''%FC\r\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\n\r\na\x00b\r\n")
	l := w.login()
	for _, tc := range []struct {
		section, command, want string
		holds                  []string
	}{
		// What is answered.
		{"7.5.2", "FETCH 1 ENVELOPE", "OK", []string{`"Fri, 20 Nov 2026 10:00:00 +0200"`}},
		{"7.5.2", "FETCH 1 ENVELOPE", "OK", []string{`"=?utf-8?q?=C3=BC?="`}},
		{"7.5.2", "FETCH 1 ENVELOPE", "OK", []string{`((NIL NIL "a" "x.test") (NIL NIL "b" "x.test")) NIL NIL NIL "<1@x.test>"`}},
		{"7.5.2", "FETCH 1 BODYSTRUCTURE", "OK", []string{"(\"charset\" \"utf-8\" \"name\" {2}\nü) NIL NIL \"7bit\" 5 1 NIL NIL NIL NIL)"}},
		{"7.5.2", "FETCH 1 BINARY.PEEK[1]<1.2>", "OK", []string{"BINARY[1] ~{2}"}},
		{"4.3.1", "FETCH 1 BODY.PEEK[TEXT]", "OK", []string{"a\x00b"}},
		{"RFC 3501 2.3.2", "SEARCH NEW", "OK", []string{"* SEARCH\n"}},
		{"RFC 3501 7.1", "SELECT INBOX", "OK", []string{"[CLOSED]", "* 0 RECENT"}},
		// What is taken although the grammar, or a rule, forbids it.
		{"9, seq-number", "FETCH 5 FLAGS", "OK", nil},
		{"9, seq-number", "COPY 1:5 Sent", "OK", []string{"[COPYUID"}},
		{"9, partial", "FETCH 1 BODY.PEEK[]<0.0>", "OK", []string{"BODY[]<0> {0}"}},
		{"9, section-part", "FETCH 1 BODY.PEEK[0]", "OK", []string{"{0}"}},
		{"9, section", "FETCH 1 BODY.PEEK[MIME]", "OK", []string{"Subject:"}},
		{"9, search-key", "SEARCH ()", "OK", []string{"* SEARCH 1"}},
		{"9, status", "STATUS INBOX ()", "OK", []string{"STATUS INBOX ()"}},
		{"9, enable", "ENABLE", "OK", []string{"* ENABLED\n"}},
		{"6.3.1", "ENABLE X-NONE", "OK", nil}, // a folder is selected
		{"RFC 6855 4", "APPEND Drafts UTF8 (~{1+}\r\nx)", "OK", nil},
		{"RFC 6855 3", "ENABLE UTF8=ACCEPT", "OK", nil},
		{"RFC 6855 3", "SEARCH CHARSET UTF-8 ALL", "OK", []string{"* SEARCH 1"}},
		{"9, search-key", "SEARCH BEFORE 1-Jan-0001", "OK", []string{"* SEARCH 1"}},
		// What is refused although it is allowed.
		{"RFC 6855 3", "CREATE {3+}\r\nQ&A", "BAD", nil}, // a name that is a literal is read as modified UTF-7
		{"RFC 3501 6.3.4", "CREATE Work/2026", "OK", nil},
		{"RFC 3501 6.3.4", "DELETE Work", "NO [HASCHILDREN]", nil},
		{"6.3.4", `CREATE "a*b"`, "NO [CANNOT]", nil},
		{"6.3.12", "APPEND INBOX {0+}\r\n", "NO [CANNOT]", nil},
		{"4.3", "SEARCH TEXT {5000+}\r\n" + strings.Repeat("x", 5000), "BAD", nil},
	} {
		if strings.HasPrefix(tc.command, "FETCH") {
			l.ok("SELECT INBOX")
		}
		answer := l.status(tc.command, tc.want)
		for _, s := range tc.holds {
			if !strings.Contains(answer, s) {
				t.Errorf("section %s: %.60q: no %q in %q", tc.section, tc.command, s, answer)
			}
		}
	}
	l.write("a]b NOOP\r\n") // section 9, tag
	l.expect("* BAD")
	l.write("a NOOP\n") // section 2.2
	l.expect("a OK")
	l = w.dial() // an unknown command before the login ends the connection
	l.status("XYZZY", "BAD")
	within(t, l.closed(), "* BYE")
}
