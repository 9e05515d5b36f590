package imap

import "testing"

// RFC 9051 section 6.4.9: UID before FETCH, STORE, COPY, MOVE and SEARCH. UIDs
// without a message do not matter, and n:* names the last message even if n is
// higher (section 9, seq-range).
func TestUID(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.deliver("INBOX", letter(i+1))
	}
	l := w.login()
	l.status("UID FETCH 1 FLAGS", "BAD")
	l.ok("SELECT INBOX")
	l.ok(`STORE 1:3 +FLAGS.SILENT (\Deleted)`)
	l.ok("EXPUNGE")
	within(t, l.ok("UID FETCH 1:4 FLAGS"), "* 1 FETCH (UID 4 FLAGS ())") // the UID is told unasked
	within(t, l.ok("uid fetch 5:* (uid flags)"), "* 2 FETCH (UID 5 ", "* 3 FETCH (UID 6 ")
	within(t, l.ok("UID FETCH 100:* FLAGS"), "* 3 FETCH (UID 6 ")
	within(t, l.ok("UID FETCH *:100 FLAGS"), "* 3 FETCH (UID 6 ")
	within(t, l.ok("UID FETCH *,4 FLAGS"), "* 1 FETCH (UID 4 ", "* 3 FETCH (UID 6 ")
	within(t, l.ok("UID FETCH 6:5,5:6,5 FLAGS"), "* 2 FETCH (UID 5 ", "* 3 FETCH (UID 6 ") // each once, in order
	if got := l.ok("UID FETCH 1:3,7:4294967295 FLAGS"); got != last(got) {
		t.Errorf("UIDs without a message: %s", got)
	}
	within(t, l.ok(`UID STORE 2:4 +FLAGS (\Seen)`), `* 1 FETCH (UID 4 FLAGS (\Seen))`)
	if got := l.ok(`UID STORE 1 +FLAGS (\Seen)`); got != last(got) {
		t.Errorf("STORE to a UID without a message: %s", got)
	}
	within(t, l.ok("UID SEARCH UNSEEN"), "* SEARCH 5 6")
	within(t, l.ok("UID SEARCH 1:2"), "* SEARCH 4 5") // a sequence set counts messages there, too
	within(t, l.ok("UID COPY 1:5 Archive"), "OK [COPYUID ", " 4:5 1:2]")
	if got := l.ok("UID COPY 900 Archive"); got != last(got) {
		t.Errorf("COPY of nothing: %s", got)
	}
	within(t, l.ok("UID MOVE 4 Archive"), "* OK [COPYUID ", " 4 3]", "* 1 EXPUNGE")
	for _, bad := range []string{"UID", "UID NOOP", "UID FETCH", "UID FETCH 0 FLAGS", "UID FETCH 1:0 FLAGS", "UID FETCH 4294967296 FLAGS", "UID FETCH 1;2 FLAGS", "UID FETCH ,1 FLAGS"} {
		l.status(bad, "BAD")
	}
	// A folder and a keyword that are named like a search key are left alone.
	l.ok("CREATE Smaller")
	l.ok("UID COPY 5 Smaller")
	within(t, l.ok("UID STORE 5 +FLAGS (Smaller x)"), "FLAGS (Smaller x)")
}
