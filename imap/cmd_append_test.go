package imap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/mailbox"
)

// send writes a command that ends in a non-synchronizing literal, and returns the
// answer.
func (l *line) send(tag, command, literal, end string) string {
	l.t.Helper()
	l.write(fmt.Sprintf("%s %s{%d+}\r\n%s%s\r\n", tag, command, len(literal), literal, end))
	return l.expect(tag + " ")
}

// RFC 9051 section 6.3.12, RFC 4315 section 3 (APPENDUID), RFC 7889 (APPENDLIMIT).
func TestAppend(t *testing.T) {
	w := newWorld(t)
	w.dial().status("APPEND INBOX {5+}\r\nhello", "BAD")
	l := w.login()
	body := letter(1) + strings.Repeat("x", 1<<20-len(letter(1))) // as large as may be
	validity := w.deliver("Sent", letter(0)).UIDValidity - 1      // INBOX was made just before Sent
	got := l.send("a", `APPEND INBOX (\seen $Label) "20-Nov-2026 10:00:00 +0200" `, body, "")
	if got != fmt.Sprintf("a OK [APPENDUID %d 1] APPEND completed", validity) {
		t.Errorf("answer %q", got)
	}
	// Without LITERAL+, as the client waits for the server's word.
	l.write("b APPEND {5}\r\n")
	l.expect("+ ")
	l.write(fmt.Sprintf("INBOX {%d}\r\n", len(letter(2))))
	l.expect("+ ")
	l.write(letter(2) + "\r\n")
	l.expect("b OK [APPENDUID")
	list := w.messages("INBOX")
	if len(list) != 2 || list[0].Size != 1<<20 || !list[0].HasFlag("$Label") || !list[0].HasFlag(mailbox.FlagSeen) ||
		list[0].Date().Format(time.RFC3339) != "2026-11-20T10:00:00+02:00" {
		t.Errorf("stored %+v", list)
	}
	if !list[1].Date().Equal(start) || len(list[1].Flags) != 0 {
		t.Errorf("a message without date and flags: %v, %v", list[1].Date(), list[1].Flags)
	}
	if got := l.send("c", `APPEND inbox () " 7-Feb-1994 21:52:25 -0800" ~`, letter(3), ""); !strings.HasPrefix(got, "c OK [APPENDUID") { // RFC 3516: a literal8
		t.Errorf("answer %q", got)
	}

	within(t, l.send("d", "APPEND Nowhere ", letter(1), ""), "d NO [TRYCREATE]")
	within(t, l.send("d", `APPEND INBOX (\Nonsense) `, letter(1), ""), "d NO [CANNOT]")
	within(t, l.send("d", `APPEND INBOX "yesterday" `, letter(1), ""), "d BAD")
	within(t, l.send("d", "APPEND INBOX ", "", ""), "d NO")
	within(t, l.send("d", "APPEND INBOX ", body+"x", ""), "d NO [TOOBIG]")
	l.status("APPEND INBOX", "BAD")
	if n := len(w.messages("INBOX")); n != 3 {
		t.Errorf("%d messages", n)
	}

	// Into the folder that is selected: the client hears of it at once, and others.
	other := w.login()
	other.ok("SELECT INBOX")
	l.ok("EXAMINE INBOX")
	within(t, l.send("e", "APPEND INBOX ", letter(4), ""), "* 4 EXISTS", "e OK [APPENDUID")
	within(t, other.ok("NOOP"), "* 4 EXISTS")
}

// RFC 6855 section 4: the form that Thunderbird uses.
func TestAppendUTF8(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	l.ok("ENABLE UTF8=ACCEPT")
	raw := "Subject: Grüße\r\nFrom: jürgen@x.test\r\n\r\nhallo\r\n"
	within(t, l.send("a", `APPEND "Drafts" (\Draft) UTF8 (~`, raw, ")"), "a OK [APPENDUID")
	l.ok("SELECT Drafts")
	within(t, l.ok("UID SEARCH SUBJECT \"grüße\""), "* SEARCH 1")
	within(t, l.ok("FETCH 1 BODY.PEEK[]"), fmt.Sprintf("{%d}", len(raw)), "Subject: Grüße")
	// The library has stored the message before it reads what comes after.
	for _, end := range []string{"", " ", "))", ") x"} {
		l = w.login()
		l.write(fmt.Sprintf("b APPEND Drafts UTF8 (~{%d+}\r\n%s%s\r\n", len(raw), raw, end))
		if got := l.closed(); !strings.Contains(got, "* BYE") || strings.Contains(got, "b OK") {
			t.Errorf("ended with %q: %q", end, got)
		}
	}
}

// TestTrapAppendStoredNothing is for an APPEND that looks done with nothing
// stored, and the other way round.
func TestTrapAppendStoredNothing(t *testing.T) {
	w := newWorld(t)
	// A second message in one command (RFC 3502, which is not announced) must not
	// look stored.
	for _, second := range []string{" {1+}\r\ny\r\n", ")\r\n"} {
		l := w.login()
		l.write("d APPEND INBOX {1+}\r\nx" + second)
		if got := l.closed(); strings.Contains(got, "d OK") {
			t.Errorf("%q after a message: %q", second, got)
		}
	}
	// A client that dies in the middle of a message stores nothing.
	l := w.login()
	l.write("e APPEND Drafts {1000+}\r\nhalf")
	l.conn.Close()
	w.login().ok("NOOP")
	if n := len(w.messages("Drafts")); n != 0 {
		t.Error("half a message was stored")
	}
	// What was answered OK is there for another connection.
	l = w.login()
	within(t, l.send("f", "APPEND Archive ", letter(1), ""), "f OK [APPENDUID ")
	other := w.login()
	other.ok("SELECT Archive")
	within(t, other.ok("UID FETCH 1 BODY.PEEK[TEXT]"), "body 1")
}
