package imap

import (
	"strings"
	"testing"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.4.4, RFC 3501 section 6.4.4.
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
		l.finds(query, want)
	}
	for _, bad := range []string{"SEARCH", "SEARCH NONSENSE", "SEARCH SINCE yesterday", "SEARCH (SEEN", "SEARCH OR SEEN", "SEARCH NOT", "SEARCH RETURN (NONSENSE) ALL", "SEARCH MODSEQ 1"} {
		l.status(bad, "BAD")
	}
	w.login().status("SEARCH ALL", "BAD")
}

// finds sends a SEARCH that must find these numbers.
func (l *line) finds(query, want string) {
	l.t.Helper()
	got, _, _ := strings.Cut(l.ok("SEARCH "+query), "\n")
	if got != strings.TrimSuffix("* SEARCH "+want, " ") {
		l.t.Errorf("%.80q: %s, want %s", query, got, want)
	}
}

// Keys within keys.
func TestSearchNested(t *testing.T) {
	w := newWorld(t)
	for i := range 8 { // 1 has none of the flags, 8 all
		var flags []string
		for j, f := range []string{mailbox.FlagSeen, mailbox.FlagFlagged, "$c"} {
			if i>>j&1 == 1 {
				flags = append(flags, f)
			}
		}
		w.deliver("INBOX", letter(i+1), flags...)
	}
	l := w.login()
	l.ok("SELECT INBOX")
	for query, want := range map[string]string{
		"OR SEEN OR FLAGGED KEYWORD $c":                              "2 3 4 5 6 7 8",
		"OR OR SEEN FLAGGED KEYWORD $c":                              "2 3 4 5 6 7 8",
		"OR (SEEN FLAGGED) KEYWORD $c":                               "4 5 6 7 8",
		"(OR SEEN FLAGGED) (OR FLAGGED KEYWORD $c)":                  "3 4 6 7 8",
		"NOT OR SEEN FLAGGED":                                        "1 5",
		"NOT (SEEN FLAGGED)":                                         "1 2 3 5 6 7",
		"NOT NOT SEEN":                                               "2 4 6 8",
		"NOT (NOT SEEN NOT FLAGGED)":                                 "2 3 4 6 7 8",
		"NOT (SEEN (OR FLAGGED NOT KEYWORD $c))":                     "1 3 5 6 7",
		"OR NOT (OR SEEN SUBJECT 3) (FLAGGED SUBJECT 8)":             "1 5 7 8",
		"NOT TEXT \"number 1\" NOT TEXT \"number 2\" UNFLAGGED":      "5 6",
		"OR 1:2 OR UID 8 (5:6 SEEN)":                                 "1 2 6 8",
		"1:4 3:8 NOT 4":                                              "3",
		strings.Repeat("NOT ", 1000) + "SEEN":                        "2 4 6 8",
		strings.Repeat("(", 500) + "SEEN" + strings.Repeat(")", 500): "2 4 6 8",
		"SMALLER 0":            "",
		"NOT SMALLER 0":        "1 2 3 4 5 6 7 8",
		"OR SMALLER 0 1":       "1",
		"LARGER 0 SMALLER 999": "1 2 3 4 5 6 7 8",
		"SMALLER 999 BEFORE 1-Jan-2030 LARGER 5 SINCE 1-Jan-2020 SMALLER 5": "",
	} {
		l.finds(query, want)
	}
}

// RFC 9051 section 6.4.4, RFC 4731: RETURN, and under IMAP4rev2 always ESEARCH.
func TestSearchReturn(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.deliver("INBOX", letter(i))
	}
	l := w.login()
	l.ok("SELECT INBOX")
	l.ok(`STORE 1 +FLAGS.SILENT (\Seen)`)
	for query, want := range map[string]string{
		"SEARCH RETURN (MIN MAX COUNT) UNSEEN":   "MIN 2 MAX 4 COUNT 3",
		"SEARCH RETURN (MIN) UNSEEN":             "MIN 2",
		"UID SEARCH RETURN (ALL) UNSEEN":         "UID ALL 2:4",
		"SEARCH RETURN () SEEN":                  "ALL 1",
		"SEARCH RETURN (COUNT ALL) OR 1 3":       "ALL 1,3 COUNT 2",
		"SEARCH RETURN (MIN MAX COUNT) FLAGGED":  "COUNT 0", // nothing has no least
		"UID SEARCH RETURN (ALL) FLAGGED":        "UID",
		"search return (count) charset UTF-8 2:": "",
	} {
		if want == "" {
			l.status(query, "BAD")
			continue
		}
		answer := l.ok(query)
		tag, _, _ := strings.Cut(last(answer), " ")
		if got, _, _ := strings.Cut(answer, "\n"); got != `* ESEARCH (TAG "`+tag+`") `+want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	l.ok("ENABLE IMAP4rev2")
	within(t, l.ok("SEARCH UNSEEN"), `") ALL 2:4`)
	without(t, l.ok("SEARCH FLAGGED"), "* SEARCH", "ALL")
}

// RFC 9051 section 6.4.4.1, RFC 5182: $ is the last result that was saved.
func TestSearchRes(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.deliver("INBOX", letter(i))
	}
	l := w.login()
	l.ok("SELECT INBOX")
	l.ok(`STORE 1 +FLAGS.SILENT (\Seen)`)
	l.ok(`STORE 3 +FLAGS.SILENT (\Flagged)`)
	if answer := l.ok("FETCH $ UID"); answer != last(answer) {
		t.Errorf("$ at first: %s", answer)
	}
	for _, form := range []string{"SEARCH RETURN (SAVE) OR FLAGGED SEEN", "UID SEARCH return (save) OR FLAGGED SEEN"} {
		if answer := l.ok(form); answer != last(answer) { // section 6.4.4: SAVE alone has no answer
			t.Errorf("%s: %s", form, answer)
		}
		within(t, l.ok("FETCH $ UID"), "* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)")
	}
	within(t, l.ok("SEARCH RETURN (SAVE COUNT) OR FLAGGED SEEN"), "COUNT 2")
	within(t, l.ok("UID SEARCH $ SEEN"), "* SEARCH 1\n")
	within(t, l.ok("UID SEARCH UID $ FLAGGED"), "* SEARCH 3\n")
	within(t, l.ok("UID STORE $ +FLAGS ($x)"), "* 1 FETCH", "* 3 FETCH")
	within(t, l.ok("UID COPY $ Archive"), " 1,3 1:2]")
	within(t, l.ok("SEARCH RETURN (SAVE MAX) UNSEEN"), "MAX 4") // RFC 5182 section 2.4
	within(t, l.ok("UID FETCH $ UID"), "* 4 FETCH (UID 4)")
	within(t, l.ok("SEARCH RETURN (SAVE MIN MAX) ALL"), "MIN 1 MAX 4")
	if answer := l.ok("FETCH $ UID"); strings.Count(answer, "FETCH (") != 2 {
		t.Errorf("SAVE MIN MAX: %s", answer)
	}
	// A SEARCH that is answered NO empties it, BAD leaves it (section 2.1).
	l.status("SEARCH RETURN (SAVE) NONSENSE", "BAD")
	within(t, l.ok("FETCH $ UID"), "* 1 FETCH")
	l.status("SEARCH RETURN (SAVE) CHARSET X-NONE ALL", "NO [BADCHARSET (")
	if answer := l.ok("FETCH $ UID"); answer != last(answer) {
		t.Errorf("after NO: %s", answer)
	}
	l.ok("SEARCH RETURN (SAVE) UNSEEN")
	l.ok("SEARCH ALL") // does not save
	l.ok(`STORE 4 +FLAGS (\Deleted)`)
	l.ok("EXPUNGE")
	without(t, l.ok("FETCH $ UID"), "UID 4", "UID 1)")
	within(t, l.ok("UID MOVE $ Trash"), " 2:3 1:2]")
	l.ok("ENABLE IMAP4rev2")
	if answer := l.ok("SEARCH RETURN (SAVE) ALL"); answer != last(answer) {
		t.Errorf("SAVE alone: %s", answer)
	}
	l.ok("SELECT INBOX")
	if answer := l.ok("FETCH $ UID"); answer != last(answer) {
		t.Errorf("SELECT keeps the saved result: %s", answer)
	}
}

// The strings of a SEARCH and the texts of messages meet whatever charset each is
// in (RFC 9051 section 6.4.4, RFC 2045, RFC 2047).
func TestSearchCharset(t *testing.T) {
	w := newWorld(t)
	for _, raw := range []string{
		"Subject: =?koi8-r?B?8NLJ18XU?=\r\n\r\nx",                                                                                          // 1
		"Content-Type: text/plain; charset=koi8-r\r\n\r\n\xf0\xd2\xc9\xd7\xc5\xd4\r\n",                                                     // 2
		"Content-Type: text/plain; charset=\"windows-1251\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=CF=F0=E8=\r\n=E2=E5=F2", // 3
		"Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\nHwRABDgEMgQ1BEIE\r\n",                      // 4
		"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$BF|K\\\x1b(B\r\n",                                                       // 5: 日本
		"Content-Type: text/plain; charset=gb18030\r\n\r\n\xc8\xd5\xb1\xbe",                                                                // 6: 日本
		"Content-Type: text/plain; charset=shift_jis\r\n\r\n\x93\xfa\x96{",                                                                 // 7: 日本
		"Content-Type: text/plain; charset=ks_c_5601-1987\r\n\r\n\xec\xed\xdc\xe2",                                                         // 8: 日本
		"Content-Type: text/plain; charset=big5\r\n\r\n\xa4\xe9\xa5\xbb",                                                                   // 9: 日本
		"Content-Type: text/plain; charset=x-nobody-knows\r\n\r\nna\xc3\xafve",                                                             // 10
		"Content-Type: text/plain\r\n\r\nna\xefve",                                                                                         // 11: 8 bits, undeclared
		"Subject: na\xefve\r\n\r\nx",     // 12: the same in a header
		"Subject: na\xc3\xafve\r\n\r\nx", // 13: RFC 6532
		"Content-Type: text/html; charset=us-ascii\r\n\r\n<p>na&iuml;ve &amp; na&#239;ve",                                                         // 14
		"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nna\xefve\r\n--b--\r\n", // 15
		"From: =?iso-8859-1?q?na=EFve?= <x@y.test>\r\nX-Any: =?utf-8?b?bmHDr3Zl?=\r\n\r\nx",                                                       // 16
	} {
		w.deliver("INBOX", raw)
	}
	l := w.login()
	l.ok("SELECT INBOX")
	for query, want := range map[string]string{
		"TEXT {12+}\r\nпривет":                                                                             "1 2 3 4",
		"BODY {12+}\r\nПРИВЕТ":                                                                             "2 3 4",
		"CHARSET KOI8-R TEXT {6+}\r\n\xf0\xd2\xc9\xd7\xc5\xd4":                                             "1 2 3 4",
		"CHARSET windows-1251 BODY \"\xcf\xf0\xe8\xe2\xe5\xf2\"":                                           "2 3 4",
		"CHARSET KOI8-R OR SUBJECT {6+}\r\n\xf0\xd2\xc9\xd7\xc5\xd4 NOT NOT BODY {4+}\r\n\xd0\xd2\xc9\xd7": "1 2 3 4",
		"TEXT {6+}\r\n日本":                                                                                  "5 6 7 8 9",
		`CHARSET "Shift_JIS" TEXT {4+}` + "\r\n\x93\xfa\x96{":                                              "5 6 7 8 9",
		"CHARSET ISO-8859-1 TEXT {5+}\r\nna\xefve":                                                         "10 11 12 13 14 15 16",
		"CHARSET US-ASCII BODY {6+}\r\nnaïve":                                                              "10 11 14 15",
		"HEADER Subject {6+}\r\nNAÏVE":                                                                     "12 13",
		"FROM {6+}\r\nnaïve":                                                                               "16",
		"HEADER X-Any {6+}\r\nnaïve":                                                                       "16",
		"BODY iuml":                                                                                        "14", // as it is written, too
	} {
		l.finds(query, want)
	}
	l.status("SEARCH CHARSET X-NONE ALL", "NO [BADCHARSET (UTF-8 US-ASCII)]")
	l.status("SEARCH CHARSET", "BAD")
	l.status("SEARCH CHARSET UTF-8", "BAD")
	l.ok("SEARCH CHARSET KOI8-R SEEN")
}
