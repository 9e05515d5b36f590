package storekey

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"
)

// chain is a keychain in memory; err is what it answers if it is not there.
type chain struct {
	items map[string]string
	err   error
}

func newChain() *chain { return &chain{items: map[string]string{}} }

func (c *chain) Set(name, secret string) error {
	if c.err == nil {
		c.items[name] = secret
	}
	return c.err
}

func (c *chain) Get(name string) (string, error) {
	if c.err != nil {
		return "", c.err
	}
	s, ok := c.items[name]
	if !ok {
		return "", keyring.ErrNotFound
	}
	return s, nil
}

func (c *chain) Delete(name string) error {
	delete(c.items, name)
	return c.err
}

// Design section 8: "a missing OS keychain reported as a wrong password".
func TestTrapMissingKeychainIsNoWrongPassphrase(t *testing.T) {
	c := newChain()
	from := Sources{Keychain: c, Passphrase: says("whatever it may be")}
	c.err = errors.New("no bus")
	dir := t.TempDir()
	key, err := Open(dir, from)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error, want ...string) {
		t.Helper()
		if !errors.Is(err, ErrNoKeychain) || errors.Is(err, ErrWrongPassphrase) {
			t.Fatalf("%s: %v", what, err)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q lacks %q", what, err, w)
			}
		}
	}
	check("choose it", Change(dir, from, To{Way: Keychain}), "no bus", "--passphrase", "--key-file", "nothing was changed", "Secret Service")
	if now := file(t, dir); !bytes.Equal(now, key) {
		t.Fatal("something was changed")
	}
	c.err = nil
	if err := Change(dir, from, To{Way: Keychain}); err != nil {
		t.Fatal(err)
	}
	c.err = errors.New("no bus")
	_, err = Open(dir, from)
	check("open", err, "no bus", "the mail is safe", "--passphrase", "--key-file", "Secret Service")
	c.err = nil
	kept := c.items
	c.items = map[string]string{}
	_, err = Open(dir, from)
	check("another keychain", err, "another user's keychain", "backup")
	for name := range kept {
		for _, bad := range []string{"", "?", "AAAA", strings.Repeat("A", 43) + "="} {
			c.items[name] = bad
			_, err = Open(dir, from)
			check("a keychain with "+bad, err, "restore the keychain")
		}
	}
	c.items = kept
	if got, err := Open(dir, from); err != nil || !bytes.Equal(got, key) {
		t.Errorf("%x, %v", got, err)
	}
}

// The keychain of this very system, whatever it is, answers in one of two ways.
func TestSystemKeychain(t *testing.T) {
	if runtime.GOOS == "linux" { // where there is perhaps one, which is not for tests
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "nothing"))
		if err := Change(t.TempDir(), Sources{}, To{Way: Keychain}); !errors.Is(err, ErrNoKeychain) {
			t.Errorf("without a bus: %v", err)
		}
	}
	keyring.MockInit()
	dir := t.TempDir()
	if err := Change(dir, Sources{}, To{Way: Keychain}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Sources{}); err != nil {
		t.Error(err)
	}
}
