package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy"
	"mailproxy/proxy/cert"
	"mailproxy/proxy/cert/truststore"
	"mailproxy/proxy/storekey"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// healthy returns a patient of which all checks are content, without a daemon.
func healthy(t *testing.T) *Patient {
	t.Helper()
	home, dir := t.TempDir(), filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const local = "127.0.0.1:0"
	c := proxy.DefaultConfig()
	c.Dir, c.Listen = dir, proxy.ListenConfig{SMTP: local, IMAP: local, POP3: local}
	c.Network = proxy.NetworkConfig{Document: "network.note", Keys: []string{"k"}, Threshold: 1}
	file := filepath.Join(home, "c.toml")
	if err := c.Write(file); err != nil {
		t.Fatal(err)
	}
	return &Patient{
		File: file, Config: c, Now: now, Windows: runtime.GOOS == "windows",
		Free:     func(string) (int64, error) { return 100 << 30, nil },
		Computer: truststore.Computer{OS: "linux", Home: home, Root: home},
		Document: func(proxy.Config) (Document, error) {
			return Document{Network: "n", Made: now.Add(-49 * time.Hour), Gateways: []string{"g1", "g2"}}, nil
		},
	}
}

// running gives the patient a daemon that is well.
func running(p *Patient) {
	p.Config.Listen = proxy.ListenConfig{SMTP: "127.0.0.1:1025", IMAP: "127.0.0.1:1143", POP3: "127.0.0.1:1110", SMTPS: "127.0.0.1:1465", IMAPS: "127.0.0.1:1993"}
	p.Status = &proxy.Status{
		Listen: p.Config.Listen.Ports(),
		Accounts: []proxy.AccountStatus{{
			Address: "carol@north.test", Registered: true,
			Network: proxy.NetworkStatus{Connected: true, LoopsSent: 7, LoopsBack: 7},
		}},
	}
}

func certificates(t *testing.T, p *Patient) {
	t.Helper()
	at := p.Now
	if _, err := cert.Ensure(filepath.Join(p.Config.Dir, proxy.CertDir), nil, func() time.Time { return at }); err != nil {
		t.Fatal(err)
	}
}

func key(t *testing.T, p *Patient, to storekey.To) {
	t.Helper()
	if err := storekey.Change(p.Config.Dir, storekey.Sources{}, to); err != nil {
		t.Fatal(err)
	}
}

// thunderbird writes a profile. Trusted says what certutil would.
func thunderbird(t *testing.T, p *Patient, prefs string, certutil func() (string, error)) {
	t.Helper()
	base := filepath.Join(p.Computer.Home, ".thunderbird")
	for name, text := range map[string]string{"profiles.ini": "[Profile0]\nPath=p\n", "p/prefs.js": prefs, "p/cert9.db": ""} {
		file := filepath.Join(base, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	p.Computer.LookPath = func(string) (string, error) { return "", errors.New("none") }
	if certutil != nil {
		p.Computer.LookPath = func(string) (string, error) { return "certutil", nil }
		p.Computer.Run = func(context.Context, []string) (string, error) { return certutil() }
	}
}

// incoming and outgoing are lines of a profile.
func incoming(kind, host string, port, socket int) string {
	return fmt.Sprintf("user_pref(\"mail.server.s1.hostname\", %q);\nuser_pref(\"mail.server.s1.type\", %q);\nuser_pref(\"mail.server.s1.port\", %d);\n"+
		"user_pref(\"mail.server.s1.socketType\", %d);\nuser_pref(\"mail.server.s1.userName\", \"Carol@north.test\");\n", host, kind, port, socket)
}

func outgoing(port, socket int) string {
	return fmt.Sprintf("user_pref(\"mail.smtpserver.smtp1.hostname\", \"127.0.0.1\");\nuser_pref(\"mail.smtpserver.smtp1.port\", %d);\nuser_pref(\"mail.smtpserver.smtp1.try_ssl\", %d);\n", port, socket)
}

// TestChecks has a row for each outcome of each check.
func TestChecks(t *testing.T) {
	trusted := func(t *testing.T, p *Patient) func() (string, error) {
		certificates(t, p)
		i, err := p.authority()
		if err != nil {
			t.Fatal(err)
		}
		return func() (string, error) { return i.Name + "    C,,\n", nil }
	}
	both := incoming("imap", "localhost", 1143, 2) + outgoing(1025, 2)
	for _, c := range []struct {
		check  string
		change func(*testing.T, *Patient)
		level  Level // empty: the check has nothing to say
		text   string
	}{
		{"configuration", func(*testing.T, *Patient) {}, OK, "c.toml"},
		{"configuration", func(_ *testing.T, p *Patient) { p.ConfigErr = errors.New("line 3") }, Problem, "line 3"},
		{"configuration", func(_ *testing.T, p *Patient) { p.ConfigErr = &proxy.NoConfigError{File: "c.toml"} }, Problem, "not set up here yet: there is no c.toml"},
		{"configuration", func(_ *testing.T, p *Patient) { p.Config.Listen.IMAP = "0.0.0.0:1" }, Problem, "not a loopback address"},
		{"configuration", func(_ *testing.T, p *Patient) { p.Config.Listen.AllowPlaintext = true }, Warning, "without TLS"},
		{"configuration", func(t *testing.T, p *Patient) { mode(t, p.File, 0o622) }, Warning, "others on this computer can change"},

		{"data directory", func(*testing.T, *Patient) {}, OK, "only you can open"},
		{"data directory", func(_ *testing.T, p *Patient) { p.Config.Dir += "/none" }, OK, "will be made"},
		{"data directory", func(t *testing.T, p *Patient) { mode(t, p.Config.Dir, 0o755) }, Problem, "can look into"},
		{"data directory", func(_ *testing.T, p *Patient) { p.Config.Dir = p.File }, Problem, "is a file"},
		{"data directory", func(_ *testing.T, p *Patient) { p.Config.Dir = p.File + "/x" }, Problem, "not a directory"},

		{"disk", func(*testing.T, *Patient) {}, OK, "100.0 GiB are free"},
		{"disk", func(_ *testing.T, p *Patient) { p.Config.Dir += "/none/none" }, OK, "100.0 GiB are free"},
		{"disk", free(900<<20, nil), Warning, "900 MiB are left; below 256"},
		{"disk", free(1<<20, nil), Problem, "the disk is full: 1 MiB"},
		{"disk", free(0, errors.New("no such thing")), Warning, "no such thing"},
		{"disk", free(0, store.ErrFreeUnknown), "", ""},

		{"store key", func(*testing.T, *Patient) {}, "", ""},
		{"store key", func(_ *testing.T, p *Patient) { p.Config.Dir += "/none" }, "", ""},
		{"store key", func(t *testing.T, p *Patient) { openKey(t, p) }, Warning, "unprotected"},
		{"store key", func(t *testing.T, p *Patient) {
			key(t, p, storekey.To{Way: storekey.Passphrase, Passphrase: func() (string, error) { return "kangaroo-paw-42", nil }})
		}, OK, "sealed by a passphrase"},
		{"store key", func(t *testing.T, p *Patient) {
			key(t, p, storekey.To{Way: storekey.KeyFile, KeyFile: filepath.Join(p.Computer.Home, "key")})
		}, OK, "sealed by the key file"},
		{"store key", func(t *testing.T, p *Patient) { keyFileGone(t, p) }, Problem, "the daemon cannot be started"},
		{"store key", func(t *testing.T, p *Patient) { keyFileGone(t, p); running(p) }, Warning, "cannot be started again"},
		{"store key", func(t *testing.T, p *Patient) { write(t, filepath.Join(p.Config.Dir, storekey.File), "short") }, Problem, "damaged"},

		{"daemon", func(*testing.T, *Patient) {}, Problem, "does not run"},
		{"daemon", func(_ *testing.T, p *Patient) { p.StatusErr = &proxy.MovedError{At: now, File: "carol.age"} }, Problem, "moved to another computer on 2026-11-23, by the file carol.age"},
		{"daemon", func(_ *testing.T, p *Patient) { running(p) }, OK, "it runs"},
		{"daemon", func(_ *testing.T, p *Patient) { p.StatusErr = errors.New("another user's") }, Problem, "another user's"},

		{"ports", func(*testing.T, *Patient) {}, OK, "free"},
		{"ports", func(t *testing.T, p *Patient) { p.Config.Listen.POP3 = taken(t) }, Problem, "for pop3, is taken by "},
		{"ports", func(_ *testing.T, p *Patient) { running(p) }, OK, "has all of its ports"},
		{"ports", func(_ *testing.T, p *Patient) { running(p); p.Config.Listen.IMAP = "127.0.0.1:0" }, OK, "has all of its ports"},
		{"ports", func(_ *testing.T, p *Patient) { running(p); p.Config.Listen.IMAP = "127.0.0.1:7" }, Warning, "imap 127.0.0.1:7; it was started before"},
		{"ports", func(_ *testing.T, p *Patient) { p.Config.Listen.IMAP = "moon" }, OK, "free"}, // configuration says it

		{"network document", func(*testing.T, *Patient) {}, OK, `of "n", signed by those whom you trust, 2 days old`},
		{"network document", func(_ *testing.T, p *Patient) { p.Now = now.Add(-25 * time.Hour) }, OK, "1 day old"},
		{"network document", func(_ *testing.T, p *Patient) { p.Now = now.Add(-72 * time.Hour) }, Problem, "made in the future"},
		{"network document", func(_ *testing.T, p *Patient) { p.Config.Network.Gateway = "g3" }, Problem, `"g3", and the network has g1, g2`},
		{"network document", func(_ *testing.T, p *Patient) {
			p.Document = func(proxy.Config) (Document, error) { return Document{}, errors.New("not signed") }
		}, Problem, "not signed"},

		{"gateway", func(*testing.T, *Patient) {}, "", ""},
		{"gateway", func(_ *testing.T, p *Patient) { running(p) }, OK, "connected"},
		{"gateway", network(func(n *proxy.NetworkStatus) { n.Connected, n.Reason = false, "no route" }), Problem, "offline: no route"},
		{"clock", network(func(n *proxy.NetworkStatus) {}), OK, "agrees"},
		{"clock", network(func(n *proxy.NetworkStatus) { n.ClockOffset = 90 }), Problem, "90 s behind"},
		{"clock", network(func(n *proxy.NetworkStatus) { n.ClockOffset = -90 }), Problem, "90 s ahead"},
		{"clock", network(func(n *proxy.NetworkStatus) { n.Connected = false }), "", ""},
		{"loss", network(func(n *proxy.NetworkStatus) {}), OK, "of 7 packets that measure the network, 7 came back"},
		{"loss", network(func(n *proxy.NetworkStatus) { n.LoopAlarm, n.LoopsLost = true, 0.4 }), Problem, "40 % of the last"},
		{"loss", network(func(n *proxy.NetworkStatus) { n.LoopsSent = 0 }), "", ""},
		{"gateway", account(func(a *proxy.AccountStatus) { a.SharesWith = "dave@north.test" }), "", ""},
		{"gateway", account(func(a *proxy.AccountStatus) { a.Ending = "deleted" }), "", ""},

		{"accounts", func(*testing.T, *Patient) {}, "", ""},
		{"accounts", func(_ *testing.T, p *Patient) { running(p) }, OK, "carol@north.test is registered"},
		{"accounts", account(func(a *proxy.AccountStatus) { a.Registered = false }), Warning, "not registered at its provider yet"},
		{"accounts", account(func(a *proxy.AccountStatus) { a.Problem = "the name is taken" }), Problem, "the name is taken"},
		{"accounts", account(func(a *proxy.AccountStatus) { a.Held = 2 }), Warning, "mail is held (2)"},
		{"accounts", account(func(a *proxy.AccountStatus) { a.Ending, a.Problem = "revoked", "x" }), OK, "is revoked"},
		{"accounts", func(_ *testing.T, p *Patient) { running(p); p.Status.Accounts = nil }, Warning, "there is no account yet"},
		{"keys of others", func(_ *testing.T, p *Patient) { running(p) }, "", ""},
		{"keys of others", func(_ *testing.T, p *Patient) {
			running(p)
			p.Status.Alarms = []proxy.Alarm{{ID: "a1", Subject: "two logs"}}
		}, Problem, "two logs"},

		{"certificate", func(*testing.T, *Patient) {}, OK, "when the daemon is first started"},
		{"certificate", func(_ *testing.T, p *Patient) { running(p) }, Problem, "no certificates yet"},
		{"certificate", func(t *testing.T, p *Patient) { certificates(t, p) }, OK, "it holds until 2027-11-23"},
		{"certificate", func(t *testing.T, p *Patient) { certificates(t, p); p.Now = now.AddDate(2, 0, 0) }, OK, "renewed when the daemon is started"},
		{"certificate", func(t *testing.T, p *Patient) { certificates(t, p); running(p); p.Now = now.AddDate(2, 0, 0) }, Problem, "it ended on 2027-11-23"},
		{"certificate", func(t *testing.T, p *Patient) { certificates(t, p); running(p); p.Now = now.AddDate(0, 11, 0) }, Warning, "should have been renewed"},
		{"certificate", func(t *testing.T, p *Patient) { certificates(t, p); p.Now = now.AddDate(30, 0, 0) }, Problem, "the authority of this computer ended"},
		{"certificate", func(t *testing.T, p *Patient) { certificates(t, p); p.Now = now.AddDate(-1, 0, 0) }, Problem, "begins in the future"},
		{"certificate", func(t *testing.T, p *Patient) {
			certificates(t, p)
			write(t, filepath.Join(p.Config.Dir, proxy.CertDir, "leaf.pem"), "x")
		}, Problem, "damaged"},

		{"mail program", func(*testing.T, *Patient) {}, OK, "there is no Thunderbird here"},
		{"mail program", func(t *testing.T, p *Patient) { running(p); thunderbird(t, p, "", nil) }, Warning, "has no account that mailproxy serves"},
		{"mail program", client(incoming("imap", "imap.example", 1143, 2), nil), Warning, "has no account that mailproxy serves"},
		{"mail program", client(both, nil), OK, "IMAP for Carol@north.test at port 1143"},
		{"mail program", client(incoming("pop3", "::1", 1110, 2)+outgoing(1465, 3), nil), OK, "POP3 for Carol@north.test at port 1110"},
		{"mail program", client(incoming("imap", "127.0.0.1", 1143, 3)+outgoing(1025, 2), nil), Problem, "wants TLS from the start"},
		{"mail program", client(incoming("imap", "127.0.0.1", 1143, 0)+outgoing(1025, 2), nil), Problem, "refuses the password"},
		{"mail program", client(incoming("imap", "127.0.0.1", 1993, 2)+outgoing(1025, 2), nil), Problem, "does not begin with TLS"},
		{"mail program", client(incoming("imap", "127.0.0.1", 999, 2)+outgoing(1025, 2), nil), Problem, "asks where mailproxy does not listen"},
		{"mail program", client(incoming("imap", "127.0.0.1", 1143, 2), nil), Warning, "sends by another server"},
		{"mail program", client(outgoing(1025, 2), nil), Warning, "does not receive by it"},
		{"mail program", client(both, trusted), OK, "trusts the certificate"},
		{"mail program", client(both, func(t *testing.T, p *Patient) func() (string, error) {
			certificates(t, p)
			return func() (string, error) { return "", nil }
		}), Problem, "does not trust the certificate"},
		{"mail program", client(both, func(t *testing.T, p *Patient) func() (string, error) {
			certificates(t, p)
			return func() (string, error) { return "", errors.New("locked") }
		}), Warning, "cannot be seen: it failed: locked"},
		{"mail program", func(t *testing.T, p *Patient) {
			running(p)
			certificates(t, p)
			thunderbird(t, p, both, nil)
		}, Warning, "a program is missing: certutil"},
	} {
		t.Run(c.check+" "+c.text, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.HasPrefix(c.text, "others") {
				t.Skip("there are no such modes here")
			}
			p := healthy(t)
			c.change(t, p)
			var got []Result
			for _, r := range Examine(t.Context(), p) {
				if r.Check == c.check {
					got = append(got, r)
				}
			}
			if c.level == "" {
				if len(got) > 0 {
					t.Fatalf("%+v, want nothing", got)
				}
				return
			}
			for _, r := range got {
				if r.Level == c.level && strings.Contains(r.Text, c.text) {
					return
				}
			}
			t.Errorf("%+v, want %s with %q", got, c.level, c.text)
		})
	}
}

func TestOnlyWhatCanBeLookedAt(t *testing.T) {
	p := &Patient{ConfigErr: errors.New("no file")}
	if all := Examine(t.Context(), p); len(all) != 1 || Problems(all) != 1 {
		t.Errorf("without a configuration: %+v", all)
	}
}

// TestHints holds each problem to say what to do, in its hint or in its own words.
func TestHints(t *testing.T) {
	p := healthy(t)
	running(p)
	p.Status.Accounts[0].Network = proxy.NetworkStatus{LoopAlarm: true, ClockOffset: 99}
	p.Free = func(string) (int64, error) { return 0, nil }
	n := 0
	for _, r := range Examine(t.Context(), p) {
		if r.Level == Problem && r.Check != "certificate" {
			if n++; r.Hint == "" {
				t.Errorf("%+v has no hint", r)
			}
		}
	}
	if n != 4 {
		t.Errorf("%d problems, want disk, gateway, clock and loss", n)
	}
}

func mode(t *testing.T, file string, m os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, m); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func free(n int64, err error) func(*testing.T, *Patient) {
	return func(_ *testing.T, p *Patient) { p.Free = func(string) (int64, error) { return n, err } }
}

func openKey(t *testing.T, p *Patient) {
	t.Helper()
	if _, err := storekey.Open(p.Config.Dir, storekey.Sources{}); err != nil {
		t.Fatal(err)
	}
}

func keyFileGone(t *testing.T, p *Patient) {
	t.Helper()
	file := filepath.Join(p.Computer.Home, "key")
	key(t, p, storekey.To{Way: storekey.KeyFile, KeyFile: file})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// taken returns an address that somebody listens on.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func account(change func(*proxy.AccountStatus)) func(*testing.T, *Patient) {
	return func(_ *testing.T, p *Patient) { running(p); change(&p.Status.Accounts[0]) }
}

func network(change func(*proxy.NetworkStatus)) func(*testing.T, *Patient) {
	return account(func(a *proxy.AccountStatus) { change(&a.Network) })
}

func client(prefs string, certutil func(*testing.T, *Patient) func() (string, error)) func(*testing.T, *Patient) {
	return func(t *testing.T, p *Patient) {
		running(p)
		var says func() (string, error)
		if certutil != nil {
			says = certutil(t, p)
		}
		thunderbird(t, p, prefs, says)
	}
}

func FuzzParsePrefs(f *testing.F) {
	f.Add("// x\nuser_pref(\"a.b\", \"c\\\"d\");\nuser_pref(\"n\", 12);\r\nuser_pref(\"t\", true);")
	f.Add("user_pref(\"\", );\nuser_pref(,);user_pref(\"x\"")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range parsePrefs(text) {
			if again := parsePrefs(fmt.Sprintf("user_pref(%q, %q);\n", name, value)); again[name] != value {
				t.Errorf("%q = %q is read as %q", name, value, again[name])
			}
		}
		servers(parsePrefs(text))
	})
}
