package imap

import (
	"strings"
	"testing"
)

// RFC 9051 section 6.3.4.
func TestCreate(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	l.ok("CREATE Work/2026")
	within(t, l.ok(`LIST "" Work*`), `"Work"`, `"Work/2026"`) // what is above is made, too
	within(t, l.ok(`LSUB "" Work*`), `"Work"`, `"Work/2026"`) // and subscribed, or Thunderbird would not show it
	l.ok("CREATE Lists/")                                     // the delimiter says that more will come below
	if _, err := w.account.Folder("Lists"); err != nil {
		t.Error(err)
	}
	l.ok("CREATE INBOX/old")
	l.ok("CREATE inbox/new")
	if _, err := w.account.Folder("INBOX/new"); err != nil {
		t.Error(err)
	}
	l.status("CREATE inbox", "NO [ALREADYEXISTS]")
	l.status("CREATE Work", "NO [ALREADYEXISTS]")
	l.status("CREATE work/../\"x\x02\"", "BAD")
	for _, bad := range []string{`"a*"`, `"a%"`, "/a", "a//b", `""`, strings.Repeat("x", 600)} {
		l.status("CREATE "+bad, "NO [CANNOT]")
	}
	l.ok("CREATE Entw&APw-rfe") // section 5.1.3 of RFC 3501: modified UTF-7
	if _, err := w.account.Folder("Entwürfe"); err != nil {
		t.Error(err)
	}
	l.status("CREATE &!-", "BAD")
	l.ok("CREATE {5+}\r\na b/c")
	within(t, l.ok(`LIST "" "a b/*"`), `"a b/c"`)

	// Section 2.3.1.1: a folder that is made again has a higher UIDVALIDITY.
	first := w.deliver("Work/2026", letter(1)).UIDValidity
	l.ok("DELETE Work/2026")
	l.ok("CREATE Work/2026")
	if again := w.deliver("Work/2026", letter(1)); again.UIDValidity <= first {
		t.Errorf("uidvalidity %d after %d", again.UIDValidity, first)
	}
}

// RFC 6154 section 3: a special use is given with CREATE, once.
func TestCreateSpecialUse(t *testing.T) {
	l := newWorld(t).login()
	l.status(`CREATE Other (USE (\Sent))`, "NO [USEATTR]")
	l.status(`CREATE Other (USE (\Important))`, "NO [USEATTR]")
	l.status(`CREATE Other (USE (\Junk \All))`, "NO [USEATTR]")
	l.status(`CREATE Sent (USE (\All))`, "NO [ALREADYEXISTS]")
	l.status(`CREATE Other (COLOUR (red))`, "BAD")
	l.ok("CREATE Other (USE ())")
	l.ok(`CREATE Everything (USE (\ALL))`)
	within(t, l.ok(`LIST (SPECIAL-USE) "" E*`), `\All) "/" "Everything"`)
	l.ok("DELETE Sent")
	l.ok(`CREATE Gone (USE (\Sent))`)
	within(t, l.ok(`LIST (SPECIAL-USE) "" *`), `\Sent) "/" "Gone"`)

	// A name that a new account has gets its use back, unless another has it by now.
	l.ok("CREATE Sent")
	if got := l.ok(`LIST (SPECIAL-USE) "" Sent`); strings.Contains(got, `"Sent"`) {
		t.Errorf("two folders have a use: %s", got)
	}
	l.ok("DELETE Sent")
	l.ok("DELETE Gone")
	l.ok("CREATE Sent")
	within(t, l.ok(`LIST (SPECIAL-USE) "" *`), `\Sent) "/" "Sent"`)
	// So it has when it is made for a folder below it, and when another is renamed to it.
	l.ok("DELETE Sent")
	l.ok("CREATE Sent/2026")
	within(t, l.ok(`LIST (SPECIAL-USE) "" *`), `\Sent) "/" "Sent"`)
	l.ok("DELETE Sent/2026")
	l.ok("DELETE Sent")
	l.ok("CREATE Posted")
	l.ok("RENAME Posted Sent")
	within(t, l.ok(`LIST (SPECIAL-USE) "" *`), `\Sent) "/" "Sent"`)
	l.ok("DELETE Sent")
	l.ok(`CREATE Sent/Gone (USE (\Sent))`)
	if got := l.ok(`LIST (SPECIAL-USE) "" *`); strings.Count(got, `\Sent)`) != 1 {
		t.Errorf("two folders have a use: %s", got)
	}
}
