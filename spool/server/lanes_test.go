package server_test

import (
	"crypto/ed25519"
	"errors"
	"sync"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
	"mailproxy/spool/work"
)

// cheap is work that tests can pay.
var cheap = spool.Terms{Memory: 64, Time: 1, Bits: 4}

// strict is a policy without the open lane, and with cheap work.
func strict(change ...func(p *server.Policy)) server.Policy {
	p := server.DefaultPolicy()
	p.Work = cheap
	for _, c := range change {
		c(&p)
	}
	return p
}

func withPolicy(t testing.TB, st server.Store, c *clock, p server.Policy) *server.Server {
	t.Helper()
	s := newServer(t, st, c, server.Limits{})
	if err := s.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
	return s
}

// access sets the append key that appendKey(n) is.
func (u *user) access(n byte, version uint64) *spool.Access {
	r := &spool.Access{AppendKey: appendKey(n).Public().(ed25519.PublicKey), Version: version, Auth: u.nextAuth()}
	r.Sign(u.service, u.read)
	return r
}

func appendKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), n))
}

func fromContact(u *user, key byte, n int) *spool.Append {
	a := appendBlock(u.spool(), n)
	a.Lane = spool.SignContact(appendKey(key), u.service, a.Spool, spool.BlockIDOf(a.Block))
	return a
}

func fromStranger(t testing.TB, u *user, terms spool.Terms, n int) *spool.Append {
	t.Helper()
	a := appendBlock(u.spool(), n)
	proof, err := work.Solve(t.Context(), spool.AppendInput(spool.LaneStrangers, u.service, a.Spool, spool.BlockIDOf(a.Block)), terms)
	if err != nil {
		t.Fatal(err)
	}
	a.Lane = &spool.LaneProof{Lane: spool.LaneStrangers, Proof: proof}
	return a
}

// refusedTerms expects a refusal that says what a stranger's block costs.
func refusedTerms(t *testing.T, s *server.Server, r spool.Request, want spool.Status) spool.Terms {
	t.Helper()
	status, err := ask(t, s, encode(t, r), new(spool.Empty))
	var refused *spool.Refused
	if status != want || !errors.As(err, &refused) || refused.Terms == nil {
		t.Fatalf("%v, want %v with terms", err, want)
	}
	return *refused.Terms
}

func TestLanes(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict(func(p *server.Policy) { p.Contacts.Quota.Blocks, p.Strangers.Quota.Blocks = 3, 2 }))
	alice, nobody := newUser(t, 1), newUser(t, 9)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)

	// What a sender needs to know stands in the look-up, and in every refusal.
	var found spool.LookupReply
	if status, err := ask(t, s, encode(t, &spool.Lookup{Name: "alice"}), &found); status != spool.StatusOK || found.Terms != cheap {
		t.Fatalf("look-up: %+v, %v", found.Terms, err)
	}
	unknown := appendBlock(alice.spool(), 1)
	unknown.Lane = &spool.LaneProof{Lane: 3, Proof: []byte{1}}
	cut := fromStranger(t, alice, cheap, 1)
	cut.Lane.Proof = cut.Lane.Proof[1:]
	crossed := fromContact(alice, 1, 1) // a contact's proof in the strangers' lane
	crossed.Lane.Lane = spool.LaneStrangers
	moved := fromStranger(t, alice, cheap, 1) // for another block
	moved.Block = storetest.Block(77)
	for moved.Lane.Proof[8] = 0; work.Check(spool.AppendInput(2, alice.service, moved.Spool, spool.BlockIDOf(moved.Block)), moved.Lane.Proof, cheap); {
		moved.Lane.Proof[8]++
	}
	for _, tt := range []struct {
		what string
		r    *spool.Append
		want spool.Status
	}{
		{"open lane", appendBlock(alice.spool(), 1), spool.StatusLane},
		{"unknown lane", unknown, spool.StatusLane},
		{"contact before there is a key", fromContact(alice, 1, 1), spool.StatusAppendKey},
		{"no proof of work", cut, spool.StatusWork},
		{"contact's proof by the strangers' lane", crossed, spool.StatusWork},
		{"work for another block", moved, spool.StatusWork},
	} {
		if got := refusedTerms(t, s, tt.r, tt.want); got != cheap {
			t.Errorf("%s: terms %+v", tt.what, got)
		}
	}
	expect(t, s, fromContact(nobody, 1, 1), spool.StatusNoSpool)
	expect(t, s, fromStranger(t, nobody, cheap, 1), spool.StatusNoSpool)

	expect(t, s, alice.access(1, 1), spool.StatusOK)
	expect(t, s, fromContact(alice, 2, 1), spool.StatusAppendKey)
	for n := 1; n <= 3; n++ {
		expect(t, s, fromContact(alice, 1, n), spool.StatusOK)
		expect(t, s, fromContact(alice, 1, n), spool.StatusKnown)
	}
	// Each lane has a quota of its own.
	expect(t, s, fromContact(alice, 1, 4), spool.StatusFull)
	for n := 11; n <= 12; n++ {
		expect(t, s, fromStranger(t, alice, cheap, n), spool.StatusOK)
	}
	expect(t, s, fromStranger(t, alice, cheap, 13), spool.StatusFull)
	expect(t, s, fromStranger(t, alice, cheap, 1), spool.StatusKnown) // came by the other
	expect(t, s, fromContact(alice, 1, 4), spool.StatusFull)
	read(t, s, alice.reading(4, 5)) // three contacts', one stranger's
	expect(t, s, fromContact(alice, 1, 4), spool.StatusOK)
	expect(t, s, fromStranger(t, alice, cheap, 13), spool.StatusOK)
	expect(t, s, fromStranger(t, alice, cheap, 14), spool.StatusFull)

	// Rotation: the old key is worth nothing from then on, and cannot come back.
	expect(t, s, alice.access(2, 5), spool.StatusOK)
	refusedTerms(t, s, fromContact(alice, 1, 5), spool.StatusAppendKey)
	expect(t, s, fromContact(alice, 2, 5), spool.StatusOK)
	expect(t, s, alice.access(2, 5), spool.StatusOK)
	expect(t, s, alice.access(1, 5), spool.StatusStale)
	expect(t, s, alice.access(1, 4), spool.StatusStale)
	expect(t, s, nobody.access(1, 1), spool.StatusNoSpool)
}

// The price can be raised while the service runs; what was worked for before is
// still taken for a while.
func TestPriceChanges(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict())
	alice := newUser(t, 1)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	expect(t, s, fromStranger(t, alice, cheap, 1), spool.StatusOK)
	dear := cheap
	dear.Bits += 2
	if err := s.SetPolicy(strict(func(p *server.Policy) { p.Work = dear })); err != nil {
		t.Fatal(err)
	}
	if got := s.Terms(); got != dear {
		t.Fatalf("terms are %+v", got)
	}
	expect(t, s, fromStranger(t, alice, cheap, 2), spool.StatusOK)
	c.set(start.Add(20 * time.Minute))
	if got := refusedTerms(t, s, fromStranger(t, alice, cheap, 3), spool.StatusWork); got != dear {
		t.Fatalf("told %+v", got)
	}
	expect(t, s, fromStranger(t, alice, dear, 3), spool.StatusOK)

	bad := strict(func(p *server.Policy) { p.Work.Memory = 1 })
	if err := s.SetPolicy(bad); err == nil || s.Terms() != dear {
		t.Fatalf("a bad policy was taken: %v, %+v", err, s.Terms())
	}
	if err := s.SetPolicy(server.OpenPolicy()); err != nil {
		t.Fatal(err)
	}
	expect(t, s, appendBlock(alice.spool(), 9), spool.StatusOK)
	if got := s.Terms(); got != (spool.Terms{}) {
		t.Fatalf("the open lane is open and costs %+v", got)
	}
}

// Whoever uses up a lane of one spool uses up nothing else, and without the append
// key nobody uses up the contacts' lane.
func TestRatesPerSpool(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict(func(p *server.Policy) {
		p.Contacts.Rate = server.Rate{PerSecond: 1, Burst: 3}
		p.Strangers.Rate = server.Rate{PerSecond: 1, Burst: 2}
		p.Reads = server.Rate{PerSecond: 1, Burst: 4}
		p.Changes = server.Rate{PerSecond: 1, Burst: 3}
	}))
	alice, bob := newUser(t, 1), newUser(t, 3)
	for name, u := range map[string]*user{"alice@north.test": alice, "bob@north.test": bob} {
		expect(t, s, u.register(name, 1), spool.StatusOK)
		expect(t, s, u.access(1, 1), spool.StatusOK)
	}
	for range 10 {
		expect(t, s, fromContact(alice, 2, 1), spool.StatusAppendKey)
	}
	for n := range 3 {
		expect(t, s, fromContact(alice, 1, n), spool.StatusOK)
	}
	expect(t, s, fromContact(alice, 1, 3), spool.StatusBusy)
	wrong := cheap
	wrong.Bits--
	for range 10 { // turned away before they cost anything
		expect(t, s, fromStranger(t, alice, wrong, 10), spool.StatusWork)
	}
	for n := 10; n < 12; n++ {
		expect(t, s, fromStranger(t, alice, cheap, n), spool.StatusOK)
	}
	expect(t, s, fromStranger(t, alice, cheap, 12), spool.StatusBusy)
	expect(t, s, fromContact(bob, 1, 1), spool.StatusOK)
	expect(t, s, fromStranger(t, bob, cheap, 2), spool.StatusOK)
	for range 4 {
		read(t, s, alice.reading(0, 1))
	}
	expect(t, s, alice.reading(0, 1), spool.StatusBusy)
	read(t, s, bob.reading(0, 1))
	expect(t, s, alice.access(1, 2), spool.StatusOK) // the first for this key was made above
	expect(t, s, alice.access(1, 3), spool.StatusOK)
	expect(t, s, alice.access(1, 4), spool.StatusBusy)
	expect(t, s, bob.access(1, 2), spool.StatusOK)
	c.set(start.Add(time.Second))
	expect(t, s, alice.access(1, 4), spool.StatusOK)
	expect(t, s, fromContact(alice, 1, 3), spool.StatusOK)
	expect(t, s, fromContact(alice, 1, 4), spool.StatusBusy)
	expect(t, s, fromStranger(t, alice, cheap, 12), spool.StatusOK)
	read(t, s, alice.reading(0, 1))
}

func TestRatesOfTheService(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict(func(p *server.Policy) {
		p.New = server.Rate{PerSecond: 1, Burst: 2}
		p.Lookups = server.Rate{PerSecond: 1, Burst: 2}
		p.Checks = server.Rate{PerSecond: 1, Burst: 2}
	}))
	alice, bob, carol := newUser(t, 1), newUser(t, 3), newUser(t, 5)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	expect(t, s, bob.register("bob@north.test", 1), spool.StatusOK)
	expect(t, s, carol.register("carol@north.test", 1), spool.StatusBusy)
	expect(t, s, alice.register("alice@north.test", 2), spool.StatusOK)
	expect(t, s, &spool.Lookup{Name: "nobody"}, spool.StatusNoUser)
	expect(t, s, &spool.Lookup{Name: "no body"}, spool.StatusBadName)
	expect(t, s, &spool.Lookup{Name: "nobody"}, spool.StatusNoUser)
	expect(t, s, &spool.Lookup{Name: "nobody"}, spool.StatusBusy)
	expect(t, s, fromStranger(t, alice, cheap, 1), spool.StatusOK)
	expect(t, s, fromStranger(t, bob, cheap, 2), spool.StatusOK)
	expect(t, s, fromStranger(t, bob, cheap, 3), spool.StatusBusy)
	c.set(start.Add(time.Second))
	expect(t, s, carol.register("carol@north.test", 1), spool.StatusOK)
	expect(t, s, &spool.Lookup{Name: "nobody"}, spool.StatusNoUser)
	expect(t, s, fromStranger(t, bob, cheap, 3), spool.StatusOK)
}

// With hidden users an append to no spool is answered as one to a spool, also when
// it is made twice, and so is whatever else somebody who does not own a name sends.
func TestHiddenUsers(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict(func(p *server.Policy) { p.HideUsers = true }))
	alice, eve := newUser(t, 1), newUser(t, 9)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	expect(t, s, alice.access(1, 1), spool.StatusOK)
	stranger := func(name string, u *user) []spool.Status {
		var got []spool.Status
		say := func(r spool.Request) {
			status, _ := ask(t, s, encode(t, r), new(spool.Empty))
			got = append(got, status)
		}
		say(appendBlock(u.spool(), 1))
		say(fromContact(u, 2, 1))
		say(fromStranger(t, u, cheap, 1))
		say(fromStranger(t, u, cheap, 1))
		cut := fromStranger(t, u, cheap, 2)
		cut.Lane.Proof = cut.Lane.Proof[1:]
		say(cut)
		say(eve.replace(name+"@north.test", 7, 1))
		say(eve.revoke(name, u.spool(), true))
		return got
	}
	here, not := stranger("alice", alice), stranger("nobody", newUser(t, 5))
	for i := range here {
		if here[i] != not[i] {
			t.Errorf("step %d: %v for who is here, %v for who is not", i, here[i], not[i])
		}
	}
	if here[2] != spool.StatusOK || here[3] != spool.StatusOK {
		t.Errorf("a stranger's block: %v, %v", here[2], here[3])
	}
	if r := read(t, s, alice.reading(0, 1)); r.Last != 1 {
		t.Errorf("alice has %d blocks, want 1", r.Last)
	}
	if s.Dropped() != 2 {
		t.Errorf("%d blocks were dropped, want 2", s.Dropped())
	}
}

// The policy is exchanged while requests are being answered: each is answered by
// the one or the other, and proofs for either price are taken.
func TestPolicyChangesUnderLoad(t *testing.T) {
	s := withPolicy(t, openStore(t), newClock(), strict())
	alice := newUser(t, 1)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	expect(t, s, alice.access(1, 1), spool.StatusOK)
	dear := cheap
	dear.Bits++
	var wg sync.WaitGroup
	for i, terms := range []spool.Terms{cheap, dear} {
		var requests []*spool.Append
		for n := range 20 {
			requests = append(requests, fromStranger(t, alice, terms, 100*(i+1)+n), fromContact(alice, 1, 1000*(i+1)+n))
		}
		wg.Go(func() {
			for _, r := range requests {
				status, _ := ask(t, s, encode(t, r), new(spool.Empty))
				// Until the second price was asked for once, nobody can have worked for it.
				if status != spool.StatusOK && (status != spool.StatusWork || i == 0) && status != spool.StatusBusy {
					t.Errorf("lane %d: %v", r.Lane.Lane, status)
				}
			}
		})
	}
	for n := range 200 {
		p := strict()
		if n%2 == 0 {
			p.Work = dear
		}
		if err := s.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}
