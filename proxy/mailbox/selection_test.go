package mailbox

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func (n News) String() string {
	s := fmt.Sprintf("expunged %v exists %d flags", n.Expunged, n.Exists)
	for _, m := range n.Flags {
		s += fmt.Sprintf(" %d%v", m.UID, m.Flags)
	}
	if n.Gone {
		s += " gone"
	}
	return s
}

func TestSelection(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.deliver(Inbox, letter(i))
	}
	f := w.folder(Inbox)
	sel := must(f.Select())(t)
	defer sel.Close()
	poll := func(expunge bool, want string) {
		t.Helper()
		if got := must(sel.Poll(expunge))(t).String(); got != want {
			t.Errorf("news: %s\nwant: %s", got, want)
		}
	}
	poll(true, "expunged [] exists 0 flags")

	w.deliver(Inbox, letter(4))
	w.deliver(Inbox, letter(5))
	must(f.SetFlags([]uint32{1}, FlagsAdd, []string{FlagSeen}))(t)
	select {
	case <-sel.Changed():
	default:
		t.Error("no wake-up after a delivery")
	}
	poll(false, `expunged [] exists 6 flags 1[\Seen]`)
	poll(false, "expunged [] exists 0 flags")

	// Without expunge, numbers stay.
	must(f.Remove([]uint32{2, 4}))(t)
	w.deliver(Inbox, letter(6))
	poll(false, "expunged [] exists 7 flags")
	if sel.Len() != 7 || sel.Seq(3) != 3 {
		t.Errorf("renumbered: %d messages, uid 3 is %d", sel.Len(), sel.Seq(3))
	}
	poll(true, "expunged [4 2] exists 0 flags")
	if sel.Len() != 5 || sel.Seq(3) != 2 || sel.Seq(2) != 0 {
		t.Errorf("%d messages, uid 3 is %d", sel.Len(), sel.Seq(3))
	}

	// What this session did itself is not told again, but what another did is.
	must(sel.SetFlags([]uint32{3}, FlagsAdd, []string{FlagFlagged}))(t)
	poll(true, "expunged [] exists 0 flags")
	must(f.SetFlags([]uint32{3}, FlagsAdd, []string{FlagSeen}))(t)
	must(sel.SetFlags([]uint32{3}, FlagsAdd, []string{FlagDraft}))(t)
	poll(true, `expunged [] exists 0 flags 3[\Draft \Flagged \Seen]`)

	must(f.Remove([]uint32{1}))(t)
	w.deliver(Inbox, letter(7))
	if gone := must(sel.Expunged())(t); !slices.Equal(gone, []int{1}) {
		t.Errorf("expunged %v", gone)
	}
	poll(true, "expunged [] exists 5 flags")
}

func TestSelectionOfADeletedFolder(t *testing.T) {
	w := newWorld(t)
	a := w.account()
	if err := a.CreateFolder("Work", ""); err != nil {
		t.Fatal(err)
	}
	w.deliver("Work", letter(1))
	f := w.folder("Work")
	sel := must(f.Select())(t)
	defer sel.Close()
	if err := a.RenameFolder("Work", "Play"); err != nil {
		t.Fatal(err)
	}
	w.deliver("Play", letter(2))
	if n := must(sel.Poll(true))(t); n.Exists != 2 || n.Gone {
		t.Errorf("after a rename: %v", n)
	}
	if err := a.DeleteFolder("Play"); err != nil {
		t.Fatal(err)
	}
	<-sel.Changed()
	if n := must(sel.Poll(true))(t); !n.Gone {
		t.Errorf("after deletion: %v", n)
	}
	if _, err := f.Message(1); !errors.Is(err, ErrNoFolder) {
		t.Errorf("message of a deleted folder: %v", err)
	}
	if _, err := f.SetFlags([]uint32{1}, FlagsAdd, []string{FlagSeen}); !errors.Is(err, ErrNoFolder) {
		t.Errorf("flags in a deleted folder: %v", err)
	}
	if _, err := a.Deliver("Play", []byte(letter(3)), nil, start); !errors.Is(err, ErrNoFolder) {
		t.Errorf("delivery to a deleted folder: %v", err)
	}
}
