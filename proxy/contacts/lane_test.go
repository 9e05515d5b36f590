package contacts

import (
	"errors"
	"testing"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/spool"
)

func (e *env) take(name string, version uint64, want bool) {
	e.t.Helper()
	var changed bool
	err := e.decide(func(tx *store.Tx) (err error) {
		changed, err = e.b.TakeAppendKey(tx, bob, identityOf(name), version)
		return err
	})
	if err != nil || changed != want {
		e.t.Errorf("take append key %s version %d: changed %v, %v; want %v", name, version, changed, err, want)
	}
}

func TestAppendKeyOfAContact(t *testing.T) {
	e := newEnv(t)
	e.mustFetch("bob", 1, StatePinned)
	if l := e.get().Lane; l.Key != nil || l.Terms != (spool.Terms{}) {
		t.Errorf("lane of a new contact is %+v", l)
	}
	e.take("k2", 2, true)
	e.take("k1", 1, false) // older: mail overtook mail
	e.take("other", 2, false)
	l := e.get().Lane
	if !l.Key.Equal(identityOf("k2")) || l.Version != 2 {
		t.Errorf("append key of version %d", l.Version)
	}

	terms := spool.Terms{Memory: 64, Time: 1, Bits: 3}
	refused := func(l Lane) {
		t.Helper()
		if err := e.decide(func(tx *store.Tx) error { return e.b.RefusedLane(tx, bob, l, terms) }); err != nil {
			t.Fatal(err)
		}
	}
	refused(Lane{Key: identityOf("k1"), Version: 1}) // of an append that began long ago
	if e.get().Lane.Key == nil {
		t.Error("the key went because an older one was refused")
	}
	refused(l)
	if l := e.get().Lane; l.Key != nil || l.Terms != terms {
		t.Errorf("after the refusal the lane has terms %+v, key %v", l.Terms, l.Key != nil)
	}
	e.take("k1", 1, false)
	e.take("k2", 2, true) // told once more: the service may have it by now
	e.take("k3", 3, true)

	// A changed identity that the user accepts begins anew.
	if err := e.decide(func(tx *store.Tx) error { return e.b.Gave(tx, bob, 7) }); err != nil {
		t.Fatal(err)
	}
	e.mustFetch("new bob", 1, StateChanged)
	if err := e.decide(func(tx *store.Tx) error { _, err := e.b.Accept(tx, bob, public("new bob")); return err }); err != nil {
		t.Fatal(err)
	}
	if c := e.get(); c.Given != 0 || c.Lane.Key != nil {
		t.Errorf("given %d, key %v after another identity was accepted", c.Given, c.Lane.Key != nil)
	}
	e.take("k1", 1, true)
}

func TestBlock(t *testing.T) {
	e := newEnv(t)
	block := func(f func(*store.Tx, string) (*Contact, error)) error {
		return e.decide(func(tx *store.Tx) error { _, err := f(tx, "Bob@South.test"); return err })
	}
	if err := block(e.b.Block); !errors.Is(err, ErrUnknown) {
		t.Errorf("block nobody: %v", err)
	}
	e.mustFetch("bob", 1, StatePinned)
	if err := block(e.b.Block); err != nil || !e.get().Blocked {
		t.Errorf("block: %v", err)
	}
	// Whatever else becomes known of them.
	e.mustFetch("bob", 2, StatePinned)
	if c := e.mustReceive("bob", 3, 0, StatePinned, Deliver); !c.Blocked {
		t.Error("a mail undid the block")
	}
	if err := block(e.b.Unblock); err != nil || e.get().Blocked {
		t.Errorf("unblock: %v", err)
	}
	for _, given := range []uint64{3, 2} {
		if err := e.decide(func(tx *store.Tx) error { return e.b.Gave(tx, bob, given) }); err != nil {
			t.Fatal(err)
		}
	}
	if g := e.get().Given; g != 3 {
		t.Errorf("given %d, want 3", g)
	}
}

// TestRecordOfFormat1 reads a contact that a program without lanes wrote.
func TestRecordOfFormat1(t *testing.T) {
	e := newEnv(t)
	raw, err := codec.Marshal(map[int]any{
		1: 1, 2: bundleOf(t, bob, "bob", 4, 0), 3: start.Unix(), 4: start.Unix(), 5: 1, 6: true, 11: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.decide(func(tx *store.Tx) error { return tx.Set(e.b.key(bob), raw) }); err != nil {
		t.Fatal(err)
	}
	if c := e.get(); c.State != StateVerified || c.Blocked || c.Lane.Key != nil {
		t.Errorf("read %+v", c)
	}
	e.take("k", 1, true)
	if c := e.get(); c.State != StateVerified || c.Lane.Version != 1 {
		t.Errorf("read %+v after a change", c)
	}
}
