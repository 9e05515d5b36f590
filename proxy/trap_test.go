package proxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/storekey"
)

// looped has listeners on free ports.
var looped = ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true}

func noNetwork(string) mixclient.Network { return &versions{} }

// TestTrapStorageKeyReopensItsStore is a trap of others: a storage key that could not
// reopen its store. In each way of keeping it, and after it was changed from one to
// another, the key opens what was written before; another key is refused and harms
// nothing.
func TestTrapStorageKeyReopensItsStore(t *testing.T) {
	dir := t.TempDir()
	keyFile := filepath.Join(t.TempDir(), "key")
	words := "several words that open it"
	sources := storekey.Sources{KeyFile: keyFile, Passphrase: func(before int) (string, error) {
		if before > 0 {
			return "", storekey.ErrWrongPassphrase
		}
		return words, nil
	}}
	var there []string
	start := func(way string) {
		t.Helper()
		key, err := storekey.Open(dir, sources)
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		d, err := Open(Options{Dir: dir, StoreKey: key, Listen: looped, Network: noNetwork})
		if err != nil {
			t.Fatalf("%s: the store is not reopened: %v", way, err)
		}
		defer closeDaemon(t, d)
		var list []string
		if err := d.store.View(func(tx *store.Tx) (err error) { list, err = keys.List(tx); return err }); err != nil {
			t.Fatal(err)
		}
		if strings.Join(list, " ") != strings.Join(there, " ") {
			t.Errorf("%s: %v are there, want %v", way, list, there)
		}
		name := fmt.Sprintf("user%d@north.test", len(there))
		if err := keys.CreateIn(d.store, name, time.Now()); err != nil {
			t.Fatal(err)
		}
		there = append(there, name)
	}
	start("at first")
	start("plain")
	for _, to := range []storekey.To{
		{Way: storekey.Passphrase, Passphrase: func() (string, error) { return words, nil }},
		{Way: storekey.KeyFile, KeyFile: keyFile},
		{Way: storekey.Plain},
	} {
		if err := storekey.Change(dir, sources, to); err != nil {
			t.Fatalf("%s: %v", to.Way, err)
		}
		start(string(to.Way))
		start(string(to.Way) + " again")
	}

	// Another key is no key; after that the right one is still right.
	_, err := Open(Options{Dir: dir, StoreKey: make([]byte, store.KeySize), Listen: looped, Network: noNetwork})
	if !errors.Is(err, store.ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	start("after another key")
	// And no key is made for a store that has lost its own.
	if err := os.Rename(filepath.Join(dir, storekey.File), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	if _, err := storekey.Open(dir, sources); !errors.Is(err, storekey.ErrMissing) {
		t.Errorf("without its key: %v", err)
	}
	if err := os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, storekey.File)); err != nil {
		t.Fatal(err)
	}
	start("after it was away")
}

// TestSecondDaemon starts another daemon on the same data: it is told who has them.
func TestSecondDaemon(t *testing.T) {
	dir := t.TempDir()
	d := openDaemon(t, dir, &versions{})
	defer closeDaemon(t, d)
	_, err := Open(Options{Dir: dir, Listen: looped, Network: noNetwork})
	want := "mailproxy runs already with " + dir
	if runtime.GOOS != "windows" {
		want += fmt.Sprintf(", as process %d", os.Getpid())
	}
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestStatusBeforeStart asks for what the status page shows while an account is in the
// daemon and not started yet, as the page does at any time.
func TestStatusBeforeStart(t *testing.T) {
	const me = "me@north.test"
	d := openDaemon(t, t.TempDir(), &versions{})
	defer closeDaemon(t, d)
	if _, err := d.mail.CreateAccount(me); err != nil {
		t.Fatal(err)
	}
	r := &accountRecord{Address: me}
	err := d.store.Update(func(tx *store.Tx) error {
		if err := keys.Create(tx, me, time.Now()); err != nil {
			return err
		}
		return r.put(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.load(r); err != nil {
		t.Fatal(err)
	}
	if s := d.Status(); len(s.Accounts) != 1 || s.Accounts[0].Incomplete != 0 {
		t.Errorf("status %+v", s.Accounts)
	}
	if list, err := d.Contacts(me); err != nil || len(list) != 0 {
		t.Errorf("contacts %v, %v", list, err)
	}
}
