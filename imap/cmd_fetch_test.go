package imap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"

	"mailproxy/proxy/mailbox"
)

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

// RFC 9051 sections 6.4.5 and 7.5.2, RFC 3516 (BINARY).
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

// RFC 9051 section 6.4.5: the macros, RFC 3501's items, and what is asked in vain.
func TestFetchItems(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1))
	w.deliver("INBOX", mime)
	w.login().status("FETCH 1 FLAGS", "BAD")
	l := w.login()
	l.ok("SELECT INBOX")
	within(t, l.ok("fetch 1 fast"), fmt.Sprintf(`* 1 FETCH (FLAGS () INTERNALDATE "22-Nov-2026 12:00:00 +0000" RFC822.SIZE %d)`, len(letter(1))))
	within(t, l.ok("FETCH 1 FULL"), "FLAGS () INTERNALDATE ", " ENVELOPE (", ` BODY ("text" "plain" NIL NIL NIL "7bit" 8 1))`)
	answer := l.ok("FETCH 2 BODY") // section 7.5.2: without the extension data
	within(t, answer, `BODY (("text" "plain" ("charset" "iso-8859-1") NIL NIL "quoted-printable" 14 0)("application"`, `"mixed")`)
	without(t, answer, "boundary", "attachment")
	within(t, l.ok("FETCH 2 (BODY BODYSTRUCTURE)"), "BODY (", "BODYSTRUCTURE (", `"attachment"`)
	within(t, l.ok("FETCH 1 (UID FLAGS UID)"), "* 1 FETCH (UID 1 FLAGS ())")
	within(t, l.ok("FETCH 2:1 UID"), "* 1 FETCH", "* 2 FETCH")

	// Sections, in the words in which they come back.
	within(t, l.ok("FETCH 1 BODY.PEEK[]<8.4>"), "BODY[]<8> {4}", "x.te")
	within(t, l.ok("FETCH 1 BODY.PEEK[]<5000.4>"), "BODY[]<5000> {0}")
	within(t, l.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject)]"), `BODY[HEADER.FIELDS ("Subject")] {`, "Subject: number 1", "\n\n)")
	within(t, l.ok(`FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT ("From" Message-ID)]<2.5>`), `BODY[HEADER.FIELDS.NOT ("From" "Message-ID")]<2> {5}`, "bject")
	within(t, l.ok("FETCH 2 BODY.PEEK[3.HEADER.FIELDS (SUBJECT X)]"), `BODY[3.HEADER.FIELDS ("SUBJECT" "X")] {19}`, "Subject: inside")
	within(t, l.ok("FETCH 2 (BODY.PEEK[3.1.MIME] BODY.PEEK[3.1] BODY.PEEK[9.9.9])"), "BODY[3.1] {9}", "deep text", "BODY[9.9.9] {0}")
	within(t, l.ok("FETCH 2 BINARY.PEEK[1]<3.2>"), "BINARY[1] ~{2}", "\xe9 ")
	within(t, l.ok("FETCH 2 (BINARY.PEEK[] BINARY.SIZE[] BINARY.SIZE[3])"), fmt.Sprintf("BINARY[] ~{%d}", len(mime)), fmt.Sprintf("BINARY.SIZE[] %d", len(mime)))
	if n := len(w.messages("INBOX")[0].Flags) + len(w.messages("INBOX")[1].Flags); n != 0 {
		t.Error("what only looks sets flags")
	}

	// What sets \Seen, and that others hear of it.
	other := w.login()
	other.ok("SELECT INBOX")
	for _, item := range []string{"BODY[]", "BODY[TEXT]", "BODY[1]<0.1>", "BODY[HEADER]", "RFC822", "RFC822.TEXT", "BINARY[1]"} {
		within(t, l.ok("FETCH 1 "+item), `FLAGS (\Seen)`)
		without(t, l.ok("FETCH 1 "+item), "FLAGS")
		within(t, other.ok("NOOP"), `* 1 FETCH (UID 1 FLAGS (\Seen))`)
		l.ok(`STORE 1 -FLAGS.SILENT (\Seen)`)
		other.ok("NOOP")
	}
	without(t, l.ok("FETCH 1 RFC822.HEADER"), "FLAGS")

	for _, bad := range []string{"FETCH 1", "FETCH 1 NONSENSE", "FETCH 1 (FLAGS ALL)", "FETCH 1 BODY[NONSENSE]", "FETCH 1 BODY[HEADER.FIELDS]", "FETCH 1 BODY[]<1>",
		"FETCH 1 BODY[1", "FETCH 1 (FLAGS", "FETCH 1 MODSEQ", "FETCH 1 BINARY[TEXT]"} {
		l.status(bad, "BAD")
	}
}

// RFC 9051 section 7.5.2: ENVELOPE, of mail as it comes. The spaces between
// addresses are the library's, see docs/imap.md.
func TestFetchEnvelope(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", "Date: 20 Nov 2026 10:00:00 GMT\r\nSubject: =?koi8-r?B?8NLJ18XU?=\r\nFrom: \"A. \\\"B\\\"\" <a@x.test>\r\nSender: s@x.test\r\n"+
		"To: Friends: b@x.test, C <c@x.test>;, undisclosed-recipients:;\r\nCc:\r\nIn-Reply-To: <1@x.test> <2@x.test>\r\n\r\n")
	w.deliver("INBOX", "Date: yesterday\r\nFrom: nobody in particular\r\nReply-To: r@x.test\r\n\r\n")
	w.deliver("INBOX", "")
	l := w.login()
	l.ok("SELECT INBOX")
	within(t, l.ok("FETCH 1 ENVELOPE"), `("Fri, 20 Nov 2026 10:00:00 +0000" "=?utf-8?q?=D0=9F=D1=80=D0=B8=D0=B2=D0=B5=D1=82?=" (("A. \"B\"" NIL "a" "x.test"))`+
		` ((NIL NIL "s" "x.test")) (("A. \"B\"" NIL "a" "x.test"))`+
		` ((NIL NIL "Friends" NIL) (NIL NIL "b" "x.test") ("C" NIL "c" "x.test") (NIL NIL NIL NIL) (NIL NIL "undisclosed-recipients" NIL) (NIL NIL NIL NIL))`+
		` NIL NIL "<1@x.test> <2@x.test>" NIL)`)
	within(t, l.ok("FETCH 2 ENVELOPE"), `(NIL NIL (("nobody in particular" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")) (("nobody`, `((NIL NIL "r" "x.test")) NIL`)
	within(t, l.ok("FETCH 3 ENVELOPE"), `(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)`)
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
