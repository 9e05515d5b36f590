package mailclient

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"howett.net/plist"

	"mailproxy/internal/address"
)

func TestServers(t *testing.T) {
	for _, c := range []struct {
		name string
		in   map[string]string
		want []Server
		err  string
	}{
		{"all", map[string]string{
			"smtp": "127.0.0.1:1025", "imap": "127.0.0.1:1143", "pop3": "127.0.0.1:1110",
			"smtps": "127.0.0.1:1465", "imaps": "127.0.0.1:1993", "pop3s": "127.0.0.1:1995",
		}, Defaults(), ""},
		{"without TLS from the start", map[string]string{"smtp": "127.0.0.1:1", "imap": "127.0.0.1:2", "imaps": ""},
			[]Server{{IMAP, "127.0.0.1", 2, STARTTLS}, {SMTP, "127.0.0.1", 1, STARTTLS}}, ""},
		{"on all addresses", map[string]string{"smtps": ":1", "imaps": "0.0.0.0:2", "pop3s": "[::]:3", "imap": "localhost:4"},
			[]Server{{IMAP, Loopback, 2, TLS}, {IMAP, Loopback, 4, STARTTLS}, {POP3, Loopback, 3, TLS}, {SMTP, Loopback, 1, TLS}}, ""},
		{"on others", map[string]string{"smtp": "[::1]:1", "imap": "192.0.2.7:2"},
			[]Server{{IMAP, "192.0.2.7", 2, STARTTLS}, {SMTP, "::1", 1, STARTTLS}}, ""},
		{"any port", map[string]string{"smtp": "127.0.0.1:0"}, nil, "another port at each start"},
		{"no port", map[string]string{"smtp": "127.0.0.1"}, nil, "smtp"},
		{"bad port", map[string]string{"imap": "127.0.0.1:70000"}, nil, "not a port"},
	} {
		got, err := Servers(c.in)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want one with %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

// element is any element of a document.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

func (e element) all(name string) (list []element) {
	for _, c := range e.Children {
		if c.XMLName.Local == name {
			list = append(list, c)
		}
	}
	return list
}

func (e element) one(t *testing.T, name string) string {
	t.Helper()
	list := e.all(name)
	if len(list) != 1 {
		t.Fatalf("%d elements %s in %s", len(list), name, e.XMLName.Local)
	}
	return list[0].Text
}

// grammar is what the format lets be in what, and how often at least: of
// draft-ietf-mailmaint-autoconfig section 4 the part that we use. Mozilla has no
// schema to check against.
var grammar = map[string]map[string]int{
	"clientConfig":     {"emailProvider": 1},
	"emailProvider":    {"domain": 1, "displayName": 1, "displayShortName": 1, "incomingServer": 1, "outgoingServer": 1},
	"incomingServer":   {"hostname": 1, "port": 1, "socketType": 1, "authentication": 1, "username": 1},
	"outgoingServer":   {"hostname": 1, "port": 1, "socketType": 1, "authentication": 1, "username": 1},
	"domain":           {},
	"displayName":      {},
	"displayShortName": {},
	"hostname":         {},
	"port":             {},
	"socketType":       {},
	"authentication":   {},
	"username":         {},
}

func (e element) check(t *testing.T) {
	t.Helper()
	may, ok := grammar[e.XMLName.Local]
	if !ok || e.XMLName.Space != "" {
		t.Errorf("an element %v", e.XMLName)
	}
	for name, n := range may {
		if len(e.all(name)) < n {
			t.Errorf("%s without %s", e.XMLName.Local, name)
		}
	}
	for _, c := range e.Children {
		if _, ok := may[c.XMLName.Local]; !ok {
			t.Errorf("%s in %s", c.XMLName.Local, e.XMLName.Local)
		}
		c.check(t)
	}
	if len(may) == 0 && strings.TrimSpace(e.Text) != e.Text || len(may) > 0 && strings.TrimSpace(e.Text) != "" {
		t.Errorf("%s has the text %q", e.XMLName.Local, e.Text)
	}
}

func TestAutoconfig(t *testing.T) {
	b, err := Autoconfig("North.Test", Defaults())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b, []byte(`<?xml version="1.0" encoding="UTF-8"?>`)) {
		t.Errorf("it begins %.60q", b)
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	var root element
	if err := d.Decode(&root); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Token(); err == nil { // the line's end
		if _, err = d.Token(); !errors.Is(err, io.EOF) {
			t.Errorf("something follows: %v", err)
		}
	}
	root.check(t)
	if root.XMLName.Local != "clientConfig" || len(root.Attrs) != 1 || root.Attrs[0].Value != "1.1" {
		t.Errorf("the root is %v %v", root.XMLName, root.Attrs)
	}
	p := root.all("emailProvider")[0]
	if id := p.Attrs[0]; id.Name.Local != "id" || id.Value != "north.test" || p.one(t, "domain") != "north.test" {
		t.Errorf("it is for %v, %s", id, p.one(t, "domain"))
	}
	var got []Server
	for _, s := range append(p.all("incomingServer"), p.all("outgoingServer")...) {
		if s.one(t, "username") != "%EMAILADDRESS%" || s.one(t, "authentication") != "password-cleartext" {
			t.Errorf("user name %s by %s", s.one(t, "username"), s.one(t, "authentication"))
		}
		if s.one(t, "socketType") != "SSL" || s.one(t, "hostname") != Loopback {
			t.Errorf("%s at %s", s.one(t, "socketType"), s.one(t, "hostname"))
		}
		got = append(got, Server{Protocol: Protocol(s.Attrs[0].Value)})
		if want := map[Protocol]string{IMAP: "1993", POP3: "1995", SMTP: "1465"}[got[len(got)-1].Protocol]; s.one(t, "port") != want {
			t.Errorf("port %s, want %s", s.one(t, "port"), want)
		}
	}
	if len(got) != 3 || got[0].Protocol != IMAP {
		t.Errorf("servers %v, want IMAP first", got)
	}
}

func TestAutoconfigSTARTTLS(t *testing.T) {
	b, err := Autoconfig("north.test", []Server{{IMAP, Loopback, 1143, STARTTLS}, {SMTP, Loopback, 1025, STARTTLS}})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("<socketType>STARTTLS</socketType>")); n != 2 || bytes.Contains(b, []byte("pop3")) {
		t.Errorf("it is\n%s", b)
	}
}

func TestAutoconfigRefuses(t *testing.T) {
	if _, err := Autoconfig("north.test", Defaults()[:4]); !errors.Is(err, ErrNoServers) {
		t.Errorf("without SMTP: %v", err)
	}
	if _, err := Autoconfig("north.test", Defaults()[4:]); !errors.Is(err, ErrNoServers) {
		t.Errorf("without IMAP and POP3: %v", err)
	}
	for _, domain := range []string{"", "..", "a/b", "../north.test", "a b", "<x>", "a@b", "north.test\n"} {
		if _, err := Autoconfig(domain, Defaults()); !errors.Is(err, address.ErrInvalid) {
			t.Errorf("domain %q: %v", domain, err)
		}
	}
}

func TestMobileConfig(t *testing.T) {
	in := Profile{Address: "Alice@north.test", Name: "Alice & Co", Servers: Defaults(), Authority: []byte{0x30, 0, 1, 2, 0xff}, AuthorityName: "mailproxy local authority 7"}
	read := func(p Profile) (map[string]any, map[string]any, map[string]any) {
		t.Helper()
		b, err := MobileConfig(p)
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]any
		format, err := plist.Unmarshal(b, &all)
		if err != nil || format != plist.XMLFormat {
			t.Fatalf("format %v, %v", format, err)
		}
		parts, ok := all["PayloadContent"].([]any)
		if !ok || len(parts) != 2 {
			t.Fatalf("parts %v", all["PayloadContent"])
		}
		return all, parts[0].(map[string]any), parts[1].(map[string]any)
	}
	all, root, mail := read(in)
	seen := map[string]bool{}
	for _, p := range []map[string]any{all, root, mail} {
		id, _ := p["PayloadUUID"].(string)
		if !regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`).MatchString(id) || seen[id] {
			t.Errorf("UUID %q", id)
		}
		seen[id] = true
		for _, key := range []string{"PayloadType", "PayloadIdentifier", "PayloadDisplayName"} {
			if s, _ := p[key].(string); s == "" {
				t.Errorf("no %s in %v", key, p)
			}
		}
		if p["PayloadVersion"] != uint64(1) {
			t.Errorf("version %v", p["PayloadVersion"])
		}
	}
	if all["PayloadType"] != "Configuration" || root["PayloadType"] != "com.apple.security.root" || mail["PayloadType"] != "com.apple.mail.managed" {
		t.Errorf("types %v, %v, %v", all["PayloadType"], root["PayloadType"], mail["PayloadType"])
	}
	if der, _ := root["PayloadContent"].([]byte); !bytes.Equal(der, in.Authority) {
		t.Errorf("the authority is %x", der)
	}
	for key, want := range map[string]any{
		"EmailAccountType": "EmailTypeIMAP", "EmailAddress": "alice@north.test", "EmailAccountName": "Alice & Co",
		"IncomingMailServerHostName": Loopback, "IncomingMailServerPortNumber": uint64(1993), "IncomingMailServerUseSSL": true,
		"IncomingMailServerUsername": "alice@north.test", "IncomingMailServerAuthentication": "EmailAuthPassword",
		"OutgoingMailServerHostName": Loopback, "OutgoingMailServerPortNumber": uint64(1465), "OutgoingMailServerUseSSL": true,
		"OutgoingMailServerUsername": "alice@north.test", "OutgoingMailServerAuthentication": "EmailAuthPassword",
		"OutgoingPasswordSameAsIncomingPassword": true,
	} {
		if mail[key] != want {
			t.Errorf("%s is %v, want %v", key, mail[key], want)
		}
	}
	for _, key := range []string{"IncomingPassword", "OutgoingPassword"} {
		if _, ok := mail[key]; ok {
			t.Errorf("there is an %s that nobody asked for", key)
		}
	}

	again, _, _ := read(in)
	if again["PayloadUUID"] != all["PayloadUUID"] {
		t.Error("made again, it would be installed beside the first")
	}
	in.Password = "secret-<&>-secret"
	if _, _, mail = read(in); mail["IncomingPassword"] != in.Password || mail["OutgoingPassword"] != in.Password {
		t.Error("the password that was asked for is not there")
	}
	in.Address = "bob@north.test"
	if other, _, _ := read(in); other["PayloadUUID"] == all["PayloadUUID"] {
		t.Error("another account's profile would replace it")
	}
	in.Servers = Defaults()[2:] // no IMAP
	if _, err := MobileConfig(in); !errors.Is(err, ErrNeedsIMAP) {
		t.Errorf("without IMAP: %v", err)
	}
	in.Address = "nobody"
	if _, err := MobileConfig(in); !errors.Is(err, address.ErrInvalid) {
		t.Errorf("for nobody: %v", err)
	}
}

func TestThunderbirds(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"usr/lib/thunderbird/application.ini", "opt/thunderbird/isp/x"} {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{filepath.Join(root, "usr", "lib", "thunderbird", "isp")}
	if got := Thunderbirds("linux", root); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Thunderbirds("plan9", root); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestOurs(t *testing.T) {
	b, err := Autoconfig("north.test", Defaults())
	if err != nil {
		t.Fatal(err)
	}
	if !Ours(b) || Ours(bytes.Replace(b, []byte(mark), []byte("made by others"), 1)) || Ours(nil) {
		t.Error("it does not know what is its own")
	}
}
