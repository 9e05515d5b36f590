package imap

import "testing"

// RFC 9051 section 6.1.3: BYE before OK, then the end, in every state.
func TestLogout(t *testing.T) {
	w := newWorld(t)
	selected := w.login()
	selected.ok("SELECT INBOX")
	for _, l := range []*line{w.dial(), w.login(), selected} {
		l.status("LOGOUT now", "BAD")
		within(t, l.ok("LOGOUT"), "* BYE ", "OK LOGOUT completed")
		if rest := l.closed(); rest != "" {
			t.Errorf("after LOGOUT: %q", rest)
		}
	}
}
