package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A world is a store in a directory, which can be opened again.
type world struct {
	t   *testing.T
	dir string
	now time.Time
	st  *store.Store
	mb  *Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: start}
	w.open()
	t.Cleanup(func() {
		if err := w.st.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.st, err = store.Open(store.Options{Dir: w.dir}); err != nil {
		w.t.Fatal(err)
	}
	if w.mb, err = Open(w.st, Options{Now: func() time.Time { return w.now }}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reopen() {
	w.t.Helper()
	if err := w.st.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

func (w *world) account() *Account {
	w.t.Helper()
	a, err := w.mb.Account("ann@north.test")
	if errors.Is(err, ErrNoAccount) {
		a, err = w.mb.CreateAccount("ann@north.test")
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) folder(name string) *Folder {
	w.t.Helper()
	f, err := w.account().Folder(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *world) deliver(folder, raw string, flags ...string) ID {
	w.t.Helper()
	id, err := w.account().Deliver(folder, []byte(raw), flags, start)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func letter(n int) string {
	return fmt.Sprintf("From: a@x.test\r\nSubject: number %d\r\nMessage-ID: <m%d@x.test>\r\n\r\nbody %d\r\n", n, n, n)
}

func (w *world) uids(folder string) []uint32 {
	w.t.Helper()
	list, err := w.folder(folder).Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	var uids []uint32
	for _, m := range list {
		uids = append(uids, m.UID)
	}
	return uids
}

// count returns how many keys have the prefix.
func (w *world) count(prefix string) int {
	w.t.Helper()
	n := 0
	err := w.st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: []byte(prefix)}, func(store.Item) error { n++; return nil })
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestCreateAccount(t *testing.T) {
	w := newWorld(t)
	w.account()
	if _, err := w.mb.CreateAccount("ann@north.test"); !errors.Is(err, ErrExists) {
		t.Errorf("second creation: %v", err)
	}
	must(w.mb.CreateAccount("bob@north.test"))(t)
	w.reopen()
	if got := w.mb.Accounts(); !slices.Equal(got, []string{"ann@north.test", "bob@north.test"}) {
		t.Errorf("accounts %v", got)
	}
	want := map[string]string{Inbox: "", Sent: UseSent, Drafts: UseDrafts, Archive: UseArchive, Junk: UseJunk, Trash: UseTrash}
	list := w.account().Folders()
	for _, f := range list {
		if use, ok := want[f.Name]; !ok || use != f.Use || !f.Subscribed || f.Missing {
			t.Errorf("folder %+v", f)
		}
	}
	if len(list) != len(want) {
		t.Errorf("%d folders, want %d", len(list), len(want))
	}
	if f := must(w.account().FolderByUse(UseSent))(t); f.Name() != Sent {
		t.Errorf("folder for sent mail is %s", f.Name())
	}
	if _, err := w.mb.Account("nobody"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("unknown account: %v", err)
	}
	w.deliver(Inbox, letter(1))
	if bob := must(must(w.mb.Account("bob@north.test"))(t).Folder("inbox"))(t); must(bob.Status())(t).Messages != 0 {
		t.Error("bob sees ann's mail")
	}
}

func TestBytesAreKept(t *testing.T) {
	w := newWorld(t)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	tests := map[string][]byte{
		"empty":      {},
		"bare LF":    []byte("Subject: x\n\nbody\n.\n"),
		"binary":     all,
		"one chunk":  bytes.Repeat([]byte("x"), chunkSize),
		"two chunks": bytes.Repeat([]byte("yz"), chunkSize/2+1),
		"many": append([]byte("Subject: large\r\n\r\n"),
			bytes.Repeat([]byte("0123456789abcde\n"), chunkSize/16*(batchSize/chunkSize+3))...),
	}
	uids := make(map[string]uint32)
	for name, raw := range tests {
		uids[name] = w.deliver(Inbox, string(raw)).UID
	}
	for range 2 {
		for name, raw := range tests {
			f := w.folder(Inbox)
			m := must(f.Message(uids[name]))(t)
			if got := must(f.Bytes(m))(t); !bytes.Equal(got, raw) || m.Size != int64(len(raw)) {
				t.Errorf("%s: %d bytes came back, size %d, want %d", name, len(got), m.Size, len(raw))
			}
		}
		w.reopen()
	}
	err := w.folder(Inbox).Content(must(w.folder(Inbox).Message(uids["many"]))(t), func(c *Content) error {
		from, to := int64(chunkSize-5), int64(2*chunkSize+7)
		got, err := c.Bytes(from, to)
		if !bytes.Equal(got, tests["many"][from:to]) {
			t.Error("a range over chunks differs")
		}
		if _, err := c.Bytes(0, int64(len(tests["many"]))+1); err == nil {
			t.Error("a range beyond the end was read")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTrapUIDReusedAfterExpunge is for UID = MAX+1, which gives an expunged message's
// UID to the next one.
func TestTrapUIDReusedAfterExpunge(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		if id := w.deliver(Inbox, letter(i)); id.UID != uint32(i+1) {
			t.Fatalf("uid %d", id.UID)
		}
	}
	f := w.folder(Inbox)
	must(f.Remove([]uint32{2, 3}))(t)
	w.reopen()
	if id := w.deliver(Inbox, letter(4)); id.UID != 4 {
		t.Errorf("after expunge and restart: uid %d, want 4", id.UID)
	}
	must(w.folder(Inbox).Remove([]uint32{1, 4}))(t)
	w.reopen()
	if s := must(w.folder(Inbox).Status())(t); s.UIDNext != 5 || s.Messages != 0 {
		t.Errorf("empty folder: %+v", s)
	}
}

// TestTrapMoveKeepsTheUID is for a MOVE that keeps the UID and collides.
func TestTrapMoveKeepsTheUID(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.deliver(Inbox, letter(i), FlagSeen)
		w.deliver(Archive, letter(10+i))
	}
	f := w.folder(Inbox)
	c := must(f.Move([]uint32{3, 1, 99}, Archive))(t)
	if !slices.Equal(c.Source, []uint32{1, 3}) || !slices.Equal(c.Dest, []uint32{4, 5}) || c.UIDValidity != w.folder(Archive).UIDValidity() {
		t.Errorf("moved %+v", c)
	}
	c = must(f.Copy([]uint32{2}, Archive))(t)
	if !slices.Equal(c.Dest, []uint32{6}) {
		t.Errorf("copied %+v", c)
	}
	if got := w.uids(Inbox); !slices.Equal(got, []uint32{2}) {
		t.Errorf("left in the inbox: %v", got)
	}
	for range 2 {
		a := w.folder(Archive)
		m := must(a.Message(5))(t)
		if got := must(a.Bytes(m))(t); string(got) != letter(2) || !m.HasFlag(`\seen`) || !m.Date().Equal(start) {
			t.Errorf("moved message: %q %v %v", got, m.Flags, m.Date())
		}
		w.reopen()
	}
	if _, err := w.folder(Inbox).Copy([]uint32{2}, "Nowhere"); !errors.Is(err, ErrNoFolder) {
		t.Errorf("copy to a missing folder: %v", err)
	}
	// The copy and its source share the blob until both are gone.
	must(w.folder(Inbox).Remove([]uint32{2}))(t)
	if got := must(w.folder(Archive).Bytes(must(w.folder(Archive).Message(6))(t)))(t); string(got) != letter(1) {
		t.Errorf("the copy reads %q", got)
	}
	must(w.folder(Archive).Remove(w.uids(Archive)))(t)
	for _, p := range []string{"mailbox/c/", "mailbox/r/", "mailbox/e/", "mailbox/b/", "mailbox/i/", "mailbox/m/"} {
		if n := w.count(p); n != 0 {
			t.Errorf("%d keys left below %s", n, p)
		}
	}
}

func TestDeliverTx(t *testing.T) {
	w := newWorld(t)
	a := w.account()
	w.uids(Inbox) // load the index, so that the commit has to update it
	g := must(w.mb.Stage([]byte(letter(1))))(t)
	boom := errors.New("boom")
	err := w.st.Update(func(tx *store.Tx) error {
		if _, err := a.DeliverTx(tx, Inbox, g, nil, start); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) || len(w.uids(Inbox)) != 0 {
		t.Fatalf("failed transaction: %v, messages %v", err, w.uids(Inbox))
	}
	var ids []ID
	second := must(w.mb.Stage([]byte(strings.Repeat("x", 2*chunkSize))))(t)
	err = w.st.Update(func(tx *store.Tx) error {
		ids = nil
		for _, staged := range []*Staged{g, second} {
			id, err := a.DeliverTx(tx, "inbox", staged, []string{FlagSeen}, time.Time{})
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return tx.Set([]byte("inbox/seen"), []byte("1"))
	})
	if err != nil || ids[0].UID != 1 || ids[1].UID != 2 {
		t.Fatalf("delivered %v, %v", ids, err)
	}
	if got := w.uids(Inbox); !slices.Equal(got, []uint32{1, 2}) {
		t.Errorf("messages %v", got)
	}
	if m := must(w.folder(Inbox).Message(1))(t); !m.Date().Equal(start) {
		t.Errorf("date %v, want the clock's", m.Date())
	}
	err = w.st.Update(func(tx *store.Tx) error {
		_, err := a.DeliverTx(tx, Inbox, g, nil, start)
		return err
	})
	if err == nil {
		t.Error("a staged message was delivered twice")
	}
	third := must(w.mb.Stage([]byte(letter(3))))(t)
	err = w.st.Update(func(tx *store.Tx) error {
		_, err := a.DeliverTx(tx, "Nowhere", third, nil, start)
		return err
	})
	if !errors.Is(err, ErrNoFolder) {
		t.Errorf("missing folder: %v", err)
	}
}

func TestOrphansAreCollected(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat("x", 3*chunkSize)
	w.deliver(Inbox, large)
	must(w.mb.Stage([]byte(large)))(t)
	dropped := must(w.mb.Stage([]byte(large)))(t)
	if n := w.count("mailbox/c/"); n != 9 {
		t.Fatalf("%d chunks, want 9", n)
	}
	if err := w.mb.Discard(dropped); err != nil {
		t.Fatal(err)
	}
	if n := w.count("mailbox/c/"); n != 6 {
		t.Errorf("%d chunks after discarding, want 6", n)
	}
	w.reopen()
	if n := w.count("mailbox/c/"); n != 3 {
		t.Errorf("%d chunks after opening, want 3", n)
	}
	f := w.folder(Inbox)
	if got := must(f.Bytes(must(f.Message(1))(t)))(t); string(got) != large {
		t.Error("the delivered message was damaged")
	}
}

func TestHasMessageID(t *testing.T) {
	w := newWorld(t)
	a := w.account()
	has := func(id string) bool { return must(a.HasMessageID(id))(t) }
	w.deliver(Sent, letter(7))
	if !has("m7@x.test") || !has(" <m7@x.test> ") || has("m8@x.test") || has("") {
		t.Error("wrong after a delivery")
	}
	must(w.folder(Sent).Move([]uint32{1}, Trash))(t)
	if !has("m7@x.test") {
		t.Error("lost by a move")
	}
	must(w.folder(Trash).Copy([]uint32{1}, Inbox))(t)
	must(w.folder(Trash).Remove([]uint32{1}))(t)
	if !has("m7@x.test") {
		t.Error("lost though a copy is left")
	}
	must(w.folder(Inbox).Remove([]uint32{1}))(t)
	if has("m7@x.test") {
		t.Error("still there after the last copy went")
	}
	bob := must(w.mb.CreateAccount("bob@north.test"))(t)
	w.deliver(Sent, letter(9))
	if must(bob.HasMessageID("m9@x.test"))(t) {
		t.Error("bob has ann's message")
	}
}

func TestFlags(t *testing.T) {
	w := newWorld(t)
	w.deliver(Inbox, letter(1), `\seen`, `\Recent`, "$Forwarded", "MixedCase")
	f := w.folder(Inbox)
	check := func(op FlagOp, flags []string, want string) {
		t.Helper()
		list, err := f.SetFlags([]uint32{1, 5}, op, flags)
		if err != nil || len(list) != 1 {
			t.Fatalf("set flags: %v, %v", list, err)
		}
		if got := strings.Join(list[0].Flags, " "); got != want {
			t.Errorf("flags %s, want %s", got, want)
		}
	}
	// Case is kept, and does not matter: the trap is a server that lowers it.
	check(FlagsAdd, []string{`\FLAGGED`, "mixedcase"}, `$Forwarded MixedCase \Flagged \Seen`)
	check(FlagsRemove, []string{"MIXEDCASE", `\seen`}, `$Forwarded \Flagged`)
	check(FlagsSet, []string{`\Deleted`}, `\Deleted`)
	for _, bad := range []string{`\Foo`, "", "a b", "ä", strings.Repeat("x", 200), `a\b`} {
		if _, err := f.SetFlags([]uint32{1}, FlagsAdd, []string{bad}); !errors.Is(err, ErrFlag) {
			t.Errorf("flag %q: %v", bad, err)
		}
	}
	w.reopen()
	if m := must(w.folder(Inbox).Message(1))(t); !slices.Equal(m.Flags, []string{FlagDeleted}) {
		t.Errorf("after a restart: %v", m.Flags)
	}
	s := must(w.folder(Inbox).Status())(t)
	if s.Unseen != 1 || s.Deleted != 1 || s.FirstUnseen != 1 || s.Size != int64(len(letter(1))) || s.DeletedSize != s.Size {
		t.Errorf("status %+v", s)
	}
}

func TestExpungeTakesOnlyDeleted(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.deliver(Inbox, letter(i))
	}
	f := w.folder(Inbox)
	must(f.SetFlags([]uint32{2, 3}, FlagsAdd, []string{FlagDeleted}))(t)
	if gone := must(f.Expunge([]uint32{1, 3}))(t); !slices.Equal(gone, []uint32{3}) {
		t.Errorf("expunged %v, want 3", gone)
	}
	if gone := must(f.Expunge(nil))(t); !slices.Equal(gone, []uint32{2}) {
		t.Errorf("expunged %v, want 2", gone)
	}
	if got := w.uids(Inbox); !slices.Equal(got, []uint32{1, 4}) {
		t.Errorf("left %v", got)
	}
}
