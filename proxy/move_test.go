package proxy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailproxy/internal/control"
	"mailproxy/internal/store"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/storekey"
	spoolserver "mailproxy/spool/server"
)

const (
	mover    = "carol@north.test" // who gets a new computer
	password = "kangaroo-paw-42"
	secret   = "several words that open it"
)

// TestMoveToANewComputer exports an account and imports it into another directory. Its
// mail, UIDs, contacts and password are there, mail goes on flowing both ways, nothing
// is lost or doubled, and whoever still runs the old data is refused.
func TestMoveToANewComputer(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	other := p.computer(t.TempDir()).run()
	other.add(restoredUser)
	old := p.computer(t.TempDir()).run()
	old.add(mover)
	other.send(restoredUser, mover, "first")
	old.gets(mover, "first")
	was, messages := old.inbox(mover)
	if _, err := was.SetFlags([]uint32{messages[0].UID}, mailbox.FlagsAdd, []string{"\\Seen"}); err != nil {
		t.Fatal(err)
	}
	validity, uid := was.UIDValidity(), messages[0].UID
	bundle, _ := old.daemon.account(mover).keys.Bundle()
	contacts, err := old.daemon.Contacts(mover)
	if err != nil || len(contacts) != 1 {
		t.Fatalf("contacts %v, %v", contacts, err)
	}

	// This may be in the outbox when the daemon is stopped, on its way, or there.
	old.send(mover, restoredUser, "before the move")
	file := filepath.Join(t.TempDir(), "carol.age")
	out, err := old.move(file).Export(t.Context()) // which stops the daemon
	if err != nil {
		t.Fatal(err)
	}
	if !out.Stopped || !slices.Equal(out.Addresses, []string{mover}) || out.Records == 0 || out.Bytes == 0 {
		t.Errorf("the export says %+v", out)
	}
	old.end()
	if err := old.start(); !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), file) {
		t.Errorf("a daemon starts on what was moved: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	other.send(restoredUser, mover, "while nobody reads")

	backup := old.copied()
	backupStore, err := store.Open(store.Options{Dir: filepath.Join(backup.dir, storekey.StoreDir), Key: must(storekey.Open(backup.dir, storekey.Sources{}))})
	if err != nil {
		t.Fatal(err)
	}
	// As a backup of the old computer is that was made just before the export.
	if err := errors.Join(backupStore.Update(func(tx *store.Tx) error { return tx.Delete(movedKey) }), backupStore.Close()); err != nil {
		t.Fatal(err)
	}

	fresh := p.computer(filepath.Join(t.TempDir(), "new"))
	in, err := fresh.move(file).Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(in.Addresses, out.Addresses) || in.Records != out.Records {
		t.Errorf("the import says %+v, the export %+v", in, out)
	}
	fresh.run()
	fresh.gets(mover, "first", "while nobody reads")
	is, messages := fresh.inbox(mover)
	if is.UIDValidity() != validity || messages[0].UID != uid || !messages[0].HasFlag("\\Seen") || messages[1].UID <= uid {
		t.Errorf("UIDVALIDITY %d, UIDs %d and %d, flags %v; they were %d, %d", is.UIDValidity(), messages[0].UID, messages[1].UID, messages[0].Flags, validity, uid)
	}
	if now, _ := fresh.daemon.account(mover).keys.Bundle(); !slices.Equal(now.Identity, bundle.Identity) {
		t.Error("the identity is another")
	}
	if now, err := fresh.daemon.Contacts(mover); err != nil || len(now) != 1 || !now[0].Since.Equal(contacts[0].Since) {
		t.Errorf("contacts %v, %v; they were %v", now, err, contacts)
	}
	fresh.send(mover, restoredUser, "from the new computer")
	other.gets(restoredUser, "before the move", "from the new computer")

	// The old data, by way of a backup.
	backup.run()
	p.until("the old daemon to be refused", func() bool {
		return strings.HasPrefix(backup.daemon.Status().Accounts[0].Problem, "the account is in use elsewhere")
	})
	other.send(restoredUser, mover, "after the old one came back")
	fresh.gets(mover, "after the old one came back", "first", "while nobody reads")
	if got := backup.subjects(mover); !slices.Equal(got, []string{"first"}) {
		t.Errorf("the old daemon has got %q", got)
	}
	if problem := fresh.daemon.Status().Accounts[0].Problem; problem != "" {
		t.Errorf("the new daemon has the problem %q", problem)
	}

	// Where there are accounts, none are imported.
	if _, err := fresh.move(file).Import(t.Context()); err == nil || !strings.Contains(err.Error(), "there are accounts in "+fresh.dir+" already ("+mover+")") {
		t.Errorf("import where there are accounts: %v", err)
	}
	fresh.gets(mover, "after the old one came back", "first", "while nobody reads")
}

// silence is what a command says that asks a daemon which does not run.
func (c *computer) silence() error {
	_, err := Control(c.dir).Status(c.p.t.Context())
	if !errors.Is(err, control.ErrNotRunning) {
		c.p.t.Errorf("where no daemon runs, a command says %v", err)
	}
	return err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of a test's own doing
	}
	return v
}

// TestMoveIsInterrupted ends exports and imports in the middle: there is one good copy.
func TestMoveIsInterrupted(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	c := p.computer(t.TempDir()).run()
	c.add(mover)
	c.end()
	file := filepath.Join(t.TempDir(), "carol.age")

	// An export that is ended while it writes leaves the account here, and no file.
	ctx, cancel := context.WithCancel(t.Context())
	m := c.move(file)
	m.Progress = func(int64) { cancel() }
	if _, err := m.Export(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("an export that is ended: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	c.run().end()

	// One that was killed leaves a part, which the next one replaces.
	if err := os.WriteFile(file+partSuffix, []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run().end()
	if _, err := c.move(file).Export(t.Context()); err != nil {
		t.Fatal(err)
	}
	// One that was killed before the file had its name: it gets that as soon as
	// somebody looks.
	if err := os.Rename(file, file+partSuffix); err != nil {
		t.Fatal(err)
	}
	if err := dropNote(c.dir); err != nil { // so do the words for who asks a daemon
		t.Fatal(err)
	}
	if err := c.start(); !errors.Is(err, ErrMoved) {
		t.Errorf("a daemon starts on what was moved: %v", err)
	}
	if err := c.silence(); !errors.Is(err, ErrMoved) {
		t.Errorf("after the start that was refused, a command says %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if _, err := c.move(file + "2").Export(t.Context()); !errors.Is(err, ErrMoved) {
		t.Errorf("what was moved is exported again: %v", err)
	}

	// An import of half a file, or with a wrong passphrase, or that is ended, leaves
	// a directory where the whole can be imported.
	whole := must(os.ReadFile(file))
	half := filepath.Join(t.TempDir(), "half.age")
	if err := os.WriteFile(half, whole[:len(whole)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := p.computer(filepath.Join(t.TempDir(), "new"))
	if _, err := fresh.move(half).Import(t.Context()); err == nil || !strings.Contains(err.Error(), half+" cannot be used: it is damaged or cut short") {
		t.Errorf("half a file: %v", err)
	}
	wrong := fresh.move(file)
	wrong.Passphrase = func() (string, error) { return "another one", nil }
	if _, err := wrong.Import(t.Context()); err == nil || !strings.Contains(err.Error(), "wrong passphrase: it does not open "+file) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	m = fresh.move(file)
	m.Progress = func(int64) { cancel() }
	if _, err := m.Import(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("an import that is ended: %v", err)
	}
	if _, err := os.Stat(filepath.Join(fresh.dir, storekey.StoreDir)); err == nil {
		t.Error("there is a store of an import that failed")
	}
	if err := os.MkdirAll(filepath.Join(fresh.dir, importingDir, "left by a crash"), 0o700); err != nil {
		t.Fatal(err)
	}
	fresh.run().end() // a daemon without accounts is in nobody's way
	if _, err := fresh.move(file).Import(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh.run()
	for _, name := range []string{importingDir, replacedDir} {
		if _, err := os.Stat(filepath.Join(fresh.dir, name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	p.until("the account to be read", func() bool {
		a := fresh.daemon.Status().Accounts
		return len(a) == 1 && a[0].Registered && a[0].Problem == ""
	})
}

// TestMoveBack undoes an export: the account is here again, and a daemon that has
// imported the file is refused.
func TestMoveBack(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	other := p.computer(t.TempDir()).run()
	other.add(restoredUser)
	c := p.computer(t.TempDir()).run()
	c.add(mover)
	if _, err := UndoExport(t.Context(), t.TempDir(), c.move("").Key); err == nil || !strings.Contains(err.Error(), "there are no accounts in") {
		t.Errorf("undo where nothing is: %v", err)
	}
	file := filepath.Join(t.TempDir(), "carol.age")
	if _, err := c.move(file).Export(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.end()
	if err := c.silence(); !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), file) {
		t.Errorf("after the export, a command says %v", err)
	}
	there := p.computer(filepath.Join(t.TempDir(), "new"))
	if _, err := there.move(file).Import(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := UndoExport(t.Context(), c.dir, c.move("").Key)
	if err != nil || !slices.Equal(list, []string{mover}) {
		t.Fatalf("undo: %v, %v", list, err)
	}
	if err := c.silence(); errors.Is(err, ErrMoved) {
		t.Errorf("after the export was undone, a command says %v", err)
	}
	if _, err := UndoExport(t.Context(), c.dir, c.move("").Key); err == nil || !strings.Contains(err.Error(), "there is nothing to undo") {
		t.Errorf("undo once more: %v", err)
	}
	c.run()
	there.run()
	p.until("the other to be refused", func() bool {
		return strings.HasPrefix(there.daemon.Status().Accounts[0].Problem, "the account is in use elsewhere")
	})
	other.send(restoredUser, mover, "back again")
	c.gets(mover, "back again")
	if problem := c.daemon.Status().Accounts[0].Problem; problem != "" {
		t.Errorf("the problem is %q", problem)
	}
}

// TestMoveWithoutMail leaves the mail behind. The folders are there and empty, what comes
// has UIDs that were never given out, and the old mail is on the old computer.
func TestMoveWithoutMail(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	other := p.computer(t.TempDir()).run()
	other.add(restoredUser)
	c := p.computer(t.TempDir()).run()
	c.add(mover)
	other.send(restoredUser, mover, "old mail")
	c.gets(mover, "old mail")
	was, messages := c.inbox(mover)
	m := c.move(filepath.Join(t.TempDir(), "carol.age"))
	m.WithoutMail = true
	if _, err := m.Export(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.end()
	fresh := p.computer(filepath.Join(t.TempDir(), "new"))
	in, err := fresh.move(m.File).Import(t.Context())
	if err != nil || !in.WithoutMail {
		t.Fatalf("%+v, %v", in, err)
	}
	fresh.run()
	other.send(restoredUser, mover, "new mail")
	fresh.gets(mover, "new mail")
	is, after := fresh.inbox(mover)
	if is.UIDValidity() != was.UIDValidity() || after[0].UID <= messages[0].UID {
		t.Errorf("UIDVALIDITY %d, UID %d; before they were %d, %d", is.UIDValidity(), after[0].UID, was.UIDValidity(), messages[0].UID)
	}
	fresh.end()
	for _, dir := range []string{fresh.dir, c.dir} {
		report, err := NewMailTool(dir, func() ([]byte, error) { return storekey.Open(dir, storekey.Sources{}) }).Check(t.Context())
		if err != nil || !report.Clean() || report.Messages == 0 {
			t.Errorf("check of %s: %+v, %v", dir, report, err)
		}
	}
}

// TestAheadHasAnEnd: the count of starts does not begin anew.
func TestAheadHasAnEnd(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	c := p.computer(t.TempDir()).run()
	c.add(mover)
	before := c.daemon.account(mover).keys.Nonce()
	if err := c.daemon.store.Update(func(tx *store.Tx) error { return keys.Ahead(tx, aheadImport) }); err != nil {
		t.Fatal(err)
	}
	again, err := keys.Load(c.daemon.store, mover, p.now)
	if err != nil {
		t.Fatal(err)
	}
	if n := again.Nonce(); n>>32 != before>>32+aheadImport+1 {
		t.Errorf("%d starts are counted, %d were", n>>32, before>>32)
	}
	if err := c.daemon.store.Update(func(tx *store.Tx) error { return keys.Ahead(tx, 1<<32-1) }); !errors.Is(err, keys.ErrRecord) {
		t.Errorf("beyond the end: %v", err)
	}
}
