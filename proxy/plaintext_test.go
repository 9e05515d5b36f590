package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Without listen.allow_plaintext no front end takes a password without TLS, and each
// says what to do instead.
func TestNoPlaintextUnlessSwitchedOn(t *testing.T) {
	if DefaultConfig().Listen.AllowPlaintext {
		t.Fatal("it is switched on in a new configuration")
	}
	d, err := Open(Options{Dir: t.TempDir(), Listen: ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDaemon(t, d)
	for _, c := range []struct{ protocol, says, want string }{
		{"smtp", "EHLO x\r\nMAIL FROM:<ann@north.test>\r\nQUIT\r\n", "530 5.7.0 turn on STARTTLS and log in"},
		{"imap", "a LOGIN ann@north.test kangaroo-paw-42\r\nb LOGOUT\r\n", "a NO [PRIVACYREQUIRED] TLS is required"},
		{"pop3", "USER ann@north.test\r\nPASS kangaroo-paw-42\r\nQUIT\r\n", "Logging in needs TLS: use STLS or the TLS port"},
	} {
		conn, err := net.Dial("tcp", d.Address(c.protocol).String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, c.says); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(answer), c.want) {
			t.Errorf("%s answers %q, %v, want %q", c.protocol, answer, err, c.want)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}
