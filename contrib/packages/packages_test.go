package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var testSource = &source{commit: "0123456789abcdef0123", time: time.Unix(1_700_000_000, 0).UTC(), version: "1.2.3-20231114221320.0123456789ab", maintainer: nobody}

func TestVersionOf(t *testing.T) {
	changed := *testSource
	changed.modified = true
	for _, c := range []struct {
		tags []string
		s    *source
		want string
	}{
		{nil, testSource, "1.2.3-20231114221320.0123456789ab"},
		{[]string{"v1.2.2", "v1.2.3"}, testSource, "1.2.3"},
		{[]string{"v1.2.2"}, testSource, "1.2.3-20231114221320.0123456789ab"},
		{[]string{"v1.2.3"}, &changed, "1.2.3+modified"},
	} {
		if got := versionOf("1.2.3", c.tags, c.s); got != c.want {
			t.Errorf("tags %v, modified %v: %q, want %q", c.tags, c.s.modified, got, c.want)
		}
	}
}

// pretend makes a tree with what packages take from it but for the program.
func pretend(t *testing.T) *source {
	t.Helper()
	s := *testSource
	s.root = t.TempDir()
	for _, name := range []string{
		"LICENSE", "README.md", "docs/imap.md", "docs/laptop.md", "docs/mail-programs.md", "docs/mailbox.md", "docs/sent.md",
		"docs/status-page.md", "docs/threat-model.md", "contrib/systemd/mailproxy.service",
	} {
		write(t, filepath.Join(s.root, name), "text of "+name)
	}
	for _, name := range []string{"contents/mailproxy.deb", "contents/mailproxy.rpm", "contents/mailproxy.tar.gz", "contents/mailproxy.zip", "scripts/user.postinst", "scripts/user.prerm"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(s.root, "contrib", "packages", name), string(text))
	}
	return &s
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// make makes one package of the daemon, with a few bytes for a program.
func makeOne(t *testing.T, s *source, kind string) artefact {
	t.Helper()
	p := &products[0]
	var a artefact
	var err error
	at := target{"plan9", "arm64"} // no system to run the bytes on
	switch kind {
	case "deb", "rpm":
		var files []file
		if files, err = p.linuxFiles(s, kind, []byte("program"), "notices", generated{}); err == nil {
			a, err = pack(s, p, target{"linux", "arm64"}, kind, files, t.TempDir())
		}
	case "zip":
		a, err = archive(s, p, target{"windows", "amd64"}, []byte("program"), "notices")
	default:
		a, err = archive(s, p, at, []byte("program"), "notices")
	}
	if err != nil {
		t.Fatal(err)
	}
	a.product, a.target, a.size = p.name, at, 7
	return a
}

// What is made passes the check, is the same when it is made again, and does not pass
// with a file more, a file less or a program that is too large.
func TestPackages(t *testing.T) {
	for _, kind := range []string{"deb", "rpm", "tar.gz", "zip"} {
		t.Run(kind, func(t *testing.T) {
			s := pretend(t)
			a := makeOne(t, s, kind)
			if err := a.check(s, nil); err != nil {
				t.Errorf("as it must be: %v", err)
			}
			if err := same([]artefact{a}, []artefact{makeOne(t, s, kind)}); err != nil {
				t.Error(err)
			}
			b := a
			b.data = bytes.Clone(a.data)
			b.data[len(b.data)/2] ^= 1
			if err := same([]artefact{a}, []artefact{b}); err == nil {
				t.Error("a changed byte is not seen")
			}
			large := a
			large.size = most + 1
			if err := large.check(s, nil); err == nil {
				t.Error("a program that is too large is not seen")
			}
			later := *s
			later.time = s.time.Add(time.Hour)
			if err := a.check(&later, nil); err == nil {
				t.Error("files of another time are not seen")
			}
			list := filepath.Join(s.root, "contrib", "packages", "contents", "mailproxy."+kind)
			text, err := os.ReadFile(list)
			if err != nil {
				t.Fatal(err)
			}
			write(t, list, string(text)+"-rw-r--r-- root:root /etc/more\n")
			if err := a.check(s, nil); err == nil || !strings.Contains(err.Error(), "missing: -rw-r--r-- root:root /etc/more") {
				t.Errorf("a missing file: %v", err)
			}
			first, rest, _ := strings.Cut(string(text), "\n")
			write(t, list, rest)
			if err := a.check(s, nil); err == nil || !strings.Contains(err.Error(), "too much: "+first) {
				t.Errorf("a file too much: %v", err)
			}
		})
	}
}

// What is for a provider's users is in the daemon's packages, and nowhere else.
func TestDomains(t *testing.T) {
	s := pretend(t)
	more := generated{autoconfig: map[string][]byte{"north.test": []byte("xml")}}
	for _, kind := range []string{"deb", "rpm"} {
		files, err := products[0].linuxFiles(s, kind, []byte("program"), "notices", more)
		if err != nil {
			t.Fatal(err)
		}
		a, err := pack(s, &products[0], target{"linux", "arm64"}, kind, files, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		a.product, a.target = products[0].name, target{"plan9", "arm64"}
		if err := a.check(s, []string{"north.test"}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := a.check(s, nil); err == nil {
			t.Errorf("%s: a file for nobody is not seen", kind)
		}
		if err := a.check(s, []string{"north.test", "south.test"}); err == nil {
			t.Errorf("%s: a missing domain is not seen", kind)
		}
	}
	files, err := more.files(&products[1], "deb")
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(files, func(f file) bool { return strings.Contains(f.path, "thunderbird") }) {
		t.Error("a provider's package has files for users")
	}
}

func TestNoticeText(t *testing.T) {
	text := noticeText("it", map[string][]string{"licence A": {"m2", "m1"}, "licence B": {"m0"}})
	if want := "m1\nm2\n\nlicence A\n"; !strings.Contains(text, want) || strings.Index(text, "m0") > strings.Index(text, "m1") {
		t.Errorf("%q", text)
	}
}

func TestParseTargets(t *testing.T) {
	if list, err := parseTargets("linux/amd64,windows/amd64"); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := parseTargets("linux/amd64,beos/ppc"); err == nil || !strings.Contains(err.Error(), `no packages for "beos/ppc"`) {
		t.Errorf("%v", err)
	}
}
