package imap

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
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

const mime = "From: =?utf-8?Q?J=C3=BCrgen?= <j@x.test>\r\n" +
	"Subject: parts\r\n" +
	"Date: Fri, 20 Nov 2026 10:00:00 +0200\r\n" +
	"Message-ID: <p@x.test>\r\n" +
	"Content-Type: multipart/mixed; boundary=b\r\n" +
	"\r\n" +
	"--b\r\n" +
	"Content-Type: text/plain; charset=iso-8859-1\r\n" +
	"Content-Transfer-Encoding: quoted-printable\r\n" +
	"\r\n" +
	"caf=E9 au lait\r\n" +
	"--b\r\n" +
	"Content-Type: application/pdf; name=x.pdf\r\n" +
	"Content-Disposition: attachment; filename=x.pdf\r\n" +
	"Content-Transfer-Encoding: base64\r\n" +
	"\r\n" +
	"AAEC\r\n" +
	"--b\r\n" +
	"Content-Type: message/rfc822\r\n" +
	"\r\n" +
	"Subject: inside\r\n" +
	"\r\n" +
	"deep text\r\n" +
	"--b--\r\n"

func TestFetch(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", mime)
	l := w.login()
	l.ok("SELECT INBOX")
	within(t, l.ok("FETCH 1 ALL"), `INTERNALDATE "22-Nov-2026 12:00:00 +0000"`, fmt.Sprintf("RFC822.SIZE %d", len(mime)),
		`ENVELOPE ("Fri, 20 Nov 2026 10:00:00 +0200" "parts" (("=?utf-8?q?J=C3=BCrgen?=" NIL "j" "x.test"))`, `NIL NIL NIL NIL "<p@x.test>")`)
	within(t, l.ok("FETCH 1 BODYSTRUCTURE"), `BODYSTRUCTURE (("text" "plain" ("charset" "iso-8859-1") NIL NIL "quoted-printable" 14 0 NIL NIL NIL NIL)`,
		`("application" "pdf" ("name" "x.pdf") NIL NIL "base64" 4 NIL ("attachment" ("filename" "x.pdf")) NIL NIL)`,
		`("message" "rfc822" NIL NIL NIL "7bit" 28 (NIL "inside" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" NIL NIL NIL "7bit" 9 0 NIL NIL NIL NIL) 2`,
		`"mixed" ("boundary" "b") NIL NIL NIL)`)

	c := w.client(nil)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	header := mime[:strings.Index(mime, "\r\n\r\n")+4]
	for _, tc := range []struct {
		section goimap.FetchItemBodySection
		want    string
	}{
		{goimap.FetchItemBodySection{}, mime},
		{goimap.FetchItemBodySection{Partial: &goimap.SectionPartial{Offset: 5, Size: 10}}, mime[5:15]},
		{goimap.FetchItemBodySection{Partial: &goimap.SectionPartial{Offset: 1 << 40, Size: 1 << 62}}, ""},
		{goimap.FetchItemBodySection{Partial: &goimap.SectionPartial{Offset: 10, Size: 1<<63 - 1}}, mime[10:]},
		{goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierHeader}, header},
		{goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierText}, mime[len(header):]},
		{goimap.FetchItemBodySection{Part: []int{1}}, "caf=E9 au lait"},
		{goimap.FetchItemBodySection{Part: []int{2}, Specifier: goimap.PartSpecifierMIME}, mime[strings.Index(mime, "Content-Type: application"):strings.Index(mime, "AAEC")]},
		{goimap.FetchItemBodySection{Part: []int{3}}, "Subject: inside\r\n\r\ndeep text"},
		{goimap.FetchItemBodySection{Part: []int{3}, Specifier: goimap.PartSpecifierHeader}, "Subject: inside\r\n\r\n"},
		{goimap.FetchItemBodySection{Part: []int{3}, Specifier: goimap.PartSpecifierText}, "deep text"},
		{goimap.FetchItemBodySection{Part: []int{3, 1}}, "deep text"},
		{goimap.FetchItemBodySection{Part: []int{4}}, ""},
		{goimap.FetchItemBodySection{Part: []int{1}, Specifier: goimap.PartSpecifierHeader}, ""},
		{goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"SUBJECT", "From", "X-None"}},
			"From: =?utf-8?Q?J=C3=BCrgen?= <j@x.test>\r\nSubject: parts\r\n\r\n"},
		{goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierHeader, HeaderFieldsNot: []string{"from", "Content-Type", "date", "message-id"}}, "Subject: parts\r\n\r\n"},
	} {
		tc.section.Peek = true
		got, err := c.Fetch(goimap.SeqSetNum(1), &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{&tc.section}}).Collect()
		if err != nil || len(got) != 1 || len(got[0].BodySection) != 1 || string(got[0].BodySection[0].Bytes) != tc.want {
			t.Errorf("%+v: %v, %+v, want %q", tc.section, err, got, tc.want)
		}
	}
	if w.messages("INBOX")[0].HasFlag(mailbox.FlagSeen) {
		t.Error("PEEK sets \\Seen")
	}
	within(t, l.ok("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1] BINARY.PEEK[2] BINARY.SIZE[2])"), "BINARY[1] ~{12}", "caf\xe9 au lait", "BINARY[2] ~{3}", "\x00\x01\x02",
		"BINARY.SIZE[1] 12", "BINARY.SIZE[2] 3")
	within(t, l.ok("FETCH 1 (RFC822.HEADER)"), "RFC822.HEADER {", "Subject: parts")
	within(t, l.ok("FETCH 1 BODY[TEXT]"), `FLAGS (\Seen)`, "BODY[TEXT] {")
	if answer := l.ok("NOOP"); strings.Contains(answer, "FETCH") {
		t.Errorf("a flag is told twice: %s", answer)
	}
	w.deliver("INBOX", "Content-Transfer-Encoding: x-unknown\r\n\r\nbody")
	l.ok("NOOP")
	l.status("FETCH 2 BINARY.PEEK[1]", "NO [UNKNOWN-CTE]")
	l.ok("FETCH 2 BODY.PEEK[1]")
}

// TestBytesComeBack is for servers that rebuild what they store.
func TestBytesComeBack(t *testing.T) {
	w := newWorld(t)
	c := w.client(nil)
	for i, raw := range []string{
		"Subject: bare\nlines\n\n.\n..\n", "\x00\x01\xff\r\n", "no header at all", strings.Repeat("x", 300<<10),
		"Content-Type: multipart/mixed; boundary=a\r\n\r\nnever", "Content-Type: multipart/mixed\r\n\r\n--\r\n",
	} {
		a := c.Append("INBOX", int64(len(raw)), nil)
		if _, err := a.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		got, err := c.Fetch(goimap.SeqSetNum(uint32(i+1)), &goimap.FetchOptions{
			Envelope: true, BodyStructure: &goimap.FetchItemBodyStructure{Extended: true},
			BodySection: []*goimap.FetchItemBodySection{{}},
		}).Collect()
		if err != nil || len(got) != 1 || !bytes.Equal(got[0].BodySection[0].Bytes, []byte(raw)) {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", mime, mailbox.FlagSeen)                                                                                                                                                                   // 1
	w.deliver("INBOX", "From: Ann <ann@x.test>\r\nTo: bob@y.test\r\nSubject: =?iso-8859-1?Q?=DCbung?=\r\nX-Thing: some\r\n\r\nplain body\r\n", "$Label")                                                         // 2
	w.deliver("INBOX", "Date: Mon, 1 Jun 2020 23:00:00 -0500\r\nCc: carl@z.test\r\nContent-Type: text/html; charset=windows-1251\r\nContent-Transfer-Encoding: base64\r\n\r\nz/Do4uXy\r\n", mailbox.FlagFlagged) // 3: "Привет"
	w.deliver("INBOX", "garbage without header "+strings.Repeat("z", 2000))                                                                                                                                      // 4
	l := w.login()
	l.ok("SELECT INBOX")
	for query, want := range map[string]string{
		"ALL":                                 "1 2 3 4",
		"SEEN":                                "1",
		"UNSEEN":                              "2 3 4",
		"KEYWORD $label":                      "2",
		"UNKEYWORD $Label UNFLAGGED":          "1 4",
		"FLAGGED":                             "3",
		"NEW":                                 "",
		"OLD":                                 "1 2 3 4",
		"RECENT":                              "",
		"DELETED":                             "",
		"UNDELETED UNDRAFT UNANSWERED":        "1 2 3 4",
		"2:3":                                 "2 3",
		"*":                                   "4",
		"UID 3:*":                             "3 4",
		"NOT 1:2":                             "3 4",
		"OR SEEN FLAGGED":                     "1 3",
		"(SEEN SUBJECT parts)":                "1",
		"FROM ann":                            "2",
		"FROM x.test":                         "1 2",
		"TO BOB":                              "2",
		"CC carl":                             "3",
		"BCC x":                               "",
		"HEADER X-Thing \"\"":                 "2",
		"HEADER x-thing SOM":                  "2",
		"HEADER Subject \"\"":                 "1 2",
		"HEADER Cc \"\"":                      "3",
		"SENTBEFORE 2-Jun-2020":               "3",
		"SENTON 1-Jun-2020":                   "3",
		"SENTSINCE 20-Nov-2026":               "1",
		"SINCE 22-Nov-2026":                   "1 2 3 4",
		"BEFORE 22-Nov-2026":                  "",
		"ON 22-Nov-2026":                      "1 2 3 4",
		"LARGER 1000":                         "4",
		"SMALLER 300 SINCE 1-Jan-2020":        "2 3",
		"SMALLER 300 LARGER 130":              "3",
		"BODY \"plain body\"":                 "2",
		"BODY deep":                           "1",
		"BODY inside":                         "1",
		"BODY parts":                          "",
		"TEXT parts":                          "1",
		"TEXT zzz":                            "4",
		"NOT TEXT zzz UNSEEN":                 "2 3",
		"OR TEXT zzz BODY \"PLAIN\"":          "2 4",
		"BODY \"%PDF\"":                       "",
		"CHARSET UTF-8 SUBJECT {6+}\r\nübung": "2",
		"FROM {7+}\r\njürgen":                 "1",
		"BODY {5+}\r\ncafé":                   "1",
		"TEXT {12+}\r\nпривет":                "3",
		"BODY {6+}\r\ncafe\u0301":             "1", // composed differently
	} {
		answer := l.ok("SEARCH " + query)
		got, _, _ := strings.Cut(answer, "\n")
		if got != strings.TrimSuffix("* SEARCH "+want, " ") {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	within(t, l.ok("SEARCH RETURN (MIN MAX COUNT) UNSEEN"), "MIN 2 MAX 4 COUNT 3")
	within(t, l.ok("UID SEARCH RETURN (ALL) UNSEEN"), `UID ALL 2:4`)
	within(t, l.ok("SEARCH RETURN () FLAGGED"), `ALL 3`)
	// SEARCHRES
	l.ok("SEARCH RETURN (SAVE) OR FLAGGED SEEN")
	within(t, l.ok("FETCH $ UID"), "* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)")
	within(t, l.ok("UID SEARCH $ SEEN"), "* SEARCH 1\n")
	l.ok("SEARCH RETURN (SAVE MAX) UNSEEN")
	within(t, l.ok("UID FETCH $ UID"), "* 4 FETCH (UID 4)")
	l.ok(`STORE 4 +FLAGS (\Deleted)`)
	l.ok("EXPUNGE")
	if answer := l.ok("FETCH $ UID"); strings.Contains(answer, "FETCH (") {
		t.Errorf("an expunged message is in the saved result: %s", answer)
	}
	l.ok("SEARCH RETURN (SAVE) ALL")
	l.ok("SELECT INBOX")
	if answer := l.ok("FETCH $ UID"); strings.Contains(answer, "FETCH (") {
		t.Errorf("SELECT keeps the saved result: %s", answer)
	}
}

// TestInternalErrors is for a FETCH that fails in the middle: the library would
// keep a lock and hang.
func TestInternalErrors(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1))
	l := w.login()
	l.ok("SELECT INBOX")
	w.corrupt(t)
	for _, command := range []string{"FETCH 1 BODY[]", "FETCH 1 (ENVELOPE BODYSTRUCTURE)", "SEARCH TEXT x", "SEARCH SUBJECT x"} {
		l.status(command, "NO [SERVERBUG] Internal error")
	}
	l.ok("NOOP")
}

// TestCurl reads with a client that is not of this library's family.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	w := newWorld(t)
	w.deliver("INBOX", letter(1))
	w.deliver("INBOX", mime)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(curl, append([]string{"--silent", "--show-error", "--max-time", "10", "--user", user + ":" + password}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("curl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := run("imap://" + w.addr + "/INBOX;UID=2"); got != mime {
		t.Errorf("message 2 is %q", got)
	}
	if got := run("imap://" + w.addr + "/"); !strings.Contains(got, "INBOX") || !strings.Contains(got, "Drafts") {
		t.Errorf("folders %s", got)
	}
	if got := run("imap://" + w.addr + "/INBOX?SUBJECT%20number"); strings.TrimSpace(got) != "* SEARCH 1" {
		t.Errorf("search %q", got)
	}
	if got := slices.Clone(w.messages("INBOX")); len(got) != 2 {
		t.Errorf("%d messages", len(got))
	}
}
