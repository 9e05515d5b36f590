package imap

import (
	"crypto/tls"
	"testing"

	"mailproxy/internal/tlstest"
)

// RFC 9051 section 6.2.1: STARTTLS, once, before the login, and nothing sent
// before it outlives it.
func TestStartTLS(t *testing.T) {
	server, client := tlstest.Configs()
	w := newWorld(t, func(o *Options) { o.AllowPlaintext, o.TLS = false, server })
	l := w.dial()
	l.status("STARTTLS now", "BAD")
	l.ok("STARTTLS")
	secured := tls.Client(l.conn, client)
	l = newLine(t, secured)
	caps := l.ok("CAPABILITY") // the first answer: there is no second greeting
	within(t, caps, "AUTH=PLAIN")
	without(t, caps, "STARTTLS", "LOGINDISABLED")
	l.status("STARTTLS", "BAD")
	l.ok("LOGIN " + user + ` "` + password + `"`)
	l.status("STARTTLS", "BAD")
	l.ok("SELECT INBOX")
	l.ok("LOGOUT")

	// What came before TLS must not be run inside it.
	l = w.dial()
	l.write("a STARTTLS\r\nb NOOP\r\n")
	l.expect("a OK")
	if err := tls.Client(l.conn, client).Handshake(); err == nil {
		t.Error("a handshake succeeded with commands before it")
	}

	// Not offered, and after a login in clear text.
	plain := newWorld(t)
	plain.dial().status("STARTTLS", "NO")
	both := newWorld(t, func(o *Options) { o.TLS = server })
	both.login().status("STARTTLS", "BAD")
}
