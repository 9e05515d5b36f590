package imap

import "testing"

// RFC 9051 section 6.3.6.
func TestRename(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	l.ok("CREATE Work/2026")
	id := w.deliver("Work/2026", letter(1))
	l.status("RENAME Nowhere x", "NO [NONEXISTENT]")
	l.status("RENAME Work Sent", "NO [ALREADYEXISTS]")
	l.status("RENAME Work Work/below", "NO [CANNOT]")
	l.status("RENAME Work", "BAD")
	l.ok("RENAME Work Play/all") // what is below goes with it, what is above is made
	within(t, l.ok(`LIST "" Play*`), `"Play"`, `"Play/all"`, `"Play/all/2026"`)
	without(t, l.ok(`LIST "" Work*`), "Work")
	within(t, l.ok(`LSUB "" Play*`), `"Play/all"`, `"Play/all/2026"`) // subscriptions, too
	if again := w.deliver("Play/all/2026", letter(2)); again.UIDValidity != id.UIDValidity || again.UID != id.UID+1 {
		t.Errorf("a renamed folder: %+v after %+v", again, id)
	}
	l.ok("RENAME Sent Posted")
	within(t, l.ok(`LIST "" Posted`), `\Sent)`)

	// A folder that is looked at stays so under its new name.
	other := w.login()
	other.ok("SELECT Play/all/2026")
	l.ok("RENAME Play/all/2026 Done")
	w.deliver("Done", letter(3))
	within(t, other.ok("NOOP"), "* 3 EXISTS")

	// INBOX stays, and empties itself into a new folder.
	w.deliver("INBOX", letter(4))
	l.ok("CREATE INBOX/below")
	l.ok("RENAME inbox Old/mail")
	within(t, l.ok("STATUS INBOX (MESSAGES UIDNEXT)"), "(MESSAGES 0 UIDNEXT 2)")
	within(t, l.ok("STATUS Old/mail (MESSAGES)"), "(MESSAGES 1)")
	within(t, l.ok(`LIST "" INBOX/*`), `"INBOX/below"`)
}
