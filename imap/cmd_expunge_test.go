package imap

import "testing"

// RFC 9051 sections 6.4.3 and 7.5.1: numbers go down with each response, so that
// ours come from the last to the first.
func TestExpunge(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.deliver("INBOX", letter(i))
	}
	l := w.login()
	l.status("EXPUNGE", "BAD")
	l.ok("SELECT INBOX")
	if answer := l.ok("EXPUNGE"); answer != last(answer) {
		t.Errorf("EXPUNGE of nothing: %s", answer)
	}
	l.status("EXPUNGE 1", "BAD")
	other := w.login()
	other.ok("SELECT INBOX")
	l.ok(`STORE 1,3:4 +FLAGS.SILENT (\Deleted)`)
	within(t, l.ok("EXPUNGE"), "* 4 EXPUNGE\n* 3 EXPUNGE\n* 1 EXPUNGE\n")
	within(t, l.ok("FETCH 1:* UID"), "* 1 FETCH (UID 2)", "* 2 FETCH (UID 5)")
	within(t, other.ok("NOOP"), "* 4 EXPUNGE", "* 3 EXPUNGE", "* 1 EXPUNGE")
	// What another session removed meanwhile is told with it.
	l.ok(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	other.ok(`STORE 2 +FLAGS.SILENT (\Deleted)`)
	other.ok("UID EXPUNGE 5")
	within(t, l.ok("EXPUNGE"), "* 2 EXPUNGE\n* 1 EXPUNGE\n")
	if n := len(w.messages("INBOX")); n != 0 {
		t.Errorf("%d messages", n)
	}
}
