package mailbox

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"mailproxy/internal/store"
)

// large is a message of several chunks.
func large(n int) string {
	return fmt.Sprintf("Subject: large\r\nMessage-ID: <large%d@x.test>\r\n\r\n", n) + strings.Repeat("0123456789\r\n", 60_000)
}

// furnish fills an account with some of everything.
func furnish(w *world) {
	w.t.Helper()
	for n := range 5 {
		w.deliver(Inbox, letter(n), FlagSeen, "todo")
	}
	w.deliver(Inbox, large(1))
	w.deliver(Inbox, "no header at all, no line break, 8-bit: \xff")
	w.deliver(Inbox, "")
	w.deliver(Inbox, "From: a@x.test\nSubject: bare line feeds\n\nbody\n")
	w.deliver(Archive, "Message-ID: <tree@x.test>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntwo\r\n--b--\r\n")
	a := w.account()
	for _, name := range []string{"Work/2026", "old"} {
		if err := a.CreateFolder(name, ""); err != nil {
			w.t.Fatal(err)
		}
	}
	must(w.folder(Inbox).Copy([]uint32{1, 2, 6}, "Work/2026"))(w.t)
	must(w.folder(Inbox).Move([]uint32{3}, "Work"))(w.t)
	must(w.folder(Inbox).Remove([]uint32{5}))(w.t)
	if err := a.RenameFolder("old", "new"); err != nil {
		w.t.Fatal(err)
	}
	if err := a.DeleteFolder("new"); err != nil { // stays subscribed
		w.t.Fatal(err)
	}
}

// copy returns a world with the same store, which w closes.
func (w *world) copy(t *testing.T) *world {
	t.Helper()
	if err := w.st.Close(); err != nil {
		t.Fatal(err)
	}
	c := &world{t: t, dir: t.TempDir(), now: w.now}
	if err := os.CopyFS(c.dir, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	w.open()
	c.open()
	t.Cleanup(func() {
		if err := c.st.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// problems checks an open store.
func (w *world) problems() []string {
	w.t.Helper()
	r, err := w.mb.Check(context.Background(), CheckOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for _, p := range r.Problems {
		list = append(list, p.String())
	}
	return list
}

// bodies returns all messages that any folder shows, sorted.
func (w *world) bodies() []string {
	w.t.Helper()
	var all []string
	for _, info := range w.account().Folders() {
		if info.Missing {
			continue
		}
		f := w.folder(info.Name)
		for _, m := range must(f.Messages())(w.t) {
			all = append(all, string(must(f.Bytes(m))(w.t)))
		}
	}
	slices.Sort(all)
	return all
}

func TestCheckClean(t *testing.T) {
	w := newWorld(t)
	furnish(w)
	var done, total int64
	r, err := w.mb.Check(t.Context(), CheckOptions{Progress: func(d, n int64) { done, total = d, n }})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Clean() || r.Leftovers != 0 {
		t.Errorf("%d leftovers, problems: %v", r.Leftovers, r.Problems)
	}
	// Copies share a body.
	if r.Accounts != 1 || r.Folders != 8 || r.Messages != 12 || r.Bodies != 9 || done != r.Bytes || total != r.Bytes {
		t.Errorf("%+v, progress %d of %d", r, done, total)
	}
	repaired, err := w.mb.Repair(t.Context(), CheckOptions{})
	if err != nil || len(repaired.Done) > 0 {
		t.Errorf("nothing was wrong, and Repair did %q: %v", repaired.Done, err)
	}
}

// TestCheckLeftovers: what is staged is no leftover; what a crash left is, and Open
// removes it.
func TestCheckLeftovers(t *testing.T) {
	w := newWorld(t)
	furnish(w)
	g := must(w.mb.Stage([]byte(large(2))))(t)
	if p := w.problems(); len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
	look := func() int {
		t.Helper()
		return must(w.mb.Check(t.Context(), CheckOptions{}))(t).Leftovers
	}
	if n := look(); n != 0 {
		t.Errorf("%d leftovers while a message is staged", n)
	}
	if r := must(Check(t.Context(), w.st, CheckOptions{}))(t); r.Leftovers != 1 || !r.Clean() {
		t.Errorf("of a store that nobody uses: %+v", r)
	}
	w.reopen()
	if n := look(); n != 0 {
		t.Errorf("%d leftovers after Open", n)
	}
	_ = g
}

// find returns the key of a message's record, and the record.
func (w *world) record(folder string, uid uint32) ([]byte, messageRecord) {
	w.t.Helper()
	f := w.folder(folder)
	var rec messageRecord
	err := w.st.View(func(tx *store.Tx) (err error) {
		rec, err = getMessage(tx, f.id, uid)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return messageKey(f.id, uid), rec
}

// TestCheckMemory: memory that differs from the disk is a problem.
func TestCheckMemory(t *testing.T) {
	w := newWorld(t)
	furnish(w)
	f := w.folder(Inbox)
	must(f.Messages())(t)
	f.messages[0].Flags = []string{"other"}
	f.messages = slices.Delete(f.messages, 2, 3)
	text := strings.Join(w.problems(), "\n")
	for _, want := range []string{"UID 1: memory has other flags", "the disk has the message, and memory has not"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	if must(w.mb.Repair(t.Context(), CheckOptions{}))(t); len(w.problems()) > 0 {
		t.Errorf("after Repair: %q", w.problems())
	}
}

// TestCheckWhileUsed: deliveries and changes meanwhile are no problems.
func TestCheckWhileUsed(t *testing.T) {
	w := newWorld(t)
	a := w.account()
	done := make(chan error, 1)
	go func() {
		var err error
		for n := 0; n < 60 && err == nil; n++ {
			var id ID
			if id, err = a.Deliver(Inbox, []byte(large(n)), nil, start); err == nil && n%2 == 0 {
				f, _ := a.Folder(Inbox)
				_, err = f.Move([]uint32{id.UID}, Trash)
			}
		}
		done <- err
	}()
	for n := 0; ; n++ {
		r := must(w.mb.Check(t.Context(), CheckOptions{}))(t)
		if !r.Clean() || r.Leftovers != 0 {
			t.Fatalf("check %d: %d leftovers, %v", n, r.Leftovers, r.Problems)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}
