package server_test

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

func (u *user) revoke(name string, id spool.ID, erase bool) *spool.Revoke {
	r := &spool.Revoke{Name: name, Spool: id, Erase: erase, Auth: u.nextAuth()}
	r.Sign(u.service, u.identity)
	return r
}

func (u *user) invited(address, code string) *spool.Register {
	return u.register(address, 1, func(r *spool.Register) { r.Invite = []byte(code) })
}

// What an owner revokes or deletes stays so, also over a restart.
func TestRevoke(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	open := func() (*server.Server, func()) {
		st, err := badgerstore.Open(badgerstore.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s, err := server.New(server.Options{Store: st, Provider: "north.test", Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		return s, func() {
			if err := errors.Join(s.Close(), st.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, closeAll := open()
	alice, bob, eve := newUser(t, 1), newUser(t, 3), newUser(t, 9)
	for name, u := range map[string]*user{"alice": alice, "bob": bob} {
		expect(t, s, u.register(name+"@north.test", 1), spool.StatusOK)
		expect(t, s, appendBlock(u.spool(), 1), spool.StatusOK)
	}
	expect(t, s, eve.revoke("alice", alice.spool(), true), spool.StatusBadSignature)
	expect(t, s, alice.revoke("bob", bob.spool(), true), spool.StatusBadSignature)
	expect(t, s, alice.revoke("alice", bob.spool(), true), spool.StatusWrongSpool)
	expect(t, s, eve.revoke("eve", eve.spool(), true), spool.StatusNoUser)
	expect(t, s, eve.revoke("Alice", alice.spool(), true), spool.StatusBadName)
	first := alice.revoke("alice", alice.spool(), false)
	expect(t, s, first, spool.StatusOK)
	expect(t, s, first, spool.StatusReplayed)
	expect(t, s, bob.revoke("bob", bob.spool(), true), spool.StatusOK)
	for range 2 {
		for name, u := range map[string]*user{"alice": alice, "bob": bob} {
			expect(t, s, &spool.Lookup{Name: name}, spool.StatusRevoked)
			expect(t, s, u.register(name+"@north.test", 2), spool.StatusRevoked)
			expect(t, s, eve.register(name+"@north.test", 2), spool.StatusRevoked)
			expect(t, s, u.replace(name+"@north.test", 2, 1), spool.StatusRevoked)
			expect(t, s, appendBlock(u.spool(), 2), spool.StatusRevoked)
			expect(t, s, u.register(name+"2@north.test", 1), spool.StatusWrongSpool)
		}
		if r := read(t, s, alice.reading(0, 1)); r.Seq != 1 { // only revoked: what has come can be read
			t.Fatalf("a revoked account reads %d", r.Seq)
		}
		expect(t, s, bob.reading(0, 1), spool.StatusRevoked)
		expect(t, s, bob.revoke("bob", bob.spool(), true), spool.StatusOK)
		closeAll()
		s, closeAll = open()
	}
	// Revoked first, deleted later.
	expect(t, s, alice.revoke("alice", alice.spool(), true), spool.StatusOK)
	expect(t, s, alice.reading(0, 1), spool.StatusRevoked)
	closeAll()
}

func invite(t *testing.T, st server.Store, code string, expires time.Time) {
	t.Helper()
	if err := st.AddInvite(t.Context(), server.Invite{Hash: sha256.Sum256([]byte(code)), Created: start, Expires: expires}); err != nil {
		t.Fatal(err)
	}
}

func TestInvitations(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict(func(p *server.Policy) { p.Invite = true }))
	alice, bob, eve := newUser(t, 1), newUser(t, 3), newUser(t, 9)
	invite(t, st, "one", start.Add(time.Hour))
	invite(t, st, "two", start.Add(time.Minute))
	invite(t, st, "three", time.Time{})
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusInvite)
	expect(t, s, alice.invited("alice@north.test", "none"), spool.StatusInvite)
	expect(t, s, alice.invited("alice@north.test", "one"), spool.StatusOK)
	// The reply was lost: the same again, with and without.
	expect(t, s, alice.invited("alice@north.test", "one"), spool.StatusOK)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	expect(t, s, alice.register("alice@north.test", 2), spool.StatusOK)
	expect(t, s, bob.invited("bob@north.test", "one"), spool.StatusInvite)
	// A good one tells the truth about names, and is not used up by it.
	expect(t, s, bob.invited("alice@north.test", "three"), spool.StatusTaken)
	expect(t, s, bob.invited("postmaster@north.test", "three"), spool.StatusReserved)
	c.set(start.Add(2 * time.Minute))
	expect(t, s, bob.invited("bob@north.test", "two"), spool.StatusInvite)
	expect(t, s, bob.invited("bob@north.test", "three"), spool.StatusOK)

	// Who has none learns nothing about names: not of those that are here, nor of
	// those that were.
	expect(t, s, bob.revoke("bob", bob.spool(), true), spool.StatusOK)
	for _, name := range []string{"alice", "bob", "carol"} {
		expect(t, s, eve.register(name+"@north.test", 1), spool.StatusInvite)
		expect(t, s, eve.invited(name+"@north.test", "one"), spool.StatusInvite)
	}
}

// Of many who use one invitation at the same time, one gets a name.
func TestInvitationIsUsedOnce(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict(func(p *server.Policy) { p.Invite = true }))
	invite(t, st, "one", time.Time{})
	var requests [][]byte
	for n := range byte(8) {
		requests = append(requests, encode(t, newUser(t, 20+n).invited("user"+string('a'+rune(n))+"@north.test", "one")))
	}
	var wg sync.WaitGroup
	for _, r := range requests {
		wg.Go(func() { s.Answer(t.Context(), r) })
	}
	wg.Wait()
	ok, refused := s.Answers(spool.TypeRegister, spool.StatusOK), s.Answers(spool.TypeRegister, spool.StatusInvite)
	if ok != 1 || refused != 7 {
		t.Fatalf("%d got a name, %d were refused", ok, refused)
	}
}

func TestReservedByTheOperator(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict())
	alice, bob := newUser(t, 1), newUser(t, 3)
	expect(t, s, alice.register("chief@north.test", 1), spool.StatusOK)
	if err := s.SetPolicy(strict(func(p *server.Policy) { p.Reserved = []string{"chief", "director"} })); err != nil {
		t.Fatal(err)
	}
	expect(t, s, bob.register("director@north.test", 1), spool.StatusReserved)
	expect(t, s, bob.register("admin@north.test", 1), spool.StatusReserved)
	// Who has it keeps it.
	expect(t, s, alice.register("chief@north.test", 2), spool.StatusOK)
	expect(t, s, alice.replace("chief@north.test", 3, 1), spool.StatusOK)
	expect(t, s, bob.register("chief@north.test", 1), spool.StatusTaken)
}

func TestSuspended(t *testing.T) {
	st, c := openStore(t), newClock()
	s := newServer(t, st, c, server.Limits{})
	alice := newUser(t, 1)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	expect(t, s, appendBlock(alice.spool(), 1), spool.StatusOK)
	if err := st.Suspend(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	expect(t, s, &spool.Lookup{Name: "alice"}, spool.StatusSuspended)
	expect(t, s, alice.register("alice@north.test", 2), spool.StatusSuspended)
	expect(t, s, alice.replace("alice@north.test", 2, 1), spool.StatusSuspended)
	expect(t, s, appendBlock(alice.spool(), 2), spool.StatusSuspended)
	expect(t, s, alice.reading(0, 1), spool.StatusSuspended)
	// Whoever has the laptop has the keys: a revocation must not open the spool.
	expect(t, s, alice.revoke("alice", alice.spool(), false), spool.StatusOK)
	expect(t, s, alice.reading(0, 1), spool.StatusSuspended)
	if err := st.Suspend(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	if r := read(t, s, alice.reading(0, 1)); r.Seq != 1 || r.Last != 1 {
		t.Fatalf("after the suspension: %d of %d", r.Seq, r.Last)
	}
}
