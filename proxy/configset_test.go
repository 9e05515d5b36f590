package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const commented = `# mine
version = 1 # do not touch
[network]
document = 'network.note' # from north.test
keys = [
  'one', # Ann's
  'two',
]
threshold = 1

# Where Thunderbird connects.
[listen]
smtp = "127.0.0.1:3025" # not 1025
`

func TestSetConfig(t *testing.T) {
	for _, c := range []struct {
		name, doc, key string
		values         []string
		from, to       string // of what is replaced in doc
		err            string
	}{
		{"a text, and its comment stays", commented, "listen.smtp", []string{"127.0.0.1:4025"}, `"127.0.0.1:3025"`, `'127.0.0.1:4025'`, ""},
		{"a line that is new", commented, "listen.imap", []string{"127.0.0.1:4143"}, "# not 1025\n", "# not 1025\nimap = '127.0.0.1:4143'\n", ""},
		{"a list", commented, "network.keys", []string{"three"}, "[\n  'one', # Ann's\n  'two',\n]", "['three']", ""},
		{"a number", commented, "network.threshold", []string{"2"}, "threshold = 1", "threshold = 2", ""},
		{"a table that is new", commented, "mail.receipts", []string{"off"}, "# not 1025\n", "# not 1025\n\n[mail]\nreceipts = false\n", ""},
		{"at the top", commented, "dir", []string{"it's here"}, "# do not touch\n", "# do not touch\ndir = \"it's here\"\n", ""},
		{"a dotted key", strings.Replace(commented, "[listen]\nsmtp", "[listen]\nimap = '127.0.0.1:1'\n[mail]\n[listen.x]\nsmtp", 1), "listen.smtp", []string{"x"}, "", "", "settings that this program does not know"},
		{"dotted at the top", "version = 1\nmail.receipts = true\n[network]\ndocument = 'n'\nkeys = ['k']\nthreshold = 1\n", "mail.receipts", []string{"false"}, "true", "false", ""},
		{"on one line", "version = 1\nmail = { receipts = true }\n[network]\ndocument = 'n'\nkeys = ['k']\nthreshold = 1\n", "mail.receipts", []string{"false"}, "", "", "nothing was changed"},
		{"without an end of line", strings.TrimSuffix(commented, "\n"), "listen.pop3", []string{"127.0.0.1:5"}, "# not 1025", "# not 1025\npop3 = '127.0.0.1:5'\n", ""},

		{"one of two that are wrong", "version = 1\n[network]\ndocument = 'n'\n", "network.keys", []string{"k"}, "'n'\n", "'n'\nkeys = ['k']\n", ""},

		{"two listeners on a port", commented, "listen.imap", []string{"127.0.0.1:3025"}, "", "", "listen.imap and listen.smtp are both 127.0.0.1:3025"},
		{"for everybody", commented, "listen.imap", []string{"0.0.0.0:143"}, "", "", "not a loopback address"},
		{"no address", commented, "listen.imap", []string{"1143"}, "", "", "not an IP address and port"},
		{"an empty one that is needed", commented, "listen.imap", []string{""}, "", "", "listen.imap is empty"},
		{"more than there are keys", commented, "network.threshold", []string{"3"}, "", "", "network.threshold is 3, and there are 2 keys"},
		{"no keys", commented, "network.keys", nil, "", "", "network.keys names no key"},
		{"no number", commented, "network.threshold", []string{"many"}, "", "", `a whole number, not "many"`},
		{"neither yes nor no", commented, "mail.receipts", []string{"perhaps"}, "", "", `true or false, not "perhaps"`},
		{"two values", commented, "dir", []string{"a", "b"}, "", "", "takes one value, and there are 2"},
		{"no proxy", commented, "network.socks5", []string{"nowhere"}, "", "", "socks5"},
		{"a broken file", "version = ", "dir", []string{"x"}, "", "", "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "c.toml")
			if err := os.WriteFile(file, []byte(c.doc), 0o640); err != nil {
				t.Fatal(err)
			}
			s, err := FindSetting(c.key)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = SetConfig(file, s, c.values)
			b, rerr := os.ReadFile(file)
			if rerr != nil {
				t.Fatal(rerr)
			}
			want := c.doc
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				want = strings.Replace(c.doc, c.from, c.to, 1)
			}
			if string(b) != want {
				t.Errorf("the file is\n%s\nwant\n%s", b, want)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("its mode is %v, %v", info.Mode(), err)
			}
		})
	}
}

// TestSettings holds the commands to the file: what a fresh one has can be set, and
// nothing else.
func TestSettings(t *testing.T) {
	for _, s := range Settings() {
		if found, err := FindSetting(s.Key); err != nil || found.Key != s.Key {
			t.Errorf("%s: %v", s.Key, err)
		}
	}
	for _, key := range []string{"", "version", "listen", "Listen.SMTP", "moon"} {
		if _, err := FindSetting(key); err == nil || !strings.Contains(err.Error(), "there are dir, network.document") {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// FuzzEditTOML has files of any form edited: the result is the same but for one
// setting, or the file is refused.
func FuzzEditTOML(f *testing.F) {
	f.Add(commented, "x")
	f.Add("a = [1,\n[2]]\nlisten.smtp = '''\nx'''", "y]")
	f.Add("[listen]\r\nsmtp = \"\\u0022\" # \r\n[[listen]]", "\x00'\"")
	f.Fuzz(func(t *testing.T, doc, value string) {
		s, err := FindSetting("listen.smtp")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "c.toml")
		before, err := ParseConfig(file, []byte(doc))
		if err != nil {
			return
		}
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := SetConfig(file, s, []string{value}); err != nil {
			if b, rerr := os.ReadFile(file); rerr != nil || string(b) != doc {
				t.Fatalf("refused with %v, and yet changed: %q", err, b)
			}
			return
		}
		after, err := LoadConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		if after.Listen.SMTP != value || after.Network.Document != before.Network.Document {
			t.Fatalf("%q has SMTP %q", doc, after.Listen.SMTP)
		}
	})
}
