package imap

import "testing"

// RFC 9051 section 6.3.8.
func TestUnsubscribe(t *testing.T) {
	l := newWorld(t).login()
	l.ok("UNSUBSCRIBE Sent")
	without(t, l.ok(`LIST (SUBSCRIBED) "" *`), "Sent")
	without(t, l.ok(`LSUB "" *`), "Sent")
	within(t, l.ok(`LIST "" Sent`), `"Sent"`)
	l.ok("UNSUBSCRIBE Sent") // it need not be there
	l.ok("CREATE Work/2026")
	l.ok("DELETE Work/2026")
	l.ok("UNSUBSCRIBE Work/2026")
	without(t, l.ok(`LSUB "" *`), "2026")
	l.status("UNSUBSCRIBE", "BAD")
	l.status(`UNSUBSCRIBE "a*"`, "NO [CANNOT]")
}
