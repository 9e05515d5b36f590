package contacts

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/proxy/keys"
	"mailproxy/spool"
)

func TestPinOnFirstUse(t *testing.T) {
	e := newEnv(t)
	e.sealing(0, ErrFetch)
	c := e.mustFetch("bob", 1, StatePinned)
	if c.Address != bob || !c.Identity.Equal(public("bob")) || !c.Fetched.Equal(start) || c.Fetches != 1 {
		t.Errorf("contact is %+v", c)
	}
	e.sealing(1, nil)
	e.now = start.Add(Fresh - time.Second)
	e.sealing(1, nil)
	e.now = start.Add(Fresh)
	e.sealing(0, ErrFetch)
	e.mustFetch("bob", 2, StatePinned)
	e.sealing(2, nil)
	e.now = start // the clock was ahead: that fetch proves nothing
	e.sealing(0, ErrFetch)
}

func TestIntroducedByMail(t *testing.T) {
	e := newEnv(t)
	e.mustReceive("bob", 3, 0, StateNew, Deliver)
	e.sealing(0, ErrFetch)
	e.mustFetch("bob", 3, StatePinned)
	e.sealing(3, nil)
	e.mustReceive("bob", 3, 0, StatePinned, Deliver)

	// A later bundle from mail is used, an older one is passed over.
	e.mustReceive("bob", 5, 0, StatePinned, Deliver)
	e.sealing(5, nil)
	e.mustReceive("bob", 4, 0, StatePinned, Deliver)
	e.sealing(5, nil)
	e.mustReceive("bob", 5, 9, StatePinned, Deliver) // two of one version
	if got := e.get(); got.Bundle.Prekey.ID[0] != 0 {
		t.Error("a bundle of the same version took the place of the first")
	}
	// The provider is behind: what came in mail stays, and its key is confirmed.
	e.now = e.now.Add(2 * Fresh)
	e.mustFetch("bob", 4, StatePinned)
	e.sealing(5, nil)
	if _, err := e.fetched("bob", 3, 0); !errors.Is(err, ErrRollback) {
		t.Errorf("the provider goes back: %v", err)
	}
}

func TestRefusedBundles(t *testing.T) {
	e := newEnv(t)
	e.mustFetch("bob", 7, StatePinned)
	if _, err := e.fetched("bob", 6, 0); !errors.Is(err, ErrRollback) {
		t.Errorf("lower version: %v", err)
	}
	if _, err := e.fetched("bob", 7, 1); !errors.Is(err, ErrConflict) {
		t.Errorf("same version, other bytes: %v", err)
	}
	e.mustFetch("bob", 7, StatePinned)

	err := e.decide(func(tx *store.Tx) error {
		_, err := e.b.Fetched(tx, bob, bundleOf(t, "carol@south.test", "carol", 1, 0))
		return err
	})
	if !errors.Is(err, ErrAddress) {
		t.Errorf("another's bundle: %v", err)
	}
	forged := bundleOf(t, bob, "mallory", 8, 0)
	forged.Signature[0] ^= 1
	err = e.decide(func(tx *store.Tx) error { _, err := e.b.Fetched(tx, bob, forged); return err })
	if !errors.Is(err, spool.ErrBundle) {
		t.Errorf("forged bundle: %v", err)
	}
	err = e.decide(func(tx *store.Tx) error { _, _, err := e.b.Received(tx, forged); return err })
	if !errors.Is(err, spool.ErrBundle) {
		t.Errorf("forged bundle in mail: %v", err)
	}
	err = e.decide(func(tx *store.Tx) error { _, err := e.b.Fetched(tx, bob, nil); return err })
	if !errors.Is(err, spool.ErrBundle) {
		t.Errorf("no bundle: %v", err)
	}
	err = e.decide(func(tx *store.Tx) error {
		_, _, err := e.b.Received(tx, bundleOf(t, "Bob@South.test", "bob", 1, 0))
		return err
	})
	if !errors.Is(err, ErrAddress) {
		t.Errorf("address in another spelling: %v", err)
	}
	if got := e.get(); got.Bundle.Version != 7 || got.State != StatePinned {
		t.Errorf("contact is %+v", got)
	}
}

func TestChangedKeyHoldsMailUntilDecided(t *testing.T) {
	t.Run("accepted", func(t *testing.T) {
		e := newEnv(t)
		e.mustFetch("bob", 7, StatePinned)
		if err := e.verify("bob"); err != nil {
			t.Fatal(err)
		}
		c := e.mustFetch("new bob", 1, StateChanged)
		if !c.Identity.Equal(public("bob")) || !c.Pending.Equal(public("new bob")) || !c.Verified {
			t.Errorf("contact is %+v", c)
		}
		e.sealing(0, ErrHeld)
		held := e.mustReceive("new bob", 1, 0, StateChanged, Hold)
		e.judge("new bob", held.Fetches, Hold)
		e.mustReceive("bob", 7, 0, StateChanged, Deliver)
		e.mustFetch("new bob", 2, StateChanged)
		if _, err := e.fetched("new bob", 1, 0); !errors.Is(err, ErrRollback) {
			t.Errorf("the new key's bundle goes back: %v", err)
		}
		e.judge("new bob", held.Fetches, Hold) // still the user's to decide

		if err := e.accept("mallory"); !errors.Is(err, ErrDecision) {
			t.Errorf("accept a key that does not wait: %v", err)
		}
		if err := e.accept("new bob"); err != nil {
			t.Fatal(err)
		}
		if c := e.get(); c.State != StatePinned || c.Verified || !c.Identity.Equal(public("new bob")) || c.Pending != nil {
			t.Errorf("contact is %+v", c)
		}
		e.judge("new bob", held.Fetches, Deliver)
		e.sealing(0, ErrFetch)
		e.mustFetch("new bob", 2, StatePinned)
		e.sealing(2, nil)
	})
	t.Run("rejected", func(t *testing.T) {
		e := newEnv(t)
		e.mustFetch("bob", 7, StatePinned)
		if err := e.verify("bob"); err != nil {
			t.Fatal(err)
		}
		held := e.mustFetch("mallory", 1, StateChanged)
		if err := e.reject("bob"); !errors.Is(err, ErrDecision) {
			t.Errorf("reject the pinned key: %v", err)
		}
		if err := e.reject("mallory"); err != nil {
			t.Fatal(err)
		}
		if c := e.get(); c.State != StateVerified || c.Pending != nil {
			t.Errorf("contact is %+v", c)
		}
		e.judge("mallory", held.Fetches, Refuse)
		e.mustReceive("mallory", 2, 0, StateVerified, Refuse)
		if _, err := e.fetched("mallory", 2, 0); !errors.Is(err, ErrRejected) {
			t.Errorf("rejected key published again: %v", err)
		}
		e.mustFetch("bob", 7, StateVerified)
		e.sealing(7, nil)
		for i := range maxRejected + 5 {
			name := fmt.Sprint("mallory ", i)
			e.mustFetch(name, 1, StateChanged)
			if err := e.reject(name); err != nil {
				t.Fatal(err)
			}
		}
		e.mustReceive(fmt.Sprint("mallory ", maxRejected+4), 1, 0, StateVerified, Refuse)
	})
	t.Run("taken back by the provider", func(t *testing.T) {
		e := newEnv(t)
		e.mustFetch("bob", 7, StatePinned)
		held := e.mustFetch("mallory", 1, StateChanged)
		e.mustFetch("bob", 8, StatePinned)
		e.sealing(8, nil)
		e.judge("mallory", held.Fetches, Refuse)
		e.judge("bob", held.Fetches, Deliver)
	})
}

// TestStrangersMailCannotHoldCorrespondence: everybody can sign a bundle for Bob's
// address. That mail is held; mail between Alice and Bob goes on.
func TestStrangersMailCannotHoldCorrespondence(t *testing.T) {
	e := newEnv(t)
	e.mustFetch("bob", 7, StatePinned)
	held := e.mustReceive("mallory", 99, 0, StatePinned, Hold)
	if !held.Pending.Equal(public("mallory")) {
		t.Error("the claim is not shown")
	}
	e.mustReceive("trudy", 99, 0, StatePinned, Hold)
	if c := e.get(); !c.Pending.Equal(public("mallory")) {
		t.Error("a second claim pushed out the first")
	}
	e.sealing(7, nil)
	e.mustReceive("bob", 7, 0, StatePinned, Deliver)
	e.judge("mallory", held.Fetches, Hold)
	e.judge("trudy", held.Fetches, Hold)

	// The provider settles it either way.
	e.mustFetch("bob", 7, StatePinned)
	e.judge("mallory", held.Fetches, Refuse)
	e.judge("trudy", held.Fetches, Refuse)

	held = e.mustReceive("new bob", 1, 0, StatePinned, Hold)
	e.mustFetch("new bob", 1, StateChanged)
	e.judge("new bob", held.Fetches, Hold)
	e.sealing(0, ErrHeld)
}

func TestAcceptedClaimIsStillToBeConfirmed(t *testing.T) {
	e := newEnv(t)
	e.mustFetch("bob", 7, StatePinned)
	e.mustReceive("new bob", 1, 0, StatePinned, Hold)
	if err := e.accept("new bob"); err != nil {
		t.Fatal(err)
	}
	if c := e.get(); c.State != StateNew {
		t.Errorf("state is %v", c.State)
	}
	e.mustFetch("bob", 7, StateChanged) // the provider does not agree
}

func TestKeyOfStrangerThatProviderDoesNotKnow(t *testing.T) {
	e := newEnv(t)
	e.mustReceive("mallory", 1, 0, StateNew, Deliver)
	e.mustFetch("bob", 1, StateChanged)
	e.sealing(0, ErrHeld)
	if err := e.accept("bob"); err != nil {
		t.Fatal(err)
	}
	e.mustReceive("mallory", 1, 0, StatePinned, Hold)
}

func TestVerifyForgetAndList(t *testing.T) {
	e := newEnv(t)
	if err := e.verify("bob"); !errors.Is(err, ErrUnknown) {
		t.Errorf("verify a stranger: %v", err)
	}
	e.mustFetch("bob", 1, StatePinned)
	if err := e.verify("mallory"); !errors.Is(err, ErrDecision) {
		t.Errorf("verify another key: %v", err)
	}
	if err := e.verify("bob"); err != nil {
		t.Fatal(err)
	}
	c := e.mustFetch("bob", 2, StateVerified)
	if c.PrekeyOld(start.Add(PrekeyWarnAge)) || !c.PrekeyOld(start.Add(PrekeyWarnAge+time.Second)) {
		t.Error("age of the prekey")
	}

	// Another account of the user knows nobody.
	other, err := NewBook("alice@north.test.example", func() time.Time { return e.now })
	if err != nil {
		t.Fatal(err)
	}
	err = e.s.View(func(tx *store.Tx) error {
		mine, err := e.b.List(tx)
		if err != nil || len(mine) != 1 || mine[0].Address != bob {
			t.Errorf("contacts are %v, %v", mine, err)
		}
		theirs, err := other.List(tx)
		if err != nil || len(theirs) != 0 {
			t.Errorf("contacts of the other account are %v, %v", theirs, err)
		}
		_, err = other.Get(tx, bob)
		return err
	})
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("get from the other account: %v", err)
	}

	forget := func() error { return e.decide(func(tx *store.Tx) error { return e.b.Forget(tx, "BOB@south.test") }) }
	if err := forget(); err != nil {
		t.Fatal(err)
	}
	if err := forget(); !errors.Is(err, ErrUnknown) {
		t.Errorf("forget twice: %v", err)
	}
	e.mustFetch("new bob", 1, StatePinned)
	if _, err := NewBook("alice", time.Now); !errors.Is(err, address.ErrInvalid) {
		t.Errorf("book of no account: %v", err)
	}
}

// TestTold: the user is told once of each key, once more when the provider publishes
// what was a claim, and again when it publishes it again.
func TestTold(t *testing.T) {
	e := newEnv(t)
	e.mustFetch("bob", 1, StatePinned)
	told := func(name string, published bool, want error) {
		t.Helper()
		if err := e.decide(func(tx *store.Tx) error { return e.b.Told(tx, bob, public(name), published) }); !errors.Is(err, want) {
			t.Errorf("told of %s: %v, want %v", name, err, want)
		}
	}
	expect := func(want bool) {
		t.Helper()
		if c := e.get(); c.PendingTold != want {
			t.Errorf("told: %v, want %v", c.PendingTold, want)
		}
	}
	told("bob", false, ErrDecision) // nothing is pending
	e.mustReceive("new bob", 1, 0, StatePinned, Hold)
	expect(false)
	told("mallory", false, ErrDecision)
	told("new bob", false, nil)
	expect(true)
	e.mustFetch("bob", 1, StatePinned)
	e.mustReceive("new bob", 2, 0, StatePinned, Hold) // as was told
	expect(true)
	e.mustFetch("new bob", 2, StateChanged)
	expect(false)
	told("new bob", false, ErrDecision)
	told("new bob", true, nil)
	expect(true)
	e.mustFetch("new bob", 3, StateChanged)
	expect(true)
	e.mustFetch("bob", 1, StatePinned)
	e.mustFetch("new bob", 3, StateChanged)
	expect(false)

	for range 3 {
		if err := e.decide(func(tx *store.Tx) error { return e.b.Drop(tx, bob) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.decide(func(tx *store.Tx) error { return e.b.ToldDropped(tx, bob, 2) }); err != nil {
		t.Fatal(err)
	}
	if c := e.get(); c.Dropped != 3 || c.DroppedTold != 2 || !c.DroppedAt.Equal(start) {
		t.Errorf("dropped %d, told of %d at %v", c.Dropped, c.DroppedTold, c.DroppedAt)
	}
}

func TestUnreadableRecord(t *testing.T) {
	e := newEnv(t)
	for _, raw := range [][]byte{nil, {0xff}, {0xa1, 0x01, 0x09}, {0xa1, 0x01, 0x01}} {
		if err := e.decide(func(tx *store.Tx) error { return tx.Set(e.b.key(bob), raw) }); err != nil {
			t.Fatal(err)
		}
		if _, err := e.fetched("bob", 1, 0); !errors.Is(err, ErrRecord) {
			t.Errorf("record %x: %v", raw, err)
		}
	}
}

func TestFreshIsWhatOwnersAssume(t *testing.T) {
	if Fresh > keys.BundleCache {
		t.Errorf("bundles are used for %v, their owners count on %v", Fresh, keys.BundleCache)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte{0xa1, 0x01, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := decodeRecord(raw); err == nil {
			r.contact()
		} else if !errors.Is(err, ErrRecord) {
			t.Fatal(err)
		}
	})
}
