package mailbox

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailproxy/internal/store"
)

// TestTrapUIDValidityOverAReset is for one that is the same after it.
func TestTrapUIDValidityOverAReset(t *testing.T) {
	w := newWorld(t)
	a := w.account()
	if err := a.CreateFolder("Work", ""); err != nil {
		t.Fatal(err)
	}
	first := w.folder("Work").UIDValidity()
	w.deliver("Work", letter(1))
	w.reopen()
	if v := w.folder("Work").UIDValidity(); v != first {
		t.Errorf("changed over a restart: %d, was %d", v, first)
	}
	for i := range 3 {
		// The clock jumps back: the counter still goes up.
		w.now = start.Add(-time.Duration(i) * 1000 * time.Hour)
		if err := w.account().DeleteFolder("Work"); err != nil {
			t.Fatal(err)
		}
		if err := w.account().CreateFolder("Work", ""); err != nil {
			t.Fatal(err)
		}
		v := w.folder("Work").UIDValidity()
		if v <= first {
			t.Errorf("made again: %d, before %d", v, first)
		}
		first = v
		if id := w.deliver("Work", letter(1)); id.UID != 1 || id.UIDValidity != v {
			t.Errorf("first message of the new folder: %+v", id)
		}
	}
	seen := make(map[uint32]string)
	for _, f := range w.account().Folders() {
		v := w.folder(f.Name).UIDValidity()
		if seen[v] != "" {
			t.Errorf("%s and %s share UIDVALIDITY %d", f.Name, seen[v], v)
		}
		seen[v] = f.Name
	}
}

func TestFolders(t *testing.T) {
	w := newWorld(t)
	a := w.account()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	fails := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	ok(a.CreateFolder("Work/2026/Project/", ""))
	w.folder("Work/2026")
	fails(a.CreateFolder("Work", ""), ErrExists)
	fails(a.CreateFolder("InBox", ""), ErrExists)
	fails(a.CreateFolder("Other", UseSent), ErrExists)
	fails(a.CreateFolder("Other", `\Nonsense`), ErrName)
	for _, bad := range []string{"", "/", "a//b", "/a", "a\x00b", "a\r\nb", "x*", "%", "\xff", strings.Repeat("x", 600)} {
		fails(a.CreateFolder(bad, ""), ErrName)
	}
	fails(a.DeleteFolder("inbox"), ErrName)
	if err := a.DeleteFolder("inbox"); err.Error() != "INBOX always exists, and cannot be deleted" {
		t.Errorf("what mail programs show is %q", err)
	}
	fails(a.DeleteFolder("Work"), ErrHasChildren)
	fails(a.DeleteFolder("Nowhere"), ErrNoFolder)
	fails(a.RenameFolder("Work", "Work/below"), ErrName)
	fails(a.RenameFolder("Work", "Sent"), ErrExists)
	fails(a.RenameFolder("Nowhere", "x"), ErrNoFolder)

	id := w.deliver("Work/2026", letter(1))
	f := w.folder("Work/2026")
	ok(a.RenameFolder("Work", "Old/Work"))
	if f.Name() != "Old/Work/2026" || f.UIDValidity() != id.UIDValidity {
		t.Errorf("renamed to %s", f.Name())
	}
	if w.folder("Old/Work/2026") != f {
		t.Error("a renamed folder is another folder")
	}
	if _, err := a.Folder("Work"); !errors.Is(err, ErrNoFolder) {
		t.Errorf("the old name: %v", err)
	}

	w.deliver(Inbox, letter(2))
	w.deliver(Inbox, letter(3))
	ok(a.RenameFolder("inbox", "Kept"))
	if len(w.uids(Inbox)) != 0 || len(w.uids("Kept")) != 2 {
		t.Errorf("renaming the inbox: %v left, %v moved", w.uids(Inbox), w.uids("Kept"))
	}

	ok(a.Unsubscribe("Kept"))
	ok(a.DeleteFolder("Old/Work/2026/Project"))
	fails(a.Subscribe("Nowhere"), ErrNoFolder)
	w.reopen()
	for _, info := range w.account().Folders() {
		if info.Name == "Kept" && info.Subscribed {
			t.Error("Kept is subscribed")
		}
		if missing := info.Name == "Old/Work/2026/Project"; missing != info.Missing || missing && !info.Subscribed {
			t.Errorf("folder %+v", info)
		}
	}
	if got := w.uids("Old/Work/2026"); len(got) != 1 {
		t.Errorf("messages after renames and restart: %v", got)
	}
}

// TestUIDsRunOut is for the last UID, which would make UIDNEXT 0.
func TestUIDsRunOut(t *testing.T) {
	w := newWorld(t)
	f := w.folder(Inbox)
	err := w.st.Update(func(tx *store.Tx) error { return tx.Set(uidNextKey(f.id), number(1<<32-2)) })
	if err != nil {
		t.Fatal(err)
	}
	w.deliver(Inbox, letter(1))
	if _, err := w.account().Deliver(Inbox, []byte(letter(2)), nil, start); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the last UID: %v", err)
	}
}

func TestOpenRefusesOtherVersion(t *testing.T) {
	w := newWorld(t)
	if err := w.st.Update(func(tx *store.Tx) error { return tx.Set(versionKey, number(99)) }); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(w.st, Options{}); !errors.Is(err, store.ErrVersion) {
		t.Errorf("got %v", err)
	}
}

// TestManySessions delivers, flags, moves and expunges from many goroutines and
// checks that memory, store and every view end up the same.
func TestManySessions(t *testing.T) {
	w := newWorld(t)
	a := w.account()
	inbox := w.folder(Inbox)
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		sel := must(inbox.Select())(t)
		readers.Go(func() {
			defer sel.Close()
			for {
				select {
				case <-sel.Changed():
				case <-stop:
				}
				if _, err := sel.Poll(true); err != nil {
					t.Error(err)
					return
				}
				last := uint32(0)
				for i := 1; i <= sel.Len(); i++ {
					if sel.UID(i) <= last {
						t.Errorf("uid %d after %d", sel.UID(i), last)
					}
					last = sel.UID(i)
				}
				select {
				case <-stop:
					list, err := inbox.Messages()
					if err != nil || len(list) != sel.Len() {
						t.Errorf("a view has %d messages, the folder %d, %v", sel.Len(), len(list), err)
					}
					return
				default:
				}
			}
		})
	}
	for g := range 4 {
		writers.Go(func() {
			for i := range 15 {
				id, err := a.Deliver(Inbox, []byte(letter(100*g+i)), nil, start)
				if err != nil {
					t.Error(err)
					return
				}
				switch i % 4 {
				case 1:
					_, err = inbox.SetFlags([]uint32{id.UID}, FlagsAdd, []string{FlagSeen})
				case 2:
					_, err = inbox.Move([]uint32{id.UID}, Archive)
				case 3:
					_, err = inbox.Remove([]uint32{id.UID})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	memory := [][]uint32{w.uids(Inbox), w.uids(Archive)}
	if len(memory[0]) != 4*8 || len(memory[1]) != 4*4 {
		t.Errorf("%d and %d messages", len(memory[0]), len(memory[1]))
	}
	w.reopen()
	if !slices.Equal(memory[0], w.uids(Inbox)) || !slices.Equal(memory[1], w.uids(Archive)) {
		t.Error("memory and store differ")
	}
}
