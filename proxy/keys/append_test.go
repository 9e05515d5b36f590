package keys

import (
	"errors"
	"strings"
	"testing"

	"mailproxy/internal/store"
)

func TestAppendKey(t *testing.T) {
	a, s, c := newAccount(t, "alice@north.test")
	first, published := a.AppendKey()
	if first.Version != 1 || len(first.Key) == 0 || published {
		t.Fatalf("first append key has version %d, published %v", first.Version, published)
	}
	if first.Key.Equal(a.ReadKey()) || first.Key.Equal(a.IdentityKey()) {
		t.Error("the append key is another of the account's keys")
	}
	check := func(version uint64, wantPublished bool) AppendKey {
		t.Helper()
		k, published := a.AppendKey()
		again, err := Load(s, a.Address(), c.now)
		if err != nil {
			t.Fatal(err)
		}
		kept, keptPublished := again.AppendKey()
		if k.Version != version || published != wantPublished || !k.Key.Equal(kept.Key) || kept.Version != version || keptPublished != wantPublished {
			t.Fatalf("version %d, published %v; kept are %d, %v; want %d, %v", k.Version, published, kept.Version, keptPublished, version, wantPublished)
		}
		return k
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(1, false)
	ok(a.AppendPublished(1))
	check(1, true)
	ok(a.Lost(0))
	check(1, false)
	ok(s.Update(a.RotateAppend))
	if k := check(2, false); k.Key.Equal(first.Key) {
		t.Error("the key is the same with another version")
	}
	ok(a.AppendPublished(1)) // the answer to what was asked before
	check(2, false)
	ok(a.SkipAppend())
	check(4, false)

	abandoned := errors.New("abandoned")
	if err := s.Update(func(tx *store.Tx) error {
		ok(a.RotateAppend(tx))
		return abandoned
	}); !errors.Is(err, abandoned) {
		t.Fatal(err)
	}
	k := check(4, false)
	if strings.Contains(k.String(), string(k.Key.Seed())) || k.GoString() != k.String() {
		t.Error("the key shows in logs")
	}

	// An account of before there were append keys gets one; a damaged one is told.
	ok(s.Update(func(tx *store.Tx) error { return tx.Delete(key(a.Address(), kindAppend)) }))
	a, err := Load(s, a.Address(), c.now)
	ok(err)
	check(1, false)
	ok(s.Update(func(tx *store.Tx) error { return tx.Set(key(a.Address(), kindAppend), []byte{0xa1, 0x01, 0x01}) }))
	if _, err := Load(s, a.Address(), c.now); !errors.Is(err, ErrRecord) {
		t.Errorf("load a damaged append key: %v", err)
	}
}

// TestLost: what the provider may have lost is published again, also after a restart.
func TestLost(t *testing.T) {
	a, s, c := newAccount(t, "alice@north.test")
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(a *Account, generation uint64, lost bool) {
		t.Helper()
		_, published := a.AppendKey()
		signed, err := a.Unpublished()
		ok(err)
		if a.Generation() != generation || published == lost || (signed != nil) != lost {
			t.Fatalf("generation %d, append key published %v, bundle to be published %v; want %d, lost %v",
				a.Generation(), published, signed != nil, generation, lost)
		}
	}
	publish := func() {
		t.Helper()
		k, _ := a.AppendKey()
		b, _ := a.Bundle()
		ok(errors.Join(a.AppendPublished(k.Version), a.Published(b.Version)))
	}
	publish()
	check(a, 0, false)
	for _, generation := range []uint64{7, 0, 9} { // zero: a store that was never restored
		ok(a.Lost(generation))
		again, err := Load(s, a.Address(), c.now)
		ok(err)
		for _, a := range []*Account{a, again} {
			check(a, max(7, generation), true)
		}
		publish()
		check(a, max(7, generation), false)
	}
}
