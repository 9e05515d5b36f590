package imap

import (
	"strings"
	"testing"

	"mailproxy/internal/tlstest"
)

// RFC 9051 section 6.1.1, RFC 3501 section 6.1.1: CAPABILITY in each state, and
// the same list in the greeting and in LOGIN's answer (section 7.1).
func TestCapability(t *testing.T) {
	server, _ := tlstest.Configs()
	w := newWorld(t, func(o *Options) { o.AllowPlaintext, o.TLS = false, server })
	before := w.dial().ok("CAPABILITY")
	within(t, before+" ", "* CAPABILITY IMAP4rev2 IMAP4rev1 ", "SASL-IR ", "LITERAL- ", "STARTTLS ", "LOGINDISABLED")
	without(t, before, "AUTH=") // section 6.2.3: no password in clear text
	w.server.Close()

	w = newWorld(t)
	l := w.dial()
	if before := l.ok("CAPABILITY"); "[CAPABILITY"+strings.TrimPrefix(before[:strings.Index(before, "\n")], "* CAPABILITY")+"]" != greeted(l.greeting) {
		t.Errorf("the greeting %s differs from %s", l.greeting, before)
	}
	login := l.ok("LOGIN " + user + ` "` + password + `"`)
	after := l.ok("CAPABILITY")
	if list := strings.TrimPrefix(after[:strings.Index(after, "\n")], "* CAPABILITY"); "[CAPABILITY"+list+"]" != greeted(login) {
		t.Errorf("the answer %s differs from %s", login, after)
	}
	for _, want := range []string{
		"IMAP4rev1", "IMAP4rev2", "SASL-IR", "LITERAL+", "UNSELECT", "ENABLE", "IDLE", "UTF8=ACCEPT", "NAMESPACE", "UIDPLUS",
		"ESEARCH", "SEARCHRES", "LIST-EXTENDED", "LIST-STATUS", "MOVE", "STATUS=SIZE", "BINARY", "CHILDREN", "SPECIAL-USE",
		"CREATE-SPECIAL-USE", "APPENDLIMIT=1048576",
	} {
		if !strings.Contains(after+" ", " "+want+" ") && !strings.Contains(after, " "+want+"\n") {
			t.Errorf("no %s in %s", want, after)
		}
	}
	// RFC 7888 section 5: LITERAL+ and LITERAL- are not announced together. What the
	// library does not carry is not announced.
	without(t, after, "LITERAL-", "CONDSTORE", "QRESYNC", "SORT", "THREAD", "QUOTA", " ID ", "COMPRESS", "MULTIAPPEND", "STARTTLS", "AUTH=", "LOGINDISABLED")
	l.status("CAPABILITY all", "BAD")
}

// greeted cuts the capability code out of a response.
func greeted(line string) string {
	_, rest, _ := strings.Cut(line, "[")
	code, _, _ := strings.Cut(rest, "]")
	return "[" + code + "]"
}
