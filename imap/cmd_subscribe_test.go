package imap

import "testing"

// RFC 9051 section 6.3.7.
func TestSubscribe(t *testing.T) {
	l := newWorld(t).login()
	l.ok("UNSUBSCRIBE Sent")
	l.ok("SUBSCRIBE Sent")
	l.ok("SUBSCRIBE Sent") // once more does no harm
	within(t, l.ok(`LIST (SUBSCRIBED) "" S*`), `\Subscribed`, `"Sent"`)
	l.status("SUBSCRIBE Nowhere", "NO [NONEXISTENT]")
	l.status("SUBSCRIBE", "BAD")
	// A name stays on the list when its folder goes.
	l.ok("CREATE Work")
	l.ok("DELETE Work")
	within(t, l.ok(`LIST (SUBSCRIBED) "" Work`), `* LIST (\NonExistent \Noselect`, `"Work"`)
	l.ok("CREATE Work")
	answer := l.ok(`LIST (SUBSCRIBED) "" Work`)
	within(t, answer, `"Work"`)
	without(t, answer, `\NonExistent`)
}
