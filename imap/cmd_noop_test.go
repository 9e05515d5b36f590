package imap

import (
	"testing"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.1.2: NOOP in every state, and as a poll for news.
func TestNoop(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1))
	l := w.dial()
	l.ok("NOOP")
	l.ok("LOGIN " + user + ` "` + password + `"`)
	l.ok("NOOP")
	l.ok("SELECT INBOX")
	if answer := l.ok("NOOP"); answer != last(answer) {
		t.Errorf("news where nothing happened: %s", answer)
	}
	w.deliver("INBOX", letter(2))
	f, err := w.account.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetFlags([]uint32{1}, mailbox.FlagsAdd, []string{mailbox.FlagFlagged}); err != nil {
		t.Fatal(err)
	}
	within(t, l.ok("NOOP"), "* 2 EXISTS", `* 1 FETCH (UID 1 FLAGS (\Flagged))`)
	if _, err := f.Remove([]uint32{1}); err != nil {
		t.Fatal(err)
	}
	within(t, l.ok("noop"), "* 1 EXPUNGE")
	l.status("NOOP now", "BAD")
	l.ok("CHECK") // RFC 3501 section 6.4.1; RFC 9051 knows it no more
	l.status("CHECK now", "BAD")
}
