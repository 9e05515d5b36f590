package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSOCKS5Setting checks how the address of a proxy is read: one that is wrong is
// refused, and never taken for none.
func TestSOCKS5Setting(t *testing.T) {
	for _, test := range []struct {
		line, refused string
		set           bool
	}{
		{``, "", false},
		{`socks5 = ""`, "", false},
		{`socks5 = "127.0.0.1:9050"`, "", true},
		{`socks5 = "localhost:9150"`, "", true},
		{`socks5 = "127.0.0.1"`, `socks5 = "127.0.0.1" is not the address of a SOCKS5 proxy`, false},
		{`socks5 = "socks5://127.0.0.1:9050"`, "is not the address of a SOCKS5 proxy", false},
		{`socks = "127.0.0.1:9050"`, "settings that this program does not know", false},
	} {
		file := filepath.Join(t.TempDir(), "mailproxy.toml")
		text := "version = 1\n[network]\ndocument = 'network.note'\n" + test.line + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(file)
		if test.refused != "" {
			if err == nil || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s: %v, want %q", test.line, err, test.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		if open, err := c.Network.Dialer(); err != nil || (open != nil) != test.set {
			t.Errorf("%s: a dialer: %v, %v", test.line, open != nil, err)
		}
	}
}
