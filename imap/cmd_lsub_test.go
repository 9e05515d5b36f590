package imap

import "testing"

// RFC 3501 section 6.3.9. RFC 9051 knows it no more; Thunderbird and mutt use it.
func TestLsub(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	if got := listed(l.ok(`LSUB "" "*"`)); got != "Archive Drafts INBOX Junk Sent Trash" {
		t.Errorf("at first: %s", got)
	}
	l.ok("CREATE Work/2026")
	l.ok("UNSUBSCRIBE Work")
	// "If foo/bar is subscribed and foo is not, % must return foo, marked \Noselect."
	within(t, l.ok(`lsub "" "%"`), `* LSUB (\Noselect \HasChildren) "/" "Work"`)
	if got := listed(l.ok(`LSUB "" "W*"`)); got != "Work/2026" { // which shows it itself
		t.Errorf("LSUB *: %s", got)
	}
	l.ok("RENAME Work Play")
	within(t, l.ok(`LSUB "" "*"`), `"Play/2026"`)
	l.ok("DELETE Play/2026")
	l.ok("DELETE Play")
	within(t, l.ok(`LSUB "" "%"`), `* LSUB (\NonExistent \Noselect`, `"Play"`) // for Play/2026, still subscribed
	l.ok("UNSUBSCRIBE Play/2026")
	without(t, l.ok(`LSUB "" "*"`), "Play")
	l.status(`LSUB ""`, "BAD")
}
