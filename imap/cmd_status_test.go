package imap

import (
	"fmt"
	"testing"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.3.11, RFC 8438 (SIZE), RFC 7889 (APPENDLIMIT), RFC 9208
// (DELETED, DELETED-STORAGE).
func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1), mailbox.FlagDeleted)
	w.deliver("INBOX", letter(2), mailbox.FlagSeen)
	l := w.login()
	within(t, l.ok("STATUS inbox (MESSAGES UNSEEN UIDNEXT UIDVALIDITY SIZE DELETED APPENDLIMIT DELETED-STORAGE)"),
		"* STATUS INBOX (MESSAGES 2 UIDNEXT 3 UIDVALIDITY", fmt.Sprintf("UNSEEN 1 DELETED 1 SIZE %d", 2*len(letter(1))),
		"APPENDLIMIT 1048576", fmt.Sprintf("DELETED-STORAGE %d)", len(letter(1))))
	l.status("STATUS Nowhere (MESSAGES)", "NO [NONEXISTENT]")
	l.status("STATUS INBOX (NONSENSE)", "BAD")
	l.status("STATUS INBOX (HIGHESTMODSEQ)", "BAD") // RFC 7162, which is not announced
	l.status("STATUS INBOX MESSAGES", "BAD")
	// It looks only: another folder stays selected, and nothing is read.
	l.ok("SELECT Sent")
	within(t, l.ok(`STATUS "Drafts" (messages)`), `* STATUS "Drafts" (MESSAGES 0)`)
	l.ok("STATUS INBOX (UNSEEN)")
	within(t, l.ok("STATUS INBOX (UNSEEN)"), "(UNSEEN 1)")
}

// TestTrapStatusRecent is for the nil pointer behind STATUS (RECENT), which
// Thunderbird asks for even under IMAP4rev2.
func TestTrapStatusRecent(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1))
	l := w.login()
	for range 2 {
		within(t, l.ok("STATUS INBOX (UIDNEXT MESSAGES UNSEEN RECENT)"), "(MESSAGES 1 UIDNEXT 2 UNSEEN 1 RECENT 0)")
		l.ok("ENABLE IMAP4rev2")
	}
}
