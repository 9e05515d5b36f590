package storekey

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"mailproxy/internal/store"
)

// cheap is a cost for tests of everything but the cost.
var cheap = Cost{Time: 1, Memory: 64, Lanes: 1}

// says answers with one passphrase after the other, and the last one again.
func says(list ...string) func(int) (string, error) {
	return func(before int) (string, error) { return list[min(before, len(list)-1)], nil }
}

func passphrase(p string) To {
	return To{Way: Passphrase, Cost: cheap, Passphrase: func() (string, error) { return p, nil }}
}

func file(t *testing.T, dir string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWays(t *testing.T) {
	dir, c := t.TempDir(), newChain()
	stick := filepath.Join(t.TempDir(), "stick.key")
	from := Sources{Keychain: c}
	key, err := Open(dir, from)
	if err != nil || len(key) != store.KeySize || bytes.Equal(key, make([]byte, store.KeySize)) {
		t.Fatalf("key %x, %v", key, err)
	}
	if err := os.Mkdir(filepath.Join(dir, StoreDir), 0o700); err != nil {
		t.Fatal(err)
	}
	now := ""
	from.Passphrase = func(int) (string, error) { return now, nil }
	for _, step := range []struct {
		to   To
		now  string
		want Info
	}{
		{passphrase("first of them all"), "first of them all", Info{Way: Passphrase, Cost: &cheap, Exists: true}},
		{passphrase("second of them all"), "second of them all", Info{Way: Passphrase, Cost: &cheap, Exists: true}},
		{To{Way: KeyFile, KeyFile: stick}, "", Info{Way: KeyFile, KeyFile: stick, Exists: true}},
		{To{Way: Keychain}, "", Info{Way: Keychain, Exists: true}},
		{To{Way: Keychain}, "", Info{Way: Keychain, Exists: true}},
		{To{Way: Plain}, "", Info{Way: Plain, Exists: true}},
		{To{Way: Plain}, "", Info{Way: Plain, Exists: true}},
		{To{Way: KeyFile, KeyFile: stick}, "", Info{Way: KeyFile, KeyFile: stick, Exists: true}}, // there already
		{passphrase("third of them all"), "third of them all", Info{Way: Passphrase, Cost: &cheap, Exists: true}},
	} {
		if err := Change(dir, from, step.to); err != nil {
			t.Fatalf("to %s: %v", step.to.Way, err)
		}
		now = step.now
		got, err := Open(dir, from)
		if err != nil || !bytes.Equal(got, key) {
			t.Fatalf("%s: %x, %v", step.to.Way, got, err)
		}
		info, err := Inspect(dir)
		if err != nil {
			t.Fatal(err)
		}
		if step.to.Way == Keychain && (len(c.items) != 1 || c.items[info.Keychain] == "") {
			t.Errorf("the keychain has %d items, the key is in %q", len(c.items), info.Keychain)
		}
		if step.to.Way != Keychain && len(c.items) != 0 {
			t.Errorf("%d items are left in the keychain", len(c.items))
		}
		if info.Way != step.want.Way || info.KeyFile != step.want.KeyFile || (info.Cost == nil) != (step.want.Cost == nil) || !info.Exists {
			t.Errorf("%+v, want %+v", info, step.want)
		}
		if info.Way != Plain && bytes.Contains(file(t, dir), key) {
			t.Errorf("%s: the file holds the key", info.Way)
		}
	}
}

// The costs are RFC 9106's, section 4, "SECOND RECOMMENDED option".
func TestDefaultCost(t *testing.T) {
	if got := DefaultCost(); got != (Cost{Time: 3, Memory: 1 << 16, Lanes: 4}) || saltSize != 16 {
		t.Errorf("%+v", got)
	}
	dir := t.TempDir()
	to := passphrase("correct horse battery")
	to.Cost = Cost{}
	if err := Change(dir, Sources{}, to); err != nil {
		t.Fatal(err)
	}
	if i, err := Inspect(dir); err != nil || *i.Cost != DefaultCost() {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := Open(dir, Sources{Passphrase: says("correct horse battery")}); err != nil {
		t.Error(err)
	}
}

func TestWrongPassphrase(t *testing.T) {
	dir := t.TempDir()
	if err := Change(dir, Sources{}, passphrase("correct horse battery")); err != nil {
		t.Fatal(err)
	}
	before := file(t, dir)
	asked := 0
	wrong := Sources{Passphrase: func(n int) (string, error) {
		if n != asked {
			t.Errorf("asked for the %dth time, told %d", asked, n)
		}
		asked++
		return []string{"correct horse batterx", "", "a\x00b"}[n], nil
	}}
	if _, err := Open(dir, wrong); !errors.Is(err, ErrWrongPassphrase) || asked != tries {
		t.Errorf("%v after %d", err, asked)
	}
	asked = 0
	if err := Change(dir, wrong, passphrase("another one of those")); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("changed with a wrong passphrase: %v", err)
	}
	if !bytes.Equal(before, file(t, dir)) {
		t.Error("a wrong passphrase changed the file")
	}
	if _, err := Open(dir, Sources{Passphrase: says("no", "correct horse battery")}); err != nil {
		t.Errorf("right the second time: %v", err)
	}
	if _, err := Open(dir, Sources{}); !errors.Is(err, ErrNoPassphrase) {
		t.Errorf("nobody to ask: %v", err)
	}
	gone := errors.New("the terminal is gone")
	if _, err := Open(dir, Sources{Passphrase: func(int) (string, error) { return "", gone }}); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	if err := Change(t.TempDir(), Sources{}, passphrase("too short")); err == nil || !strings.Contains(err.Error(), "9 characters") {
		t.Errorf("a short passphrase: %v", err)
	}
}

// The same letters come in different bytes from different keyboards (RFC 8265).
func TestPassphraseForms(t *testing.T) {
	dir := t.TempDir()
	if err := Change(dir, Sources{}, passphrase("zwölf Boxkämpfer")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Sources{Passphrase: says("zwo\u0308lf\u00a0Boxka\u0308mpfer")}); err != nil {
		t.Error(err)
	}
}

func TestKeyFile(t *testing.T) {
	dir, stick := t.TempDir(), filepath.Join(t.TempDir(), "stick.key")
	if err := Change(dir, Sources{}, To{Way: KeyFile, KeyFile: filepath.Join(dir, File)}); err == nil || !strings.Contains(err.Error(), "another one") {
		t.Errorf("the sealed key's own file: %v", err)
	}
	if err := Change(dir, Sources{}, To{Way: KeyFile, KeyFile: filepath.Join(dir, "none", "k")}); err == nil {
		t.Error("a key file where no directory is")
	}
	if err := Change(dir, Sources{}, To{Way: KeyFile, KeyFile: stick}); err != nil {
		t.Fatal(err)
	}
	key, err := Open(dir, Sources{})
	if err != nil {
		t.Fatal(err)
	}
	moved := stick + ".moved"
	if err := os.Rename(stick, moved); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Sources{}); !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), KeyFileEnv) {
		t.Errorf("missing: %v", err)
	}
	if got, err := Open(dir, Sources{KeyFile: moved}); err != nil || !bytes.Equal(got, key) {
		t.Errorf("moved: %x, %v", got, err)
	}
	for what, b := range map[string][]byte{"another": make([]byte, store.KeySize), "cut": make([]byte, 31), "large": make([]byte, maxFile+1)} {
		if err := os.WriteFile(stick, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Sources{}); err == nil || errors.Is(err, ErrWrongPassphrase) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(moved, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Sources{KeyFile: moved}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("for all to read: %v", err)
		}
	}
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	if i, err := Inspect(dir); err != nil || i.Exists || i.Way != Plain {
		t.Errorf("new: %+v, %v", i, err)
	}
	if err := os.Mkdir(filepath.Join(dir, StoreDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"open":    func() error { _, err := Open(dir, Sources{}); return err },
		"inspect": func() error { _, err := Inspect(dir); return err },
		"change":  func() error { return Change(dir, Sources{}, passphrase("correct horse battery")) },
	} {
		if err := try(); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, File)); err == nil {
		t.Error("a key was made for a store that has another")
	}
}

// Damage is never taken for a wrong passphrase, wherever it is.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	if err := Change(dir, Sources{}, passphrase("correct horse battery")); err != nil {
		t.Fatal(err)
	}
	good := file(t, dir)
	from := Sources{Passphrase: says("correct horse battery")}
	try := func(what string, raw []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, File), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, from); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		if err := Change(dir, from, To{Way: Plain}); !errors.Is(err, ErrDamaged) {
			t.Errorf("change, %s: %v", what, err)
		}
		if !bytes.Equal(raw, file(t, dir)) {
			t.Errorf("%s: replaced", what)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		try("one bit", bad)
	}
	for _, n := range []int{0, 1, len(magic), len(magic) + sumSize, len(good) - 1} {
		try("cut", good[:n])
	}
	try("longer", append(bytes.Clone(good), 0))
}

// The key that lay unprotected is overwritten when it is sealed, but for a backup's.
func TestPlainKeyIsOverwritten(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there an open file is not replaced")
	}
	for _, linked := range []bool{false, true} {
		dir := t.TempDir()
		key, err := Open(dir, Sources{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(filepath.Join(dir, File))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if linked {
			if err := os.Link(f.Name(), filepath.Join(t.TempDir(), "backup")); err != nil {
				t.Fatal(err)
			}
		}
		if err := Change(dir, Sources{}, passphrase("correct horse battery")); err != nil {
			t.Fatal(err)
		}
		former := make([]byte, store.KeySize)
		if _, err := f.ReadAt(former, 0); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(former, key) != linked {
			t.Errorf("with a backup %t: the former file holds %x", linked, former)
		}
	}
}

func TestChangedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	to := passphrase("mine and mine alone")
	to.Passphrase = func() (string, error) { // while the user thinks
		return "mine and mine alone", Change(dir, Sources{}, passphrase("somebody else's one"))
	}
	if err := Change(dir, Sources{}, to); !errors.Is(err, ErrChanged) {
		t.Errorf("%v", err)
	}
	if _, err := Open(dir, Sources{Passphrase: says("somebody else's one")}); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	dir := f.TempDir()
	if err := Change(dir, Sources{}, passphrase("correct horse battery")); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(make([]byte, store.KeySize))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parse("dir", raw)
		if (r == nil) == (err == nil) {
			t.Fatal("neither a record nor an error")
		}
		if err == nil && r.Way != Plain {
			if _, err := r.open(make([]byte, store.KeySize)); !errors.Is(err, errSeal) {
				t.Errorf("a key of zeros opens it, or %v", err)
			}
		}
	})
}

// TestErase: nothing opens the store any more, whatever way it was kept.
func TestErase(t *testing.T) {
	for what, to := range map[string]*To{"plain": nil, "passphrase": new(passphrase("one two three four")), "keychain": {Way: Keychain}} {
		dir, c := t.TempDir(), newChain()
		from := Sources{Keychain: c}
		if _, err := Open(dir, from); err != nil {
			t.Fatal(err)
		}
		if to != nil {
			if err := Change(dir, from, *to); err != nil {
				t.Fatal(err)
			}
		}
		if want := what == "keychain"; (len(c.items) == 1) != want {
			t.Errorf("%s: %d items in the keychain", what, len(c.items))
		}
		for range 2 { // twice does no harm
			if err := Erase(dir, from); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) > 0 || len(c.items) > 0 {
			t.Errorf("%s: %v and %d items are left, %v", what, list, len(c.items), err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, File), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Erase(dir, Sources{Keychain: newChain()}); err == nil {
		t.Error("a record that says nothing was erased")
	}
}
