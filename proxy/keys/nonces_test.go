package keys

import (
	"encoding/binary"
	"sync"
	"testing"

	"mailproxy/internal/store"
)

// TestCopiesDiffer checks that two daemons on copies of one store, which count
// their starts alike, do not use the same nonces in turn: one's are too old for
// who has seen the other's.
func TestCopiesDiffer(t *testing.T) {
	a, s, c := newAccount(t, "alice@north.test")
	for range 3 {
		// As the copy would be loaded.
		err := s.Update(func(tx *store.Tx) error {
			k := key(a.Address(), kindBoot)
			b, err := tx.Get(k)
			if err != nil {
				return err
			}
			return tx.Set(k, binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(b)-1))
		})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Load(s, a.Address(), c.now)
		if err != nil {
			t.Fatal(err)
		}
		x, y := a.Nonce(), again.Nonce()
		if x>>32 != y>>32 {
			t.Fatalf("nonces %x and %x are not of one start", x, y)
		}
		if d := max(x, y) - min(x, y); d < 10_000 { // once in two hundred thousand
			t.Errorf("nonces %x and %x are close", x, y)
		}
	}
}

func TestNoncesNeverRepeat(t *testing.T) {
	a, s, c := newAccount(t, "alice@north.test")
	seen := map[uint64]bool{}
	take := func(a *Account) {
		var mu sync.Mutex // guards seen
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 100 {
					n := a.Nonce()
					mu.Lock()
					if seen[n] {
						t.Errorf("nonce %x again", n)
					}
					seen[n] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	take(a)
	for range 3 {
		again, err := Load(s, a.Address(), c.now)
		if err != nil {
			t.Fatal(err)
		}
		take(again)
	}
	if len(seen) != 1600 {
		t.Errorf("%d nonces", len(seen))
	}
}

func TestStartCountsDoNotLinkAccounts(t *testing.T) {
	a, s, c := newAccount(t, "alice@north.test")
	if err := CreateIn(s, "alias@north.test", c.now()); err != nil {
		t.Fatal(err)
	}
	b, err := Load(s, "alias@north.test", c.now)
	if err != nil {
		t.Fatal(err)
	}
	if a.Nonce()>>32 == b.Nonce()>>32 { // once in two thousand million
		t.Error("two accounts count their starts from the same number")
	}
	if a.Instance() == b.Instance() || a.Spool() == b.Spool() || a.Identity().Equal(b.Identity()) {
		t.Error("two accounts share a key")
	}
}
