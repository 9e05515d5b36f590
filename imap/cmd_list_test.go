package imap

import (
	"strings"
	"testing"
)

// RFC 9051 section 6.3.9.
func TestList(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	within(t, l.ok(`LIST "" ""`), `* LIST (\Noselect) "/" ""`)
	within(t, l.ok(`LIST "Work/" ""`), `* LIST (\Noselect) "/" ""`)
	answer := l.ok(`LIST "" "*"`) // mbsync, offlineimap, K-9
	within(t, answer, `"Archive"`, `"Drafts"`, `* LIST (\HasNoChildren) "/" INBOX`, `"Junk"`, `"Sent"`, `"Trash"`)
	without(t, answer, `\Subscribed`)
	l.ok("CREATE Work/2026/May")
	answer = l.ok(`LIST "" %`) // mutt
	within(t, answer, `* LIST (\HasChildren) "/" "Work"`)
	without(t, answer, "2026")
	for _, tc := range []struct{ args, names string }{
		{`"Work/" "%"`, "Work/2026"}, {`"" "Work/%"`, "Work/2026"}, {`"" Work/*`, "Work/2026 Work/2026/May"}, {`"Work" "*"`, "Work Work/2026 Work/2026/May"},
		{`"" "%/%"`, "Work/2026"}, {`"" "*y"`, "Work/2026/May"}, {`"" inbox`, "INBOX"}, {`"" "INBOX/*"`, ""}, {`"" None`, ""}, {`"" "W%k"`, "Work"},
		{`"" (Sent "W*y" inb%)`, "Sent Work/2026/May"}, {`"" {4+}` + "\r\nSent", "Sent"},
	} {
		got := listed(l.ok("LIST " + tc.args))
		if got != tc.names {
			t.Errorf("LIST %s: %s, want %s", tc.args, got, tc.names)
		}
	}
	l.ok("CREATE Entw&APw-rfe")
	within(t, l.ok(`LIST "" "Entw*"`), `"Entw&APw-rfe"`)
	for _, bad := range []string{`""`, `"" () RETURN`, `(NONSENSE) "" *`, `"" * RETURN (NONSENSE)`, `(RECURSIVEMATCH) "" *`, `"" ()`} {
		l.status("LIST "+bad, "BAD")
	}
}

// listed returns the names of LIST or LSUB responses.
func listed(answer string) string {
	var list []string
	for _, s := range strings.Split(answer, "\n") {
		if _, name, ok := strings.Cut(s, `) "/" `); ok {
			name, _, _ = strings.Cut(name, " (")
			list = append(list, strings.Trim(name, `"`))
		}
	}
	return strings.Join(list, " ")
}

// RFC 9051 section 6.3.9.5, RFC 5258, RFC 5819 (STATUS), RFC 6154 (SPECIAL-USE).
func TestListExtended(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	within(t, l.ok(`LIST "" "*" RETURN (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (MESSAGES RECENT))`),
		`LIST (\HasNoChildren \Subscribed \Archive) "/" "Archive"`, `STATUS "Archive" (MESSAGES 0 RECENT 0)`,
		`\Drafts) "/" "Drafts"`, `LIST (\HasNoChildren \Subscribed) "/" INBOX`, `\Junk)`, `\Sent)`, `\Trash)`)
	if got := listed(l.ok(`LIST (SPECIAL-USE) "" *`)); got != "Archive Drafts Junk Sent Trash" {
		t.Errorf("special uses: %s", got)
	}
	// Thunderbird's first.
	within(t, l.ok(`list (subscribed) "" "*" return (special-use)`), `* LIST (\HasNoChildren \Subscribed \Sent) "/" "Sent"`)
	l.ok(`LIST (REMOTE SUBSCRIBED) "" *`)

	l.ok("CREATE Work/2026")
	l.ok("UNSUBSCRIBE Work")
	if got := listed(l.ok(`LIST (SUBSCRIBED) "" W%`)); got != "" {
		t.Errorf("an unsubscribed parent without RECURSIVEMATCH: %s", got)
	}
	within(t, l.ok(`LIST (SUBSCRIBED RECURSIVEMATCH) "" %`), `(\HasChildren) "/" "Work" (CHILDINFO ("SUBSCRIBED"))`)
	l.ok("SUBSCRIBE Work") // section 6.3.9.2: also where the parent itself is selected
	within(t, l.ok(`LIST (SUBSCRIBED RECURSIVEMATCH) "" %`), `\Subscribed) "/" "Work" (CHILDINFO ("SUBSCRIBED"))`)
	without(t, l.ok(`LIST (SUBSCRIBED RECURSIVEMATCH) "" Work/%`), "CHILDINFO")
	// Folders that are only subscribed, and the level above.
	l.ok("DELETE Work/2026")
	l.ok("DELETE Work")
	l.ok("UNSUBSCRIBE Work")
	if got := listed(l.ok(`LIST (SUBSCRIBED) "" W%`)); got != "" {
		t.Errorf("a missing parent without RECURSIVEMATCH: %s", got)
	}
	within(t, l.ok(`LIST (SUBSCRIBED RECURSIVEMATCH) "" W%`), `(\NonExistent \Noselect \HasNoChildren) "/" "Work" (CHILDINFO ("SUBSCRIBED"))`)
	without(t, l.ok(`LIST (SUBSCRIBED) "" W* RETURN (STATUS (MESSAGES))`), "STATUS")
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
