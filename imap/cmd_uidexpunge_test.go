package imap

import "testing"

// RFC 9051 section 6.4.9, RFC 4315 section 2.1: only what is both named and
// \Deleted goes.
func TestUIDExpunge(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.deliver("INBOX", letter(i))
	}
	l := w.login()
	l.status("UID EXPUNGE 1", "BAD")
	l.ok("SELECT INBOX")
	l.ok(`STORE 1:3,5 +FLAGS.SILENT (\Deleted)`)
	within(t, l.ok("UID EXPUNGE 3:4"), "* 3 EXPUNGE\n")
	if answer := l.ok("UID EXPUNGE 4,100:200"); answer != last(answer) {
		t.Errorf("nothing to remove: %s", answer)
	}
	within(t, l.ok("UID EXPUNGE 9:*"), "* 4 EXPUNGE\n") // n:* always names the last, 5
	l.ok("SEARCH RETURN (SAVE) UID 2")
	within(t, l.ok("UID EXPUNGE $"), "* 2 EXPUNGE\n")
	l.status("UID EXPUNGE", "BAD")
	within(t, l.ok("FETCH 1:* (UID FLAGS)"), `(UID 1 FLAGS (\Deleted))`, `(UID 4 FLAGS ())`)
}
