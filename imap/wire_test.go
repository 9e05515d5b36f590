package imap

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestTrapRefusedLiteralIsRun is the library's trap: an APPEND that is refused
// leaves its literal to be run as commands.
func TestTrapRefusedLiteralIsRun(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	l.ok("CREATE Victim")
	evil := "x DELETE Victim\r\n"
	large := strings.Repeat(evil, 1<<20/len(evil)+10)
	small := strings.Repeat(evil, 300)
	for _, tc := range []struct{ name, command, literal, want string }{
		{"too large", "APPEND INBOX {%d+}", large, "NO [TOOBIG]"},
		{"too large, utf8", "APPEND INBOX UTF8 (~{%d+}", large, "NO [TOOBIG]"},
		{"bad date", `APPEND INBOX "yesterday" {%d+}`, small, "BAD"},
		{"bad flags", "APPEND INBOX ((( {%d+}", small, "BAD"},
		{"no folder", "APPEND Nowhere {%d+}", small, "NO [TRYCREATE]"},
		{"long name", "SELECT {%d+}", small, "BAD"},
		{"long append name", "APPEND {%d+}", small, "BAD"},
		{"no argument there", "NOOP {%d+}", small, "BAD"},
		{"unknown command", "XYZZY {%d+}", small, "BAD"},
		{"long search text", "SEARCH TEXT {%d+}", small, "BAD"},
	} {
		command := fmt.Sprintf(tc.command, len(tc.literal))
		end := ""
		if strings.Contains(command, "(~") {
			end = ")"
		}
		l.write("q " + command + "\r\n" + tc.literal + end + "\r\n")
		if got := last(l.expect("q ")); !strings.HasPrefix(got, "q "+tc.want) {
			t.Errorf("%s: %q, want %s", tc.name, got, tc.want)
		}
		if answer := l.ok("NOOP"); strings.Contains(answer, "x ") {
			t.Errorf("%s: the literal was run: %s", tc.name, answer)
		}
	}
	if _, err := w.account.Folder("Victim"); err != nil {
		t.Error("the literal was run: Victim is gone")
	}
	if n := len(w.messages("INBOX")); n != 0 {
		t.Errorf("%d messages were stored", n)
	}

	// What follows a literal that is read, and found wrong: the library would run it.
	for _, rest := range []string{"", "x DELETE Victim", " {5+}\r\nx DELETE Victim"} {
		l.write("q CREATE {1+}\r\n&" + rest + "\r\n")
		if got := last(l.expect("q ")); !strings.HasPrefix(got, "q BAD") {
			t.Errorf("a name that is none: %q", got)
		}
		without(t, l.ok("NOOP"), "x ")
	}
	if _, err := w.account.Folder("Victim"); err != nil {
		t.Error("what followed a literal was run: Victim is gone")
	}

	// A synchronizing literal that is refused is never sent; what follows is the
	// next command.
	l.status("APPEND INBOX {99999999}", "NO [TOOBIG]")
	l.status("SELECT {99999}", "BAD")
	l.status("NOOP {5}", "BAD")
	l.ok("NOOP")
}

func TestGarbage(t *testing.T) {
	w := newWorld(t)
	l := w.dial()
	for _, tc := range []struct{ bad, want string }{
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "* BAD "}, {"", "* BAD "}, {"tag", "* BAD "}, {"+ NOOP", "* BAD "}, {"a\x00 NOOP", "* BAD "},
		{"( NOOP", "* BAD "}, {"a NO\x00OP", "a BAD "}, {"a X-1", "a BAD "}, {"a " + strings.Repeat("x", 100), "a BAD "}, {"a ", "a BAD "},
	} {
		l.write(tc.bad + "\r\n")
		if got := l.read(); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%.20q: answered %q", tc.bad, got)
		}
		l.ok("NOOP") // which counts the bad ones anew
	}
	for range maxBadCommands - 1 {
		l.write("\xff\xff\r\n")
	}
	l.ok("NOOP")
	for range maxBadCommands {
		l.write("\xff\xff\r\n")
	}
	l.expect("* BYE ")
	l.closed()

	l = w.dial()
	l.write(strings.Repeat("\x80\x00", maxDiscard))
	l.expect("* BYE ")

	// A browser that is made to send mail: it is cut off at its first line that is
	// none of IMAP's commands.
	l = w.dial()
	l.write("POST / HTTP/1.1\r\nHost: localhost\r\n")
	within(t, l.closed(), "POST BAD")

	l = w.login()
	for _, bad := range []string{
		"LOGIN \"unfinished", "SELECT \"a\\\"", "FETCH", "FETCH 0 FLAGS", "FETCH a FLAGS", "SEARCH SINCE yesterday", "STORE 1 FLAGS \x01",
		"XYZZY", "LIST \"\" (", "STATUS INBOX (NONSENSE)", "SELECT &!-",
	} {
		l.status(bad, "BAD")
	}
	l.ok("NOOP")
}

// TestTrapLongCommand is for a line beyond the library's limit, whose rest it runs
// as a command, or which hangs.
func TestTrapLongCommand(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	l.ok("SELECT INBOX")
	long := strings.Repeat("1,", maxCommand)
	l.write("a UID FETCH " + long + "1 FLAGS\r\n")
	l.expect("a BAD ")
	l.write(strings.Repeat("a", 2*maxCommand) + "\r\n")
	l.expect("* BAD ")
	l.ok("NOOP")
	l.ok("UID FETCH " + long[:maxCommand-100] + "1 FLAGS")
	// The limit counts all lines of a command.
	half := strings.Repeat("x", maxCommand/2)
	l.write("b SEARCH TEXT " + half + " TEXT {1+}\r\ny TEXT " + half + half + "\r\n")
	if got := last(l.expect("b ")); !strings.HasPrefix(got, "b BAD") {
		t.Errorf("answer %q", got)
	}
	// And what becomes too long on its way to the library.
	smaller := strings.Repeat("SMALLER 1 ", 4500)
	l.status("SEARCH "+smaller+"ALL", "BAD")
	l.status("UID SEARCH "+smaller+"TEXT {3+}\r\nabc", "BAD")
	l.status("SEARCH TEXT {3+}\r\nabc "+smaller+"ALL", "BAD")
	l.ok("SEARCH " + smaller[:20000] + "ALL")
	l.ok("ENABLE UTF8=ACCEPT")
	l.status(`LIST "" "`+strings.Repeat("&", 40000)+`"`, "BAD")
	l.ok("NOOP")
	// Also where nothing of it is left.
	l.write("c SEARCH TEXT " + strings.Repeat("x", maxCommand-30) + " TEXT {1+}\r\ny" + half + "\r\n")
	if got := last(l.expect("c ")); !strings.HasPrefix(got, "c BAD") {
		t.Errorf("answer %q", got)
	}
	l.ok("NOOP")
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

func TestSearchFix(t *testing.T) {
	for in, want := range map[string]string{
		"a SEARCH ALL":                                 "a SEARCH ALL",
		"a SEARCH SMALLER 10 SINCE 1-Jan-2026":         "a SEARCH NOT NOT SMALLER 10 SINCE 1-Jan-2026",
		"a SEARCH OR (smaller 10 SEEN) smaller 5":      "a SEARCH OR (NOT NOT smaller 10 SEEN) NOT NOT smaller 5",
		"a SEARCH NOT SMALLER 1":                       "a SEARCH NOT NOT NOT SMALLER 1",
		"a SEARCH SUBJECT SMALLER SMALLER 1":           "a SEARCH SUBJECT SMALLER NOT NOT SMALLER 1",
		"a SEARCH HEADER X SMALLER 1":                  "a SEARCH HEADER X SMALLER 1",
		`a SEARCH TEXT "is SMALLER 1" SEEN`:            `a SEARCH TEXT "is SMALLER 1" SEEN`,
		`a SEARCH TEXT "a \" SMALLER 1" SMALLER 22`:    `a SEARCH TEXT "a \" SMALLER 1" NOT NOT SMALLER 22`,
		"HEADER SEARCH RETURN (COUNT) SMALLER 1":       "HEADER SEARCH RETURN (COUNT) NOT NOT SMALLER 1",
		"a SEARCH (SMALLER 0) SEEN":                    "a SEARCH (NOT ALL) SEEN",
		"a SEARCH NOT SMALLER 00":                      "a SEARCH NOT NOT ALL",
		"a SEARCH SMALLER":                             "a SEARCH NOT NOT SMALLER",
		"a SEARCH CHARSET KOI8-R SMALLER 5":            "a SEARCH CHARSET UTF-8 NOT NOT SMALLER 5",
		`a SEARCH RETURN (SAVE) CHARSET "UTF-8" TEXT `: `a SEARCH RETURN (SAVE) CHARSET "UTF-8" TEXT `,
		"a SEARCH RETURN () CHARSET x":                 "a SEARCH RETURN () CHARSET UTF-8",
		"a SEARCH SUBJECT CHARSET":                     "a SEARCH SUBJECT CHARSET",
		"a SEARCH":                                     "a SEARCH",
		"a SEARCH RETURN":                              "a SEARCH RETURN",
		"a SEARCH RETURN (":                            "a SEARCH RETURN (",
	} {
		var f searchFix
		if got := f.first(in, 2, false); got != want {
			t.Errorf("%s\nbecomes %s\nwant    %s", in, got, want)
		}
	}
	// A key's string may be a literal, or come after one.
	var f searchFix
	for _, tc := range []struct{ line, want string }{
		{"a UID SEARCH SUBJECT ", "a UID SEARCH SUBJECT "},
		{" SMALLER 1 HEADER ", " NOT NOT SMALLER 1 HEADER "},
		{" SMALLER SMALLER 2", " SMALLER NOT NOT SMALLER 2"},
	} {
		got := f.next(tc.line, true)
		if tc.line[0] == 'a' {
			got = f.first(tc.line, 3, true)
		}
		if got != tc.want {
			t.Errorf("%q becomes %q", tc.line, got)
		}
	}
	for in, want := range map[string]bool{"(SAVE)": true, "( save )": true, "(SAVE ALL)": false, "()": false, "(COUNT)": false} {
		if f.first("a SEARCH RETURN "+in+" ALL", 2, false); f.saveOnly != want {
			t.Errorf("RETURN %s: saves only: %v", in, f.saveOnly)
		}
	}
}

// FuzzLineFixes checks that a line whose quoted strings end still has that after
// its SEARCH keys or its folder names were rewritten, and no more literals.
func FuzzLineFixes(f *testing.F) {
	f.Add("a SEARCH RETURN (SAVE) CHARSET \"KOI8-R\" SMALLER 5 (HEADER X \"a \\\" SMALLER 0\") SMALLER 0")
	f.Add("a SEARCH OR (SMALLER 1 SEEN) SUBJECT ")
	f.Add("a APPEND \"Q&A\" (a&b) ")
	f.Add("a UID COPY 1:* Q&A")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") || !balanced(line) {
			return
		}
		for _, words := range []int{0, 2, 3} {
			var s searchFix
			for _, out := range []string{s.first(line, words, true), s.next(line, false), escapeNames("APPEND", line, words), escapeNames("UID COPY", line, words)} {
				_, _, _, had := cutLiteral(line)
				if _, _, _, has := cutLiteral(out); !balanced(out) || has && !had || strings.ContainsAny(out, "\r\n") || len(out) > 10*len(line)+100 {
					t.Errorf("%q becomes %q", line, out)
				}
			}
		}
	})
}

func TestCutLiteral(t *testing.T) {
	for _, tc := range []struct {
		in, head string
		size     int64
		nonSync  bool
		ok       bool
	}{
		{"a LOGIN {5}", "a LOGIN ", 5, false, true},
		{"a APPEND x (~{12+}", "a APPEND x (~", 12, true, true},
		{"a {99999999999999999999}", "a ", 1<<63 - 1, false, true},
		{"a {}", "a {}", 0, false, false}, {"a {+}", "a {+}", 0, false, false}, {"a {-1}", "a {-1}", 0, false, false},
		{"a 5}", "a 5}", 0, false, false}, {"a {5} ", "a {5} ", 0, false, false}, {"}", "}", 0, false, false},
	} {
		head, size, nonSync, ok := cutLiteral(tc.in)
		if head != tc.head || size != tc.size || nonSync != tc.nonSync || ok != tc.ok {
			t.Errorf("%q: %q %d %v %v", tc.in, head, size, nonSync, ok)
		}
	}
}

// A fakeConn reads from a buffer and drops what is written.
type fakeConn struct {
	net.Conn
	r io.Reader
}

func (c fakeConn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c fakeConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c fakeConn) SetWriteDeadline(time.Time) error { return nil }
func (c fakeConn) Close() error                     { return nil }

// FuzzWire checks that whatever a client sends, no line that reaches the library
// is longer than it takes, or has an open quote or a literal that comes unasked.
func FuzzWire(f *testing.F) {
	f.Add([]byte("a LOGIN {3+}\r\nann {2+}\r\npw\r\nb IDLE\r\nDONE\r\n"), true)
	f.Add([]byte("a APPEND INBOX {5+}\r\nhello\r\nb NOOP\r\n"), false)
	f.Add([]byte("a SEARCH SMALLER 5 TEXT {9999+}\r\n"), true)
	f.Add([]byte("\x00\xff\r\n\"\r\n{5+}\r\na b \"{5+}\r\n"), false)
	s := New(Options{})
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, in []byte, ask bool) {
		w := newWire(s, fakeConn{r: bytes.NewReader(in)}, true)
		buf := make([]byte, 100)
		var line []byte
		literal := int64(0)
		for range 3*len(in) + 100 {
			n, err := w.Read(buf)
			if err != nil {
				return
			}
			for _, c := range buf[:n] {
				if literal > 0 {
					literal--
					continue
				}
				if line = append(line, c); c != '\n' {
					continue
				}
				if len(line) > maxCommand+100 {
					t.Fatalf("a line of %d bytes", len(line))
				}
				text := strings.TrimSuffix(string(line), "\r\n")
				line = nil
				_, size, nonSync, ok := cutLiteral(text)
				if nonSync {
					t.Fatalf("a literal that comes unasked: %q", text)
				}
				if !balanced(text) {
					t.Fatalf("an open quote: %q", text)
				}
				if ok && ask {
					if _, err := w.Write([]byte("+ Ready\r\n")); err != nil {
						t.Fatal(err)
					}
					literal = size
				}
			}
		}
		t.Fatal("the input does not end")
	})
}
