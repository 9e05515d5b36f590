package imap

import (
	"fmt"
	"testing"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.3.2, RFC 3501 section 6.3.1.
func TestSelect(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1), mailbox.FlagSeen, "$Forwarded")
	id := w.deliver("INBOX", letter(2))
	w.dial().status("SELECT INBOX", "BAD")
	l := w.login()
	l.status("FETCH 1 FLAGS", "BAD")
	l.status("SELECT Nowhere", "NO [NONEXISTENT]")
	l.status("SELECT", "BAD")
	l.status("SELECT INBOX (CONDSTORE)", "BAD") // RFC 7162, which is not announced
	want := []string{
		"* 2 EXISTS", "* 0 RECENT", "[UNSEEN 2]", fmt.Sprintf("[UIDVALIDITY %d]", id.UIDValidity), "[UIDNEXT 3]",
		`* FLAGS (\Answered \Deleted \Draft \Flagged \Seen $Forwarded)`, `[PERMANENTFLAGS (\Answered \Deleted \Draft \Flagged \Seen $Forwarded \*)]`, "OK [READ-WRITE]",
	}
	within(t, l.ok("SELECT inbox"), want...)
	within(t, l.ok("SELECT \"INBOX\""), append([]string{"* OK [CLOSED]"}, want...)...) // section 7.1
	within(t, l.status("SELECT Nowhere", "NO"), "* OK [CLOSED]")
	l.status("FETCH 1 FLAGS", "BAD") // a failed SELECT selects nothing
	l.ok("ENABLE IMAP4rev2")
	answer := l.ok("SELECT INBOX")
	within(t, answer, "* LIST (", `"/" INBOX`)
	without(t, answer, "RECENT", "[UNSEEN")
	within(t, l.ok("SELECT Sent"), "* 0 EXISTS", "[UIDNEXT 1]", `* LIST (\HasNoChildren \Sent) "/" "Sent"`)
	// Nothing to see, and a set that goes on without end in an empty folder.
	l.ok("FETCH 1:* FLAGS")
	l.ok("UID FETCH 5:* FLAGS")
	within(t, l.ok("UID SEARCH 1:*"), "* ESEARCH (TAG ")
}
