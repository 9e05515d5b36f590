package imap

import (
	"testing"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.4.2, RFC 3691: CLOSE that expunges nothing.
func TestUnselect(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1), mailbox.FlagDeleted)
	l := w.login()
	l.status("UNSELECT", "BAD")
	l.ok("SELECT INBOX")
	l.status("UNSELECT now", "BAD")
	if answer := l.ok("UNSELECT"); answer != last(answer) {
		t.Errorf("UNSELECT says %s", answer)
	}
	l.status("FETCH 1 FLAGS", "BAD")
	if n := len(w.messages("INBOX")); n != 1 {
		t.Errorf("%d messages", n)
	}
	l.ok("STATUS INBOX (MESSAGES)") // it is the authenticated state again
	l.ok("SELECT INBOX")
}
