package nodedir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"mailproxy/mixnet/directory"
)

var mix = directory.Node{Name: "mix1a", Operator: "someone", Role: directory.RoleMix, Layer: 1, Address: "192.0.2.1:4000"}

func config(r directory.Role) Config {
	return Config{Version: ConfigVersion, Role: r, Listen: ":4000", Network: NetworkConfig{Document: "network.note"}}
}

func TestMakeTwiceKeepsTheKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	file := filepath.Join(dir, "mixnode.toml")
	first, err := Make(dir, file, mix, config(mix.Role))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.Config, []byte("# the operator's own\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := Make(dir, file, mix, config(mix.Role))
	if err != nil {
		t.Fatal(err)
	}
	if !first.NewKey || second.NewKey || first.Kept || !second.Kept || !bytes.Equal(first.Entry, second.Entry) {
		t.Errorf("first %+v, second %+v", first, second)
	}
	other := mix
	other.Layer = 2
	if _, err := Make(dir, file, other, config(mix.Role)); err == nil || !strings.Contains(err.Error(), "another node than asked for") {
		t.Errorf("another entry: %v", err)
	}
	if now, err := os.ReadFile(filepath.Join(dir, identityFile)); err != nil || !bytes.Equal(now, key) {
		t.Errorf("the key was replaced: %v", err)
	}
	if text, err := os.ReadFile(first.Config); err != nil || string(text) != "# the operator's own\n" {
		t.Errorf("the configuration was replaced: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	nodes, err := directory.ParseEntries(first.Entry)
	if err != nil || len(nodes) != 1 || nodes[0].Layer != 1 {
		t.Errorf("the entry cannot be read: %v, %+v", err, nodes)
	}

	// A key that is lost is not replaced either: the network knows the old one.
	if err := os.Remove(filepath.Join(dir, identityFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(dir, filepath.Join(dir, "mixnode.toml"), mix, config(mix.Role)); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("lost key: %v", err)
	}
}

func TestMakeAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	entries := make([]*Made, 8)
	for i := range entries {
		wg.Go(func() {
			var err error
			if entries[i], err = Make(dir, filepath.Join(dir, "mixnode.toml"), mix, config(mix.Role)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, m := range entries {
		if m != nil && !bytes.Equal(m.Entry, entries[0].Entry) {
			t.Error("two processes made two keys")
		}
	}
}

func TestSecretsAreSecret(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such bits")
	}
	dir := t.TempDir()
	if _, err := Make(dir, filepath.Join(dir, "mixnode.toml"), mix, config(mix.Role)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, identityFile)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Identity(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Identity(dir); err == nil || !strings.Contains(err.Error(), "not a private key") {
		t.Errorf("a key that is none: %v", err)
	}
}

func TestKey(t *testing.T) {
	dir := t.TempDir()
	file, opens := filepath.Join(dir, "store.key"), filepath.Join(dir, "store")
	a, err := Key(file, 32, opens)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Key(file, 32, opens)
	if err != nil || !bytes.Equal(a, b) || len(a) != 32 {
		t.Errorf("second time another key: %v", err)
	}
	if _, err := Key(file, 16, opens); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("wrong size: %v", err)
	}
	if err := errors.Join(os.Remove(file), os.Mkdir(opens, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := Key(file, 32, opens); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("a lost key: %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, test := range []struct{ name, text, says string }{
		{"no version", "listen = ':1'\n[network]\ndocument = 'x'\n", "version 0"},
		{"newer", "version = 2\nlisten = ':1'\n[network]\ndocument = 'x'\n", "version 2, this program reads 1"},
		{"syntax", "version = \n", "line 1, column"},
		{"unknown", "version = 1\ncolour = 'red'\n", "colour"},
		{"no document", "version = 1\nlisten = ':1'\n", "network.document"},
		{"no listen", "version = 1\n[network]\ndocument = 'x'\n", "set listen"},
	} {
		file := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var c Config
		if err := Read(file, &c, &c); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	var c Config
	if err := Read(filepath.Join(t.TempDir(), "none"), &c, &c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := c.Document(); err == nil || !strings.Contains(err.Error(), "trusts nobody") {
		t.Errorf("no keys: %v", err)
	}
}

// A configuration that is kept apart from the keys, as packages have it in /etc.
func TestConfigurationApart(t *testing.T) {
	top := t.TempDir()
	dir, etc := filepath.Join(top, "var", "mix1"), filepath.Join(top, "etc")
	if err := os.Mkdir(etc, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ asked, file, state string }{
		{"", filepath.Join(dir, "mixnode.toml"), ""},
		{filepath.Join(dir, "other.toml"), filepath.Join(dir, "other.toml"), ""},
		{filepath.Join(etc, "mix1.toml"), filepath.Join(etc, "mix1.toml"), dir},
	} {
		file, state, err := Place(dir, "mixnode.toml", c.asked)
		if err != nil || file != c.file || state != c.state {
			t.Errorf("asked for %q: %q, %q, %v", c.asked, file, state, err)
			continue
		}
		cfg := config(mix.Role)
		cfg.State = state
		if m, err := Make(dir, file, mix, cfg); err != nil || m.Config != c.file || m.Kept {
			t.Errorf("%+v, %v", m, err)
		}
		var read Config
		if err := Read(file, &read, &read); err != nil || read.Dir() != dir || read.Network.Document != filepath.Join(filepath.Dir(file), "network.note") {
			t.Errorf("%q says %q and %q, %v", file, read.Dir(), read.Network.Document, err)
		}
		if found, err := Find(file); err != nil || found != dir {
			t.Errorf("%q is found at %q, %v", file, found, err)
		}
	}
	// What else is wrong with the configuration does not keep its directory from being found.
	file := filepath.Join(etc, "wrong.toml")
	for text, want := range map[string]string{
		"version = 99\nnew = true\nstate = '../var/mix1'\n": dir,
		"version = 1\n": etc,
		"state = [":     "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := Find(file); found != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, found, err)
		}
	}
	if _, err := Find(filepath.Join(etc, "none.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
