package imap

import (
	"testing"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.4.1: CLOSE expunges without a word.
func TestClose(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1), mailbox.FlagDeleted)
	w.deliver("INBOX", letter(2))
	l := w.login()
	l.status("CLOSE", "BAD")
	other := w.login()
	other.ok("SELECT INBOX")
	l.ok("SELECT INBOX")
	l.status("CLOSE now", "BAD")
	if answer := l.ok("CLOSE"); answer != last(answer) {
		t.Errorf("CLOSE says %s", answer)
	}
	l.status("FETCH 1 FLAGS", "BAD")
	l.status("CLOSE", "BAD")
	if list := w.messages("INBOX"); len(list) != 1 || list[0].UID != 2 {
		t.Errorf("after CLOSE: %+v", list)
	}
	within(t, other.ok("NOOP"), "* 1 EXPUNGE")
	// After EXAMINE it removes nothing.
	other.ok(`STORE 1 +FLAGS (\Deleted)`)
	l.ok("EXAMINE INBOX")
	l.ok("CLOSE")
	if n := len(w.messages("INBOX")); n != 1 {
		t.Errorf("after EXAMINE and CLOSE: %d messages", n)
	}
}
