package imap

import (
	"strings"
	"testing"

	"mailproxy/internal/tlstest"
)

// RFC 9051 section 6.2.3: LOGIN with atoms, quoted strings and literals.
func TestLogin(t *testing.T) {
	w := newWorld(t)
	l := w.dial()
	l.status("LOGIN", "BAD")
	l.status("LOGIN "+user, "BAD")
	l.status("SELECT INBOX", "BAD") // section 3.1
	l.ok(`LOGIN "` + user + `" "open \sesame"`)
	l.status("LOGIN "+user+` "`+password+`"`, "BAD")
	l = w.dial()
	l.write("a LOGIN {14}\r\n")
	l.expect("+ ")
	l.write(user + " {11}\r\n")
	l.expect("+ ")
	l.write(password + "\r\n")
	l.expect("a OK [CAPABILITY ")
	w.dial().ok("login {14+}\r\n" + user + " {11+}\r\n" + password)

	// Section 6.2.3 and section 11.2: not in clear text.
	server, _ := tlstest.Configs()
	w = newWorld(t, func(o *Options) { o.AllowPlaintext, o.TLS = false, server })
	w.dial().status("LOGIN "+user+` "`+password+`"`, "NO [PRIVACYREQUIRED]")
}

// TestTrapPasswordIsChecked is for a password that is taken and never checked.
func TestTrapPasswordIsChecked(t *testing.T) {
	w := newWorld(t)
	l := w.dial()
	answer := l.status(`LOGIN `+user+` wrong`, "NO [AUTHENTICATIONFAILED] Wrong user name or password")
	without(t, answer, "wrong ")
	l.status(`LOGIN nobody "`+password+`"`, "NO [AUTHENTICATIONFAILED]")
	l.status("AUTHENTICATE PLAIN "+saslWrong, "NO [AUTHENTICATIONFAILED]")
	l.status("SELECT INBOX", "BAD")

	l = w.dial()
	for range maxBadPasswords - 1 {
		l.status("LOGIN a b", "NO")
	}
	l.write("x LOGIN a b\r\n")
	if got := l.closed(); strings.Contains(got, "OK") {
		t.Errorf("after many wrong passwords: %q", got)
	}
}

// TestTrapLockedKeychain is for a keychain that cannot be opened, reported as a
// wrong password.
func TestTrapLockedKeychain(t *testing.T) {
	answer := newWorld(t).dial().status("LOGIN broken x", "NO [UNAVAILABLE]")
	without(t, answer, "secret")
}
