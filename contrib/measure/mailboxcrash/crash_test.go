package main

import (
	"errors"
	"os"
	"testing"
	"time"

	"mailproxy/contrib/measure/torture"
	"mailproxy/internal/child"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

func TestMain(m *testing.M) {
	child.Main(parts)
	os.Exit(m.Run())
}

func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	o := torture.Options{Kills: 4, Life: 400 * time.Millisecond, Dir: t.TempDir(), Keep: true}
	if ok, err := newTorturer(o, 4).Run(t.Context()); err != nil || !ok {
		t.Fatalf("ok %v, %v", ok, err)
	}
}

// TestCheckNotices: what is not as clients were told is counted.
func TestCheckNotices(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	tt := newTorturer(torture.Options{Kills: 1, Life: 600 * time.Millisecond, Dir: t.TempDir()}, 3)
	for n := 0; n == 0 || len(tt.clients[0].msgs) == 0; n++ {
		if err := tt.Live(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if err := tt.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if l := tt.ledger; len(l.missing)+len(l.reused)+len(l.wrong) > 0 {
		t.Fatalf("before anything was done: %v, %v, %v", l.missing, l.reused, l.wrong)
	}
	lost := tt.clients[0].msgs[0]
	tamper(t, tt.Service().Store, func(a *mailbox.Account) error {
		f, err := a.Folder(lost.folder.name)
		if err != nil {
			return err
		}
		_, err = f.Remove([]uint32{lost.uid})
		return err
	})
	tt.clients[1].folders = append(tt.clients[1].folders, &folder{name: "own1/never", validity: 1, own: true})
	tt.ledger.give(place{1, 1}, 7)
	tt.ledger.give(place{1, 1}, 8)
	if err := tt.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := tt.ledger; len(l.missing) != 2 || len(l.reused) != 1 || l.OK() {
		t.Errorf("missing %v, reused %v", l.missing, l.reused)
	}
}

func tamper(t *testing.T, dir string, fn func(*mailbox.Account) error) {
	t.Helper()
	st, err := store.Open(storeOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	mb, err := mailbox.Open(st, mailbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := mb.Account(account)
	if err == nil {
		err = fn(a)
	}
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
}
