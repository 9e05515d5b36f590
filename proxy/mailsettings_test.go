package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2/imapclient"

	"mailproxy/internal/mailclient"
	"mailproxy/mixclient"
)

// A provider's autoconfig file knows nothing of a user's configuration: what it says
// must be what a daemon does that nobody has configured.
func TestMailDefaults(t *testing.T) {
	got, err := mailclient.Servers(DefaultConfig().Listen.Listeners())
	if err != nil {
		t.Fatal(err)
	}
	if want := mailclient.Defaults(); !slices.Equal(got, want) {
		t.Errorf("the defaults of the configuration are %v, of mail programs %v", got, want)
	}
	old := DefaultConfig().Listen
	old.SMTPS, old.IMAPS, old.POP3S = "", "", ""
	if n := len(old.Listeners()); n != 3 {
		t.Errorf("%d listeners without those of TLS", n)
	}
}

// TestMailSettings takes a running daemon at its word: it logs in where the settings
// say, trusting the authority that they name.
func TestMailSettings(t *testing.T) {
	const local = "127.0.0.1:0"
	d, err := Open(Options{
		Dir: t.TempDir(), Network: func(string) mixclient.Network { return &versions{} },
		Listen: ListenConfig{SMTP: local, IMAP: local, POP3: local, SMTPS: local, IMAPS: local},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDaemon(t, d)
	const me, password = "me@north.test", "kangaroo-paw-42"
	if _, err := d.AddAccount(t.Context(), NewAccount{Address: me, DisplayName: "Me", Password: password}); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"", me, "Me@North.Test"} {
		s, err := d.MailSettings(addr)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Accounts) != 1 || s.Accounts[0] != (MailUser{me, me}) || len(s.Servers) != 5 {
			t.Fatalf("settings of %q: %+v", addr, s)
		}
	}
	if _, err := d.MailSettings("you@north.test"); err == nil {
		t.Error("there are settings of an account that there is not")
	}
	s, err := d.MailSettings(me)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.Authority.File)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	tried := 0
	for _, server := range s.Servers {
		if server.Protocol != mailclient.IMAP {
			continue
		}
		tried++
		at := net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
		options := &imapclient.Options{TLSConfig: &tls.Config{RootCAs: roots, ServerName: server.Host}}
		dial := imapclient.DialTLS
		if server.Security == mailclient.STARTTLS {
			dial = imapclient.DialStartTLS
		}
		c, err := dial(at, options)
		if err != nil {
			t.Fatalf("%v: %v", server, err)
		}
		if err := c.Login(s.Accounts[0].UserName, password).Wait(); err != nil {
			t.Errorf("%v: %v", server, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if tried != 2 {
		t.Errorf("%d ports of IMAP", tried)
	}

	b, err = d.MobileConfig("", password)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{me, "<string>Me</string>", password, base64.StdEncoding.EncodeToString(authority.Raw)} {
		if !strings.Contains(strings.Join(strings.Fields(string(b)), ""), strings.ReplaceAll(part, " ", "")) {
			t.Errorf("the profile lacks %s", part)
		}
	}
	if b, err = d.MobileConfig(me, ""); err != nil || strings.Contains(string(b), password) {
		t.Errorf("the profile has a password that nobody asked for, %v", err)
	}
}
