package imap

import (
	"testing"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.4.7, RFC 4315 section 3 (COPYUID).
func TestCopy(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.deliver("INBOX", letter(i+1), mailbox.FlagSeen)
	}
	l := w.login()
	l.status("COPY 1 Archive", "BAD")
	l.ok("SELECT INBOX")
	l.status("COPY 1 Nowhere", "NO [TRYCREATE]")
	l.status("COPY 1", "BAD")
	within(t, l.ok("COPY 1,*,3 Archive"), "OK [COPYUID ", " 1,3,5 1:3]")
	within(t, l.ok("COPY 4,2 Archive"), "OK [COPYUID ", " 2,4 4:5]")
	if got := l.ok("COPY 900 Archive"); got != last(got) {
		t.Errorf("nothing to copy: %s", got)
	}
	within(t, l.ok("COPY 1 INBOX"), "* 6 EXISTS", "OK [COPYUID ") // into the same folder
	other := w.login()
	other.ok("SELECT Archive")
	within(t, other.ok("FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE)"), `* 5 FETCH (FLAGS (\Seen) INTERNALDATE "22-Nov-2026 12:00:00 +0000"`)

	// All or nothing, where another session has removed one.
	other.ok("SELECT INBOX")
	other.ok(`STORE 2 +FLAGS.SILENT (\Deleted)`)
	other.ok("EXPUNGE")
	l.status("COPY 1:3 Trash", "NO [EXPUNGEISSUED]")
	if n := len(w.messages("Trash")); n != 0 {
		t.Errorf("a COPY that failed left %d messages", n)
	}
	within(t, l.ok("NOOP"), "* 2 EXPUNGE")
	within(t, l.ok("UID COPY 1:3 Trash"), "OK [COPYUID ", " 1,3 1:2]") // by UID it does not matter
}
