package imap

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailproxy/proxy/mailbox"
)

// within fails if the answer does not hold each of want, in that order.
func within(t *testing.T, answer string, want ...string) {
	t.Helper()
	rest := answer
	for _, s := range want {
		_, after, ok := strings.Cut(rest, s)
		if !ok {
			t.Errorf("no %q (in this order) in:\n%s", s, answer)
			return
		}
		rest = after
	}
}

func TestSelect(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1), mailbox.FlagSeen, "$Forwarded")
	id := w.deliver("INBOX", letter(2))
	l := w.login()
	l.status("FETCH 1 FLAGS", "BAD")
	l.status("SELECT Nowhere", "NO [NONEXISTENT]")
	within(t, l.ok("SELECT inbox"), "* 2 EXISTS", "* 0 RECENT", "[UNSEEN 2]", fmt.Sprintf("[UIDVALIDITY %d]", id.UIDValidity), "[UIDNEXT 3]",
		`* FLAGS (\Answered \Deleted \Draft \Flagged \Seen $Forwarded)`, `[PERMANENTFLAGS (\Answered \Deleted \Draft \Flagged \Seen $Forwarded \*)]`, "[READ-WRITE]")
	within(t, l.ok("EXAMINE INBOX"), "[CLOSED]", "[PERMANENTFLAGS ()]", "[READ-ONLY]")
	l.status("SELECT Nowhere", "NO")
	l.status("FETCH 1 FLAGS", "BAD") // RFC 9051 section 6.3.2: a failed SELECT selects nothing
	l.ok("ENABLE IMAP4rev2")
	answer := l.ok("SELECT INBOX")
	within(t, answer, "* LIST (", `"/" INBOX`)
	if strings.Contains(answer, "RECENT") {
		t.Error("RECENT under IMAP4rev2")
	}
	l.ok("UNSELECT")
	l.ok("LOGOUT")
	l.closed()
}

// TestStatusRecent is for the nil pointer behind STATUS (RECENT), which
// Thunderbird asks for even under IMAP4rev2.
func TestStatusRecent(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1), mailbox.FlagDeleted)
	l := w.login()
	for range 2 {
		within(t, l.ok("STATUS INBOX (MESSAGES RECENT UNSEEN UIDNEXT UIDVALIDITY SIZE DELETED APPENDLIMIT DELETED-STORAGE)"),
			"STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY", fmt.Sprintf("UNSEEN 1 DELETED 1 SIZE %d", len(letter(1))), "APPENDLIMIT 1048576", "RECENT 0")
		l.ok("ENABLE IMAP4rev2")
	}
	l.status("STATUS Nowhere (MESSAGES)", "NO [NONEXISTENT]")
}

// TestExamineIsReadOnly is for the library, which leaves it to the backend.
func TestExamineIsReadOnly(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1), mailbox.FlagDeleted)
	l := w.login()
	l.ok("EXAMINE INBOX")
	l.status(`STORE 1 +FLAGS (\Seen)`, "NO [NOPERM]")
	l.status("EXPUNGE", "NO [NOPERM]")
	l.status("UID EXPUNGE 1", "NO [NOPERM]")
	l.status("MOVE 1 Trash", "NO [NOPERM]")
	if answer := l.ok("FETCH 1 BODY[]"); strings.Contains(answer, "FLAGS") {
		t.Errorf("reading changed flags: %s", answer)
	}
	l.ok("COPY 1 Trash")
	l.ok("CLOSE")
	if list := w.messages("INBOX"); len(list) != 1 || list[0].HasFlag(mailbox.FlagSeen) {
		t.Errorf("after EXAMINE: %+v", list)
	}
	l.ok("SELECT INBOX")
	l.ok("CLOSE") // expunges
	if list := w.messages("INBOX"); len(list) != 0 {
		t.Errorf("after CLOSE: %+v", list)
	}
}

func TestStoreCopyMoveExpunge(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.deliver("INBOX", letter(i+1))
	}
	l := w.login()
	l.ok("SELECT INBOX")
	within(t, l.ok(`STORE 1:2 +FLAGS (\Seen $Label)`), `* 1 FETCH (FLAGS ($Label \Seen))`, `* 2 FETCH (FLAGS ($Label \Seen))`)
	within(t, l.ok(`UID STORE 2 -FLAGS $label`), `* 2 FETCH (UID 2 FLAGS (\Seen))`)
	if answer := l.ok(`STORE 3,4 FLAGS.SILENT (\Deleted)`); strings.Contains(answer, "FETCH") {
		t.Errorf("silent: %s", answer)
	}
	l.status(`STORE 1 +FLAGS (\Nonsense)`, "NO [CANNOT]")
	l.status("COPY 1 Nowhere", "NO [TRYCREATE]")
	l.status("MOVE 1 Nowhere", "NO [TRYCREATE]")
	within(t, l.ok("COPY 1,*,3 Archive"), "[COPYUID ", " 1,3,6 1:3]")
	within(t, l.ok("COPY 900 Archive"), "OK COPY completed")
	within(t, l.ok("UID COPY 900 Archive"), "OK COPY completed")
	within(t, l.ok("MOVE 1:2 Archive"), "[COPYUID ", " 1:2 4:5]", "* 2 EXPUNGE", "* 1 EXPUNGE", "OK")
	within(t, l.ok("UID EXPUNGE 4:*"), "* 2 EXPUNGE") // uid 4; 3 is not named
	within(t, l.ok("EXPUNGE"), "* 1 EXPUNGE")
	within(t, l.ok("FETCH 1:* UID"), "* 1 FETCH (UID 5)", "* 2 FETCH (UID 6)")
	within(t, l.ok("UID FETCH 100:* FLAGS"), "* 2 FETCH (UID 6 ") // n:* always names the last
	l.ok("SELECT Archive")
	within(t, l.ok("FETCH 1:* (UID FLAGS)"), `(UID 1 FLAGS ($Label \Seen))`, `(UID 2 FLAGS (\Deleted))`, `(UID 3 FLAGS ())`, `(UID 4`, `(UID 5 FLAGS (\Seen))`)
}

func TestFolders(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	within(t, l.ok(`LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES RECENT))`),
		`LIST (\HasNoChildren \Subscribed \Archive) "/" "Archive"`, `STATUS "Archive" (MESSAGES 0 RECENT 0)`,
		`\Drafts) "/" "Drafts"`, `LIST (\HasNoChildren \Subscribed) "/" INBOX`, `\Junk)`, `\Sent)`, `\Trash)`)
	within(t, l.ok(`LIST "" ""`), `* LIST (\Noselect) "/" ""`)
	l.ok("CREATE Work/2026")
	l.status("CREATE work/../\"x\x02\"", "BAD")
	l.status("CREATE INBOX", "NO [ALREADYEXISTS]")
	l.status(`CREATE "a*"`, "NO [CANNOT]")
	l.status(`CREATE Other (USE (\Sent))`, "NO [ALREADYEXISTS]")
	l.status("DELETE INBOX", "NO [CANNOT]")
	l.status("DELETE Work", "NO [HASCHILDREN]")
	if answer := l.ok(`LIST "" %`); strings.Contains(answer, "2026") {
		t.Errorf("%% crosses a level: %s", answer)
	} else {
		within(t, answer, `LIST (\HasChildren) "/" "Work"`)
	}
	within(t, l.ok(`LIST "Work/" "%"`), `"Work/2026"`)
	within(t, l.ok(`LIST (SPECIAL-USE) "" (S% inb*)`), `"Sent"`)
	l.ok("CREATE Entw&APw-rfe") // modified UTF-7
	if _, err := w.account.Folder("Entwürfe"); err != nil {
		t.Error(err)
	}
	within(t, l.ok(`LIST "" "Entw*"`), `"Entw&APw-rfe"`)
	l.ok("UNSUBSCRIBE Work")
	within(t, l.ok(`LIST (SUBSCRIBED RECURSIVEMATCH) "" %`), `"Work" (CHILDINFO ("SUBSCRIBED"))`)
	l.ok("RENAME Work Play")
	within(t, l.ok(`LSUB "" "*"`), `"Play/2026"`)
	l.ok("DELETE Play/2026")
	l.ok("DELETE Play")
	within(t, l.ok(`LSUB "" "%"`), `* LSUB (\NonExistent \Noselect`, `"Play"`) // for Play/2026, still subscribed
	l.ok("UNSUBSCRIBE Play/2026")
	if answer := l.ok(`LSUB "" "*"`); strings.Contains(answer, "Play") {
		t.Errorf("unsubscribed: %s", answer)
	}
	l.status("SUBSCRIBE Nowhere", "NO")
	l.status("RENAME Nowhere x", "NO [NONEXISTENT]")
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"%", "a/b", false}, {"%/%", "a/b", true}, {"a*b", "a/x/b", true}, {"a%b", "axb", true}, {"a%b", "a/b", false},
		{"", "", true}, {"a", "ab", false}, {"*b", "ab", true}, {"a**%b", "ab", true}, {"ä*", "äb", true}, {"inbox", "INBOX", true},
		{"iNbOx/%", "INBOX/x", true}, {"inboxes", "INBOX", false}, {strings.Repeat("*a", 200) + "b", strings.Repeat("a", 500), false},
	} {
		if got := matchAny("", []string{tc.pattern}, tc.name); got != tc.want {
			t.Errorf("%.20q matches %.20q: %v", tc.pattern, tc.name, got)
		}
	}
}

// listener is a client whose news are sent to a channel.
func (w *world) listener() (*imapclient.Client, chan string) {
	news := make(chan string, 100)
	c := w.client(&imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Expunge: func(seq uint32) { news <- fmt.Sprintf("expunge %d", seq) },
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				news <- fmt.Sprintf("exists %d", *d.NumMessages)
			}
		},
		Fetch: func(m *imapclient.FetchMessageData) {
			if buf, err := m.Collect(); err == nil {
				news <- fmt.Sprintf("flags %d %v", buf.SeqNum, buf.Flags)
			}
		},
	}})
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		w.t.Fatal(err)
	}
	return c, news
}

func hear(t *testing.T, news chan string, want string) {
	t.Helper()
	select {
	case got := <-news:
		if got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("did not hear %s", want)
	}
}

func TestIdleHearsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1))
	c, news := w.listener()
	w.deliver("INBOX", letter(2)) // before IDLE: the library's tracker would keep it back
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	hear(t, news, "exists 2")
	w.deliver("INBOX", letter(3))
	hear(t, news, "exists 3")
	f, err := w.account.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetFlags([]uint32{3}, mailbox.FlagsAdd, []string{mailbox.FlagSeen}); err != nil {
		t.Fatal(err)
	}
	hear(t, news, `flags 3 [\Seen]`)
	if _, err := f.Remove([]uint32{2}); err != nil {
		t.Fatal(err)
	}
	hear(t, news, "expunge 2")
	if err := w.account.RenameFolder("Sent", "Gone"); err != nil { // somebody else's business
		t.Fatal(err)
	}
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}
	within(t, w.login().ok("SELECT INBOX"), "* 2 EXISTS")
}

// TestFiveConnections is for servers that take one connection per account:
// Thunderbird opens five.
func TestFiveConnections(t *testing.T) {
	w := newWorld(t)
	const each = 6
	var wg sync.WaitGroup
	for n := range 5 {
		c := w.client(nil)
		wg.Go(func() {
			if _, err := c.Select("INBOX", nil).Wait(); err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				raw := letter(100*n + i)
				a := c.Append("INBOX", int64(len(raw)), nil)
				if _, err := a.Write([]byte(raw)); err != nil {
					t.Error(err)
				}
				if err := a.Close(); err != nil {
					t.Error(err)
				}
				data, err := a.Wait()
				if err != nil {
					t.Error(err)
					return
				}
				flags := &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagSeen}}
				if err := c.Store(goimap.UIDSetNum(data.UID), flags, nil).Close(); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if _, err := c.Move(goimap.UIDSetNum(data.UID), "Archive").Wait(); err != nil {
						t.Error(err)
					}
				}
				if _, err := c.Fetch(goimap.UIDSet{{Start: 1}}, &goimap.FetchOptions{UID: true, Flags: true, Envelope: true}).Collect(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[uint32]bool)
	for _, folder := range []string{"INBOX", "Archive"} {
		clear(seen)
		list := w.messages(folder)
		if len(list) != 5*each/2 {
			t.Errorf("%s has %d messages", folder, len(list))
		}
		for _, m := range list {
			if seen[m.UID] || !m.HasFlag(mailbox.FlagSeen) {
				t.Errorf("%s: uid %d, flags %v", folder, m.UID, m.Flags)
			}
			seen[m.UID] = true
		}
	}
}

func TestOthersChanges(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.deliver("INBOX", letter(i))
	}
	a, b := w.login(), w.login()
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	b.ok(`STORE 1 +FLAGS (\Deleted)`)
	b.ok("EXPUNGE")
	// RFC 9051 section 7.5.1: no EXPUNGE during FETCH with numbers, which keep
	// their meaning.
	answer := a.status("FETCH 1:3 UID", "NO [EXPUNGEISSUED]")
	within(t, answer, "* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)")
	if strings.Contains(answer, "EXPUNGE\n") {
		t.Errorf("renumbered in FETCH: %s", answer)
	}
	a.status(`STORE 1 +FLAGS (\Seen)`, "NO [EXPUNGEISSUED]")
	a.ok("SEARCH ALL")
	within(t, a.ok("NOOP"), "* 1 EXPUNGE")
	within(t, a.ok("FETCH 1:* UID"), "* 1 FETCH (UID 2)", "* 2 FETCH (UID 3)")

	// A folder that is renamed is still the selected one; a deleted one ends the
	// sessions that look at it, but not the one that deletes it.
	a.ok("CREATE Work")
	w.deliver("Work", letter(9))
	a.ok("SELECT Work")
	b.ok("SELECT Work")
	b.ok("RENAME Work Play")
	w.deliver("Play", letter(10))
	within(t, a.ok("NOOP"), "* 2 EXISTS")
	b.ok("DELETE Play")
	b.status("FETCH 1 FLAGS", "NO [NONEXISTENT]")
	b.ok("SELECT INBOX")
	a.write("z NOOP\r\n")
	a.expect("* BYE")
	a.closed()
}
