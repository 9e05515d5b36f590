package contacts

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
)

const bob = "bob@south.test"

// identityOf derives an identity key from a name.
func identityOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(name string) ed25519.PublicKey { return identityOf(name).Public().(ed25519.PublicKey) }

// bundleOf signs a bundle for addr by the identity called name; mark makes two of
// the same version differ.
func bundleOf(t testing.TB, addr, name string, version uint64, mark byte) *spool.SignedBundle {
	t.Helper()
	b := spool.Bundle{
		Format: spool.BundleFormat, Address: addr, Version: version, Identity: public(name),
		Static: make([]byte, spool.StaticSize),
		Prekey: spool.Prekey{ID: make([]byte, spool.PrekeyIDSize), Public: make([]byte, spool.PrekeySize), Created: start.Unix()},
	}
	b.Prekey.ID[0] = mark
	s, err := b.Sign(identityOf(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var start = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// env is a book in a store, with a clock to move.
type env struct {
	t   *testing.T
	s   *store.Store
	b   *Book
	now time.Time
}

func newEnv(t *testing.T) *env {
	t.Helper()
	s, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	e := &env{t: t, s: s, now: start}
	if e.b, err = NewBook("alice@north.test", func() time.Time { return e.now }); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *env) fetched(name string, version uint64, mark byte) (*Contact, error) {
	e.t.Helper()
	var c *Contact
	err := e.s.Update(func(tx *store.Tx) (err error) {
		c, err = e.b.Fetched(tx, bob, bundleOf(e.t, bob, name, version, mark))
		return err
	})
	return c, err
}

func (e *env) mustFetch(name string, version uint64, want State) *Contact {
	e.t.Helper()
	c, err := e.fetched(name, version, 0)
	if err != nil || c.State != want {
		e.t.Fatalf("fetched %s version %d: %+v, %v; want %v", name, version, c, err, want)
	}
	return c
}

func (e *env) mustReceive(name string, version uint64, mark byte, state State, verdict Verdict) *Contact {
	e.t.Helper()
	var c *Contact
	var v Verdict
	err := e.s.Update(func(tx *store.Tx) (err error) {
		c, v, err = e.b.Received(tx, bundleOf(e.t, bob, name, version, mark))
		return err
	})
	if err != nil || c.State != state || v != verdict {
		e.t.Fatalf("received %s version %d: %+v, %v, %v; want %v, %v", name, version, c, v, err, state, verdict)
	}
	return c
}

func (e *env) get() *Contact {
	e.t.Helper()
	var c *Contact
	if err := e.s.View(func(tx *store.Tx) (err error) { c, err = e.b.Get(tx, bob); return err }); err != nil {
		e.t.Fatal(err)
	}
	return c
}

func (e *env) decide(fn func(tx *store.Tx) error) error { return e.s.Update(fn) }

func (e *env) accept(name string) error {
	return e.decide(func(tx *store.Tx) error { _, err := e.b.Accept(tx, bob, public(name)); return err })
}

func (e *env) reject(name string) error {
	return e.decide(func(tx *store.Tx) error { _, err := e.b.Reject(tx, bob, public(name)); return err })
}

func (e *env) verify(name string) error {
	return e.decide(func(tx *store.Tx) error { _, err := e.b.SetVerified(tx, bob, public(name), true); return err })
}

// sealing checks what ForSealing answers: the version, or the error.
func (e *env) sealing(version uint64, want error) {
	e.t.Helper()
	err := e.s.View(func(tx *store.Tx) error {
		b, err := e.b.ForSealing(tx, "Bob@South.test")
		if err == nil && b.Version != version {
			e.t.Errorf("seals with version %d, want %d", b.Version, version)
		}
		return err
	})
	if !errors.Is(err, want) {
		e.t.Errorf("for sealing: %v, want %v", err, want)
	}
}

func (e *env) judge(name string, fetches uint64, want Verdict) {
	e.t.Helper()
	err := e.s.View(func(tx *store.Tx) error {
		v, err := e.b.Judge(tx, bob, public(name), fetches)
		if v != want {
			e.t.Errorf("judged %s: %v, want %v", name, v, want)
		}
		return err
	})
	if err != nil {
		e.t.Error(err)
	}
}
