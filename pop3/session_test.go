package pop3

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"mailproxy/proxy/mailbox"
)

func TestSession(t *testing.T) {
	w := newWorld(t)
	first := w.deliver("Subject: one\r\n\r\n.\r\n..dots\r\nline 3\r\nline 4\r\n")
	w.deliver("Subject: bare\n\n.\nno end") // 22 bytes; 26 with CRLF, and 28 with the last one
	w.deliver("no header")
	l := w.dial().login()
	l.do("STAT", "+OK 3 82")
	if got := l.lines("LIST"); got != "1 43\r\n2 28\r\n3 11\r\n" {
		t.Errorf("list %q", got)
	}
	l.do("LIST 2", "+OK 2 28")
	uids := l.lines("UIDL")
	if want := fmt.Sprintf("1 %d.1\r\n2 %[1]d.2\r\n3 %[1]d.3\r\n", first.UIDValidity); uids != want {
		t.Errorf("uidl %q, want %q", uids, want)
	}
	l.do("UIDL 3", fmt.Sprintf("+OK 3 %d.3", first.UIDValidity))
	if got := l.lines("RETR 1"); got != "Subject: one\r\n\r\n..\r\n...dots\r\nline 3\r\nline 4\r\n" {
		t.Errorf("message 1 is %q", got)
	}
	if got := l.lines("RETR 2"); got != "Subject: bare\r\n\r\n..\r\nno end\r\n" {
		t.Errorf("message 2 is %q", got)
	}
	for n, want := range map[int]string{
		0: "Subject: one\r\n\r\n", 2: "Subject: one\r\n\r\n..\r\n...dots\r\n", 99: "Subject: one\r\n\r\n..\r\n...dots\r\nline 3\r\nline 4\r\n",
	} {
		if got := l.lines(fmt.Sprintf("TOP 1 %d", n)); got != want {
			t.Errorf("top 1 %d is %q", n, got)
		}
	}
	for _, bad := range []string{
		"RETR", "RETR 0", "RETR 4", "RETR -1", "RETR 99999999999999", "RETR 1 2", "TOP 1", "TOP 1 -1", "DELE x", "LIST 9", "UIDL 9", "STAT 1",
		"NOOP x", "RSET 1", "QUIT now", "CAPA x", "USER a", "PASS b", "STLS", "AUTH PLAIN", "XYZZY",
	} {
		l.do(bad, "-ERR")
		l.do("NOOP", "+OK")
	}
	l.do("DELE 1", "+OK")
	for _, gone := range []string{"DELE 1", "RETR 1", "TOP 1 0", "LIST 1", "UIDL 1"} {
		l.do(gone, "-ERR")
	}
	l.do("STAT", "+OK 2 39")
	if got := l.lines("LIST"); got != "2 28\r\n3 11\r\n" {
		t.Errorf("list %q", got)
	}
	l.do("RSET", "+OK")
	l.do("STAT", "+OK 3 82")
	l.do("dele 2", "+OK")
	if w.count() != 3 {
		t.Error("removed before QUIT")
	}
	l.do("QUIT", "+OK")
	l.closed()
	if w.count() != 2 {
		t.Error("not removed by QUIT")
	}
	if got, want := w.dial().login().lines("UIDL"), fmt.Sprintf("1 %d.1\r\n2 %[1]d.3\r\n", first.UIDValidity); got != want {
		t.Errorf("uidl %q, want %q", got, want)
	}
}

func TestDisconnectDeletesNothing(t *testing.T) {
	w := newWorld(t)
	w.deliver("x")
	l := w.dial().login()
	l.do("DELE 1", "+OK")
	l.conn.Close()
	l = w.dial().login() // at once: the lock is not held by a client that is gone
	l.do("STAT", "+OK 1")
}

func TestOthersRemoveMessages(t *testing.T) {
	w := newWorld(t)
	w.deliver("one")
	w.deliver("two")
	l := w.dial().login()
	f, err := w.account.Folder(mailbox.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Remove([]uint32{1}); err != nil {
		t.Fatal(err)
	}
	w.deliver("three")
	l.do("RETR 1", "-ERR")
	if got := l.lines("RETR 2"); got != "two\r\n" {
		t.Errorf("message 2 is %q", got)
	}
	l.do("RETR 3", "-ERR") // it came after the session began
	l.do("DELE 1", "+OK")
	l.do("DELE 2", "+OK")
	l.do("QUIT", "+OK")
	if n := w.count(); n != 1 {
		t.Errorf("%d messages left", n)
	}
}

// TestTrapPasswordIsChecked is for a password that is taken and never checked.
func TestTrapPasswordIsChecked(t *testing.T) {
	w := newWorld(t)
	l := w.dial()
	l.do("PASS x", "-ERR")
	for _, c := range []string{"STAT", "RETR 1", "DELE 1", "NOOP", "TOP 1 1", "UIDL"} {
		l.do(c, "-ERR")
	}
	l.do("USER nobody", "+OK")
	l.do("PASS "+password, "-ERR [AUTH] Wrong user name or password")
	l.do("PASS "+password, "-ERR USER comes first")
	l.do("USER "+user, "+OK")
	l.do("PASS open sesame", "-ERR [AUTH]")
	plain := func(parts ...string) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Join(parts, "\x00")))
	}
	if got := l.lines("AUTH"); got != "PLAIN\r\n" {
		t.Errorf("mechanisms %q", got)
	}
	l.do("AUTH GSSAPI", "-ERR")
	l.do("AUTH PLAIN "+plain("", user, "wrong"), "-ERR [AUTH]")
	l.do("AUTH PLAIN "+plain("bob", user, password), "-ERR [AUTH]")
	for _, bad := range []string{"!!", "=", plain("one"), plain("a", "b", "c", "d")} {
		l.do("AUTH PLAIN "+bad, "-ERR")
	}
	for _, tc := range []struct{ answer, want string }{
		{"*", "-ERR"}, {"", "-ERR"}, {strings.Repeat("A", 3*maxAnswer), "-ERR"}, {plain(user, user, password), "+OK"},
	} {
		l.do("AUTH PLAIN", "+ ")
		l.do(tc.answer, tc.want)
	}
	l.do("STAT", "+OK 0 0")
	l.do("QUIT", "+OK")

	l = w.dial()
	l.do("AUTH PLAIN "+plain("", user, password), "+OK")

	l = w.dial()
	for range maxBadPasswords {
		l.do("USER a", "+OK")
		l.do("PASS b", "-ERR [AUTH]")
	}
	l.closed()
}

// TestTrapLockedKeychain is for a keychain that cannot be opened, reported as a
// wrong password.
func TestTrapLockedKeychain(t *testing.T) {
	l := newWorld(t).dial()
	l.do("USER broken", "+OK")
	if got := l.do("PASS x", "-ERR [SYS/TEMP]"); strings.Contains(got, "secret") {
		t.Errorf("an internal error is told: %s", got)
	}
}

func TestPipelining(t *testing.T) {
	w := newWorld(t)
	w.deliver("one")
	w.deliver("two")
	l := w.dial()
	l.write("USER " + user + "\r\nPASS " + password + "\r\nSTAT\r\nRETR 1\r\nDELE 1\r\nbad\r\nQUIT\r\n")
	got := l.closed()
	want := "+OK Now the password\r\n+OK 2 messages\r\n+OK 2 10\r\n+OK 5 octets\r\none\r\n.\r\n+OK Message 1 goes with QUIT\r\n-ERR Syntax error: that is no POP3 command\r\n+OK Goodbye\r\n"
	if got != strings.Replace(want, "-ERR Syntax error: that is no POP3 command", "-ERR Unknown command", 1) {
		t.Errorf("got %q", got)
	}
	if w.count() != 1 {
		t.Error("nothing was removed")
	}
}

func TestGarbage(t *testing.T) {
	w := newWorld(t)
	l := w.dial()
	for _, bad := range []string{
		"", " ", "\x16\x03\x01\x02", "US\x00ER x", "USER \xff", "USER a\x7f", "NO", "TOOLONG", "US3R a", strings.Repeat("x", 2*maxLine), "CAPA" + strings.Repeat(" ", 3*maxAnswer),
	} {
		l.do(bad, "-ERR")
	}
	l.do("USER x", "+OK")
	for range maxBadCommands {
		l.do("\x00", "-ERR")
	}
	l.closed()

	l = w.dial()
	l.write(strings.Repeat("\x80\x00", maxDiscard))
	l.expect("-ERR")
	l.closed()
}

func TestMaildropLock(t *testing.T) {
	w := newWorld(t)
	l := w.dial().login()
	other := w.dial()
	other.do("USER "+user, "+OK")
	other.do("PASS "+password, "-ERR [IN-USE]")
	l.do("QUIT", "+OK")
	other.login()
	other.do("STAT", "+OK")
}
