package imap

import (
	"testing"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.3.3: as SELECT, but nothing changes. The library leaves that
// to the backend.
func TestExamine(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1), mailbox.FlagDeleted)
	l := w.login()
	within(t, l.ok("EXAMINE INBOX"), "* 1 EXISTS", "[UIDNEXT 2]", `* FLAGS (\Answered `, "[PERMANENTFLAGS ()]", "OK [READ-ONLY]")
	l.status(`STORE 1 +FLAGS (\Seen)`, "NO [NOPERM]")
	l.status(`UID STORE 1 FLAGS.SILENT ()`, "NO [NOPERM]")
	l.status("EXPUNGE", "NO [NOPERM]")
	l.status("UID EXPUNGE 1", "NO [NOPERM]")
	l.status("MOVE 1 Trash", "NO [NOPERM]")
	l.status("UID MOVE 1 Trash", "NO [NOPERM]")
	without(t, l.ok("FETCH 1 BODY[]"), "FLAGS")
	without(t, l.ok("FETCH 1 (RFC822 RFC822.TEXT BINARY[1])"), "FLAGS")
	l.ok("COPY 1 Trash")
	w.deliver("INBOX", letter(2))
	within(t, l.ok("NOOP"), "* 2 EXISTS") // news come all the same
	l.ok("CLOSE")
	if list := w.messages("INBOX"); len(list) != 2 || list[0].HasFlag(mailbox.FlagSeen) {
		t.Errorf("after EXAMINE: %+v", list)
	}
	l.status("EXAMINE Nowhere", "NO [NONEXISTENT]")
	l.ok("EXAMINE INBOX")
	within(t, l.ok("SELECT INBOX"), "* OK [CLOSED]", "OK [READ-WRITE]")
	l.ok(`STORE 1 +FLAGS (\Seen)`)
}
