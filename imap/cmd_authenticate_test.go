package imap

import (
	"strings"
	"testing"

	"mailproxy/internal/tlstest"
)

const (
	saslRight = "AGFubkBub3J0aC50ZXN0AG9wZW4gc2VzYW1l" // \0ann@north.test\0open sesame
	saslWrong = "AGFubkBub3J0aC50ZXN0AHdyb25n"         // \0ann@north.test\0wrong
)

// RFC 9051 section 6.2.2 and RFC 4616: AUTHENTICATE PLAIN, with an initial
// response and without.
func TestAuthenticate(t *testing.T) {
	w := newWorld(t)
	l := w.dial()
	l.status("AUTHENTICATE PLAIN "+saslWrong, "NO [AUTHENTICATIONFAILED]")
	l.status("AUTHENTICATE PLAIN !!!", "BAD")
	l.status("AUTHENTICATE GSSAPI", "NO")
	l.status("AUTHENTICATE", "BAD")
	// An identity to act as that is not the account's own: bob\0ann@north.test\0open sesame
	l.status("AUTHENTICATE PLAIN Ym9iAGFubkBub3J0aC50ZXN0AG9wZW4gc2VzYW1l", "NO [AUTHORIZATIONFAILED]")
	// Without an initial response: cancelled, too long, no base64, and right.
	for _, tc := range []struct{ answer, want string }{
		{"*", "BAD"}, {strings.Repeat("A", 2*maxAnswer), "BAD"}, {"!!!", "BAD"}, {saslWrong, "NO"}, {saslRight, "OK [CAPABILITY "},
	} {
		l.write("p AUTHENTICATE PLAIN\r\n")
		l.expect("+")
		l.write(tc.answer + "\r\n")
		if got := l.expect("p "); !strings.HasPrefix(got, "p "+tc.want) {
			t.Errorf("answered %.20s with %q, want %s", tc.answer, got, tc.want)
		}
	}
	l.ok("SELECT INBOX")
	l.status("AUTHENTICATE PLAIN "+saslRight, "BAD") // section 6.2: no second time
	w.dial().ok("authenticate plain " + saslRight)

	server, _ := tlstest.Configs()
	w = newWorld(t, func(o *Options) { o.AllowPlaintext, o.TLS = false, server })
	w.dial().status("AUTHENTICATE PLAIN "+saslRight, "NO [PRIVACYREQUIRED]")
}
