package imap

import "testing"

// RFC 9051 section 6.3.1, RFC 5161, RFC 6855 section 3.
func TestEnable(t *testing.T) {
	w := newWorld(t)
	w.dial().status("ENABLE IMAP4rev2", "BAD")
	l := w.login()
	within(t, l.ok("ENABLE CONDSTORE X-NONE"), "* ENABLED\n") // what is not known is left out
	within(t, l.ok("SELECT INBOX"), "* 0 RECENT")
	within(t, l.ok("SEARCH ALL"), "* SEARCH")
	l = w.login()
	within(t, l.ok("enable imap4REV2"), "* ENABLED IMAP4rev2\n")
	without(t, l.ok("SELECT INBOX"), "RECENT")
	within(t, l.ok("SEARCH ALL"), "* ESEARCH (TAG ")
}

// After ENABLE, folder names are UTF-8 both ways, and an ampersand is one (RFC
// 9051 section 5.1, RFC 6855 section 3). The library reads them as modified
// UTF-7 all the same.
func TestEnableNames(t *testing.T) {
	for _, enable := range []string{"IMAP4rev2", "UTF8=ACCEPT"} {
		t.Run(enable, func(t *testing.T) {
			w := newWorld(t)
			l := w.login()
			within(t, l.ok("ENABLE "+enable), "* ENABLED "+enable)
			l.ok(`CREATE "Q&A"`)
			l.ok(`CREATE Entwürfe`)
			l.ok(`CREATE "&AOQ-"`) // not ä
			l.ok(`CREATE "R&-D"`)
			for _, name := range []string{"Q&A", "Entwürfe", "&AOQ-", "R&-D"} {
				if _, err := w.account.Folder(name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			within(t, l.ok(`LIST "" "*&*" RETURN (STATUS (MESSAGES))`), `"/" "&AOQ-"`, `STATUS "&AOQ-" (`, `"/" "Q&A"`, `STATUS "Q&A" (`, `"/" "R&-D"`)
			within(t, l.ok(`LSUB "" Entw*`), `"Entwürfe"`)
			within(t, l.ok(`STATUS "Q&A" (MESSAGES)`), `STATUS "Q&A" (MESSAGES 0)`)
			l.ok("APPEND \"Q&A\" (a&b) {10+}\r\n" + "Subject:x\n")
			answer := l.ok(`SELECT "Q&A"`)
			if enable == "IMAP4rev2" {
				within(t, answer, `* LIST (`, `"Q&A"`)
			}
			within(t, l.ok("FETCH 1 FLAGS"), "(a&b)")
			l.ok(`COPY 1 "R&-D"`)
			within(t, l.ok(`UID SEARCH KEYWORD a&b`), "1")
			l.ok(`UID MOVE 1 "&AOQ-"`)
			l.ok(`RENAME "Q&A" "A&Q"`)
			l.ok(`UNSUBSCRIBE "A&Q"`)
			l.ok(`SUBSCRIBE "A&Q"`)
			l.ok(`EXAMINE "A&Q"`)
			l.ok(`DELETE "A&Q"`)
			if n := len(w.messages("R&-D")) + len(w.messages("&AOQ-")); n != 2 {
				t.Errorf("%d messages", n)
			}
		})
	}
	// Without it they are modified UTF-7.
	w := newWorld(t)
	l := w.login()
	l.ok("CREATE Q&-A")
	l.status("CREATE Q&A", "BAD")
	within(t, l.ok(`LIST "" Q*`), `"Q&-A"`)
}
