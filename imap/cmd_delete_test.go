package imap

import "testing"

// RFC 9051 section 6.3.5.
func TestDelete(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	l.ok("CREATE Work/2026")
	l.status("DELETE INBOX", "NO [CANNOT]")
	l.status("DELETE Nowhere", "NO [NONEXISTENT]")
	l.status("DELETE Work", "NO [HASCHILDREN]")
	w.deliver("Work/2026", letter(1))
	l.ok("DELETE Work/2026")
	l.ok("DELETE Work")
	without(t, l.ok(`LIST "" *`), "Work")
	within(t, l.ok(`LSUB "" Work`), `"Work"`) // section 6.3.7: the name stays subscribed
	l.status("SELECT Work", "NO [NONEXISTENT]")

	// The folder that this session looks at, and others look at.
	l.ok("CREATE Work")
	w.deliver("Work", letter(2))
	other := w.login()
	other.ok("SELECT Work")
	l.ok("SELECT Work")
	l.ok("DELETE Work")
	l.status("FETCH 1 FLAGS", "NO [NONEXISTENT]")
	l.ok("NOOP")
	l.ok("CLOSE")
	l.ok("SELECT INBOX")
	other.write("z NOOP\r\n") // RFC 2180 section 3.3
	other.expect("* BYE")
	other.closed()
}
