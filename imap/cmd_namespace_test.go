package imap

import "testing"

// RFC 9051 section 6.3.10, RFC 2342: one namespace, the user's own.
func TestNamespace(t *testing.T) {
	w := newWorld(t)
	w.dial().status("NAMESPACE", "BAD")
	l := w.login()
	within(t, l.ok("NAMESPACE"), `* NAMESPACE (("" "/")) NIL NIL`)
	l.status("NAMESPACE all", "BAD")
}
