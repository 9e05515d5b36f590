package imap

import (
	"strings"
	"testing"
)

// RFC 9051 section 6.4.8, RFC 6851.
func TestMove(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.deliver("INBOX", letter(i+1))
	}
	l := w.login()
	l.status("MOVE 1 Archive", "BAD")
	l.ok("SELECT INBOX")
	l.status("MOVE 1 Nowhere", "NO [TRYCREATE]")
	other, there := w.login(), w.login()
	other.ok("SELECT INBOX")
	there.ok("SELECT Archive")
	// Section 6.4.8: COPYUID comes before the EXPUNGEs.
	within(t, l.ok("MOVE 1:2 Archive"), "* OK [COPYUID ", " 1:2 1:2]", "* 2 EXPUNGE\n* 1 EXPUNGE\n", "OK MOVE completed")
	within(t, other.ok("NOOP"), "* 2 EXPUNGE", "* 1 EXPUNGE")
	within(t, there.ok("NOOP"), "* 2 EXISTS")
	within(t, l.ok("UID MOVE 4 Archive"), "* OK [COPYUID ", " 4 3]", "* 2 EXPUNGE")
	if got := l.ok("UID MOVE 900 Archive"); got != last(got) {
		t.Errorf("nothing to move: %s", got)
	}
	// Into the same folder: under a new UID.
	within(t, l.ok("MOVE 1 INBOX"), "* OK [COPYUID ", " 3 7]", "* 1 EXPUNGE", "* 3 EXISTS")
	within(t, l.ok("FETCH 1:* UID"), "(UID 5)", "(UID 6)", "(UID 7)")

	other.ok("NOOP")
	other.ok(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	other.ok("EXPUNGE")
	l.status("MOVE 1:2 Trash", "NO [EXPUNGEISSUED]")
	if n := len(w.messages("Trash")); n != 0 {
		t.Errorf("a MOVE that failed moved %d messages", n)
	}
}

// TestTrapMoveKeepsTheUID is for a MOVE that keeps the UID and collides: mail
// clients then delete the wrong message.
func TestTrapMoveKeepsTheUID(t *testing.T) {
	w := newWorld(t)
	w.deliver("Trash", "Subject: first\r\n\r\n") // UID 1 there
	w.deliver("INBOX", "Subject: second\r\n\r\n")
	w.deliver("INBOX", "Subject: third\r\n\r\n")
	l := w.login()
	l.ok("SELECT INBOX")
	within(t, l.ok("UID MOVE 1 Trash"), " 1 2]")
	within(t, l.ok("UID MOVE 2 Trash"), " 2 3]")
	l.ok("SELECT Trash")
	within(t, l.ok("UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]"), "Subject: first", "Subject: second", "Subject: third")
	// And back: UIDs 1 and 2 of INBOX are not given out again.
	within(t, l.ok("UID MOVE 2 INBOX"), " 2 3]")
	l.ok("SELECT INBOX")
	if answer := l.ok("FETCH 1:* UID"); strings.Count(answer, "UID") != 1 {
		t.Errorf("after moving back: %s", answer)
	}
}
