package proxy

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailproxy/mixclient"
)

// TestPorts connects to all the front ends. Those of implicit TLS (RFC 8314 section 3)
// begin with it, and let a client log in that could not without.
func TestPorts(t *testing.T) {
	const local = "127.0.0.1:0"
	d, err := Open(Options{
		Dir: t.TempDir(), Network: func(string) mixclient.Network { return &versions{} },
		Listen: ListenConfig{SMTP: local, IMAP: local, POP3: local, SMTPS: local, IMAPS: local, POP3S: local},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDaemon(t, d)
	const me, password = "me@north.test", "kangaroo-paw-42"
	if _, err := d.AddAccount(t.Context(), NewAccount{Address: me, Password: password}); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(d.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in the file")
	}
	for _, tt := range []struct{ name, greeting, login, ok, refused string }{
		{"smtp", "220 ", "EHLO x\r\nAUTH PLAIN AG1lQG5vcnRoLnRlc3QAa2FuZ2Fyb28tcGF3LTQy\r\n", "235 ", "530 "},
		{"imap", "* OK ", "a LOGIN " + me + " " + password + "\r\n", "a OK ", "a NO "},
		{"pop3", "+OK ", "USER " + me + "\r\nPASS " + password + "\r\n", "+OK 0 messages", "-ERR "},
	} {
		for _, secure := range []bool{false, true} {
			name, want := tt.name, tt.refused
			if secure {
				name, want = tt.name+"s", tt.ok
			}
			conn, err := net.Dial("tcp", d.Address(name).String())
			if err != nil {
				t.Fatal(err)
			}
			if secure {
				conn = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
			}
			r := bufio.NewReader(conn)
			if greeting, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(greeting, tt.greeting) {
				t.Errorf("%s greets with %q, %v", name, greeting, err)
			}
			if _, err := conn.Write([]byte(tt.login)); err != nil {
				t.Fatal(err)
			}
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Errorf("%s: %q did not come: %v", name, want, err)
					break
				}
				if strings.HasPrefix(line, want) {
					break
				}
			}
			conn.Close()
		}
	}
}

// TestOldFileOpensNoMorePorts reads a file that was written before there were ports of
// implicit TLS, and one with all that is written now.
func TestOldFileOpensNoMorePorts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mailproxy.toml")
	old := "version = 1\ndir = 'data'\n[network]\ndocument = 'network.note'\nkeys = ['k']\nthreshold = 1\n[listen]\nsmtp = '127.0.0.1:2025'\n"
	if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := (ListenConfig{SMTP: "127.0.0.1:2025", IMAP: "127.0.0.1:1143", POP3: "127.0.0.1:1110"}); c.Listen != want {
		t.Errorf("%+v, want %+v", c.Listen, want)
	}
	fresh := DefaultConfig()
	fresh.Network = c.Network
	if err := fresh.Write(file); err != nil {
		t.Fatal(err)
	}
	if c, err = LoadConfig(file); err != nil || c.Listen != fresh.Listen || c.Listen.IMAPS != "127.0.0.1:1993" {
		t.Errorf("%+v, %v; want %+v", c.Listen, err, fresh.Listen)
	}
}
