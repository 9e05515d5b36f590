package keys

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
)

const day = 24 * time.Hour

// clock is a time that the test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newAccount(t *testing.T, addr string) (*Account, *store.Store, *clock) {
	t.Helper()
	s := openStore(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &clock{time.Date(2026, 11, 2, 13, 14, 15, 0, time.UTC)}
	if err := CreateIn(s, addr, c.now()); err != nil {
		t.Fatal(err)
	}
	a, err := Load(s, addr, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return a, s, c
}

func rotate(t *testing.T, a *Account) bool {
	t.Helper()
	rotated, err := a.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	return rotated
}

func publish(t *testing.T, a *Account) {
	t.Helper()
	b, _ := a.Bundle()
	if err := a.Published(b.Version); err != nil {
		t.Fatal(err)
	}
}

// sealTo seals a message to the bundle that a publishes now.
func sealTo(t *testing.T, a *Account) []byte {
	t.Helper()
	b, _ := a.Bundle()
	blocks, err := seal.Seal(seal.Message{Kind: seal.KindMail, Content: []byte("hello")}, a.Sender(), b)
	if err != nil {
		t.Fatal(err)
	}
	return blocks[0]
}

func opens(t *testing.T, a *Account, block []byte) bool {
	t.Helper()
	p, err := seal.OpenBlock(block, a.Recipient())
	if errors.Is(err, seal.ErrNotOurs) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seal.AssembleParts(a.Recipient(), 100, []*seal.Part{p}); err != nil {
		t.Fatal(err)
	}
	return true
}

func TestCreateAndLoad(t *testing.T) {
	a, s, c := newAccount(t, "Alice@North.test")
	if a.Address() != "alice@north.test" {
		t.Errorf("address is %q", a.Address())
	}
	b, signed := a.Bundle()
	if _, err := signed.Open(); err != nil {
		t.Fatal(err)
	}
	if b.Version != 1 || b.Address != a.Address() || b.Spool != a.Spool() || !b.Identity.Equal(a.Identity()) {
		t.Errorf("bundle is %+v", b)
	}
	if !b.PrekeyCreated().Equal(time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("prekey says it was made at %v, want the day alone", b.PrekeyCreated())
	}
	if !opens(t, a, sealTo(t, a)) {
		t.Error("a message to the bundle does not open")
	}
	if err := CreateIn(s, "ALICE@north.test", c.now()); !errors.Is(err, ErrExists) {
		t.Errorf("create again: %v", err)
	}
	if err := CreateIn(s, "no address", c.now()); !errors.Is(err, address.ErrInvalid) {
		t.Errorf("create without an address: %v", err)
	}
	if _, err := Load(s, "bob@north.test", c.now); !errors.Is(err, ErrNoAccount) {
		t.Errorf("load another: %v", err)
	}

	// An address that begins another one is another account.
	if err := CreateIn(s, "alice@north.test.example", c.now()); err != nil {
		t.Fatal(err)
	}
	again, err := Load(s, "alice@north.test", c.now)
	if err != nil {
		t.Fatal(err)
	}
	if !again.IdentityKey().Equal(a.IdentityKey()) || !again.ReadKey().Equal(a.ReadKey()) || again.Instance() != a.Instance() {
		t.Error("loaded other keys than were made")
	}
	var all []string
	if err := s.View(func(tx *store.Tx) (err error) { all, err = List(tx); return err }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(all) != "[alice@north.test alice@north.test.example]" {
		t.Errorf("accounts are %v", all)
	}
	if err := s.Update(func(tx *store.Tx) error { return Delete(tx, "alice@north.test") }); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(s, "alice@north.test", c.now); !errors.Is(err, ErrNoAccount) {
		t.Errorf("load deleted keys: %v", err)
	}
	if _, err := Load(s, "alice@north.test.example", c.now); err != nil {
		t.Errorf("deleting one account touched another: %v", err)
	}
	if err := s.Update(func(tx *store.Tx) error { return Delete(tx, "alice@north.test") }); !errors.Is(err, ErrNoAccount) {
		t.Errorf("delete twice: %v", err)
	}
}

func TestRotation(t *testing.T) {
	a, s, c := newAccount(t, "alice@north.test")
	first, _ := a.Bundle()
	if un, err := a.Unpublished(); err != nil || un == nil {
		t.Fatalf("the first bundle is to be published: %v, %v", un, err)
	}
	publish(t, a)
	if un, err := a.Unpublished(); err != nil || un != nil {
		t.Fatalf("nothing is to be published: %v, %v", un, err)
	}
	c.advance(PrekeyLife - time.Minute)
	if rotate(t, a) {
		t.Fatal("rotated before a week was over")
	}
	c.advance(PrekeyJitter + time.Minute)
	if !rotate(t, a) || rotate(t, a) {
		t.Fatal("want one rotation after a week and the jitter")
	}
	second, _ := a.Bundle()
	if second.Version != 2 || bytes.Equal(second.Prekey.ID, first.Prekey.ID) || !second.Identity.Equal(first.Identity) || !bytes.Equal(second.Static, first.Static) {
		t.Errorf("second bundle is %+v", second)
	}
	again, err := Load(s, a.Address(), c.now)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := again.Bundle(); b.Version != 2 {
		t.Errorf("stored version is %d", b.Version)
	}
	if err := a.Published(3); err == nil {
		t.Error("a version that was never made is said to be published")
	}
}

// TestPrekeysLiveAsLongAsMailCanArrive seals at the last moment at which a sender
// may use a bundle, and delivers as late as outbox and spool allow.
func TestPrekeysLiveAsLongAsMailCanArrive(t *testing.T) {
	a, s, c := newAccount(t, "alice@north.test")
	publish(t, a)
	block := sealTo(t, a)

	c.advance(PrekeyLife + PrekeyJitter)
	rotate(t, a)
	c.advance(30 * day) // no network: others still fetch and use the first bundle
	rotate(t, a)
	if !opens(t, a, block) {
		t.Fatal("a prekey whose successor was never published is gone")
	}
	publish(t, a)
	for range int(PrekeyRetention/(4*time.Hour)) - 1 {
		c.advance(4 * time.Hour)
		if rotate(t, a) {
			publish(t, a)
		}
	}
	if !opens(t, a, block) {
		t.Fatal("a prekey is gone before the last mail to it could arrive")
	}
	c.advance(5 * time.Hour)
	rotate(t, a)
	if !opens(t, a, block) {
		t.Fatal("a prekey is gone without grace")
	}
	c.advance(EraseGrace)
	rotate(t, a)
	if opens(t, a, block) {
		t.Fatal("an old prekey is never erased")
	}
	again, err := Load(s, a.Address(), c.now)
	if err != nil {
		t.Fatal(err)
	}
	if opens(t, again, block) || !opens(t, again, sealTo(t, again)) {
		t.Fatal("the store holds other prekeys than memory")
	}
	if n := len(a.Recipient().Prekeys); n > 6 {
		t.Errorf("%d prekeys are kept", n)
	}
}

// TestClockJumps is for machines that start in 1970 or in the next century.
func TestClockJumps(t *testing.T) {
	tests := []struct {
		name string
		jump time.Duration
	}{
		{"to the past", -50 * 365 * day},
		{"to the future", 50 * 365 * day},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _, c := newAccount(t, "alice@north.test")
			publish(t, a)
			block := sealTo(t, a)
			c.advance(PrekeyLife + PrekeyJitter)
			if !rotate(t, a) {
				t.Fatal("no rotation")
			}
			c.advance(tt.jump)
			for range 6 { // most of a day with a wrong clock
				rotate(t, a)
				publish(t, a)
				c.advance(3 * time.Hour)
			}
			c.advance(-tt.jump)
			for range 12 {
				rotate(t, a)
				publish(t, a)
				c.advance(4 * time.Hour)
			}
			if !opens(t, a, block) {
				t.Fatal("a wrong clock destroyed a prekey that mail may still be sealed to")
			}
			// It recovers: the old prekey goes in the end, rotation goes on.
			before, _ := a.Bundle()
			for range 40 * 4 {
				rotate(t, a)
				publish(t, a)
				c.advance(6 * time.Hour)
			}
			if opens(t, a, block) {
				t.Error("the prekey is kept for ever")
			}
			after, _ := a.Bundle()
			if n := after.Version - before.Version; n < 4 || n > 7 {
				t.Errorf("%d rotations in 40 days", n)
			}
		})
	}
}

func TestKeysSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	c := &clock{time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)}
	s := openStore(t, dir)
	if err := CreateIn(s, "alice@north.test", c.now()); err != nil {
		t.Fatal(err)
	}
	a, err := Load(s, "alice@north.test", c.now)
	if err != nil {
		t.Fatal(err)
	}
	block, nonce := sealTo(t, a), a.Nonce()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	defer s.Close()
	a, err = Load(s, "alice@north.test", c.now)
	if err != nil {
		t.Fatal(err)
	}
	if !opens(t, a, block) || a.Nonce() <= nonce {
		t.Error("keys or nonces did not survive")
	}
}

func TestUnreadableRecords(t *testing.T) {
	a, s, c := newAccount(t, "alice@north.test")
	for _, kind := range []string{kindAccount, kindBoot, kindState, kindPrekey + string(a.prekeys[0].ID)} {
		var before []byte
		err := s.Update(func(tx *store.Tx) (err error) {
			if before, err = tx.Get(key(a.Address(), kind)); err != nil {
				return err
			}
			return tx.Set(key(a.Address(), kind), []byte{0xa1, 0x01, 0x09}) // format 9
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(s, a.Address(), c.now); !errors.Is(err, ErrRecord) {
			t.Errorf("%q: %v", kind, err)
		}
		if err := s.Update(func(tx *store.Tx) error { return tx.Set(key(a.Address(), kind), before) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(s, a.Address(), c.now); err != nil {
		t.Fatal(err)
	}
}

func TestKeysStayOutOfLogs(t *testing.T) {
	a, _, _ := newAccount(t, "alice@north.test")
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(f, a); strings.Contains(out, "alice") || len(out) > 40 {
			t.Errorf("%s shows %s", f, out)
		}
	}
}

func TestRetentionIsWhatTheDesignSays(t *testing.T) {
	if PrekeyRetention != 20*day || InstanceSize != spool.InstanceSize {
		t.Error("retention or instance size differ")
	}
}
