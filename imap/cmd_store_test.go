package imap

import (
	"strings"
	"testing"
)

// RFC 9051 section 6.4.6.
func TestStore(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.deliver("INBOX", letter(i+1))
	}
	l := w.login()
	l.status(`STORE 1 +FLAGS (\Seen)`, "BAD")
	l.ok("SELECT INBOX")
	within(t, l.ok(`STORE 1:2 +FLAGS (\Seen $Label)`), `* 1 FETCH (FLAGS ($Label \Seen))`, `* 2 FETCH (FLAGS ($Label \Seen))`)
	within(t, l.ok(`STORE 1 +FLAGS (\Seen)`), `* 1 FETCH (FLAGS ($Label \Seen))`) // told also where nothing changes
	within(t, l.ok(`store 1 -flags \seen $LABEL`), `* 1 FETCH (FLAGS ())`)
	within(t, l.ok(`STORE 2 FLAGS (\Answered \Flagged \Draft)`), `* 2 FETCH (FLAGS (\Answered \Draft \Flagged))`)
	within(t, l.ok(`STORE 2 FLAGS ()`), `* 2 FETCH (FLAGS ())`)
	for _, item := range []string{"FLAGS", "+FLAGS", "-FLAGS"} {
		without(t, l.ok("STORE 3,4 "+item+`.SILENT (\Deleted)`), "FETCH")
	}
	within(t, l.ok(`STORE * +FLAGS (\Flagged)`), `* 4 FETCH (FLAGS (\Flagged))`)
	within(t, l.ok(`STORE 1 +FLAGS (\Recent)`), `* 1 FETCH (FLAGS ())`) // RFC 3501 section 2.3.2: not a client's to set
	l.status(`STORE 1 +FLAGS (\Nonsense)`, "NO [CANNOT]")
	l.status(`STORE 1 +FLAGS (\*)`, "NO [CANNOT]")
	l.status(`STORE 1 +FLAGS ("x")`, "BAD")
	l.status(`STORE 1 COLOUR (red)`, "BAD")
	l.status(`STORE 1 (UNCHANGEDSINCE 1) FLAGS (\Seen)`, "BAD") // RFC 7162, which is not announced
	l.ok(`STORE 900 FLAGS (\Seen)`)

	// Others are told; the one that stores hears its own change once.
	other := w.login()
	other.ok("SELECT INBOX")
	l.ok(`STORE 1 +FLAGS.SILENT (\Seen)`)
	within(t, other.ok("NOOP"), `* 1 FETCH (UID 1 FLAGS (\Seen))`)
	without(t, l.ok("NOOP"), "FETCH")
	other.ok(`STORE 1 +FLAGS.SILENT (\Flagged)`)
	within(t, l.ok(`STORE 1 +FLAGS (\Answered)`), `* 1 FETCH (FLAGS (\Answered \Flagged \Seen))`)

	// A number whose message another session has removed.
	other.ok(`STORE 2 +FLAGS.SILENT (\Deleted)`)
	other.ok("EXPUNGE")
	l.status(`STORE 2 +FLAGS (\Seen)`, "NO [EXPUNGEISSUED]")
	within(t, l.ok("NOOP"), "* 2 EXPUNGE")
}

// TestTrapFlagCase is for servers that lower-case flags, or take two spellings of
// one for two.
func TestTrapFlagCase(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", letter(1))
	l := w.login()
	l.ok("SELECT INBOX")
	within(t, l.ok(`STORE 1 FLAGS (\sEEN NonJunk $MyLabel)`), `* 1 FETCH (FLAGS ($MyLabel NonJunk \Seen))`)
	within(t, l.ok(`STORE 1 +FLAGS (nonjunk \SEEN $mylabel)`), `* 1 FETCH (FLAGS ($MyLabel NonJunk \Seen))`)
	within(t, l.ok("SEARCH KEYWORD $MYLABEL KEYWORD nonjunk SEEN"), "* SEARCH 1")
	within(t, l.ok(`STORE 1 -FLAGS (NONJUNK)`), `* 1 FETCH (FLAGS ($MyLabel \Seen))`)
	w.deliver("INBOX", letter(2), "$mylabel")
	answer := l.ok("SELECT INBOX") // one keyword, whatever its spellings
	flags := answer[strings.Index(answer, "* FLAGS"):]
	if n := strings.Count(strings.ToLower(flags[:strings.Index(flags, "\n")]), "$mylabel"); n != 1 {
		t.Errorf("the keyword is told %d times: %s", n, answer)
	}
}
