package server_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// mangled returns the bytes of r with a change in its body.
func mangled(t testing.TB, r spool.Request, change func(m map[int]any)) []byte {
	t.Helper()
	b := encode(t, r)
	var m map[int]any
	if err := codec.Unmarshal(b[4:], &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	body, err := codec.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{b[0], b[1], byte(len(body) >> 8), byte(len(body))}, body...)
}

// expiring signs a request that expires at some second.
func (u *user) expiring(at int64, r func() spool.Request) spool.Request {
	before := u.auth.Expiry
	defer func() { u.auth.Expiry = before }()
	u.auth.Expiry = at
	return r()
}

// A world of refusals: alice has a bundle of version 5, an append key of version 5
// and three blocks, bob a name, carol was revoked; eve has nothing. There is an
// invitation, and the open lane is closed.
type refusals struct {
	st                      server.Store
	c                       *clock
	s                       *server.Server
	alice, bob, carol, eve  *user
	replayed                []spool.Request // of alice, carried out
	read, access            func() spool.Request
	register, replace, gone func() spool.Request
}

const (
	aliceAddress = "alice@north.test"
	bobAddress   = "bob@north.test"
)

func newRefusals(t testing.TB) *refusals {
	w := &refusals{st: openStore(t), c: newClock(), alice: newUser(t, 1), bob: newUser(t, 3), carol: newUser(t, 5), eve: newUser(t, 9)}
	w.s = newServer(t, w.st, w.c, server.Limits{})
	ok := func(r spool.Request) {
		t.Helper()
		if status, err := ask(t, w.s, encode(t, r), new(spool.Empty)); !status.Success() {
			t.Fatalf("%T: %v", r, err)
		}
	}
	ok(w.alice.register(aliceAddress, 5))
	ok(w.alice.access(1, 5))
	ok(w.bob.register(bobAddress, 1))
	ok(w.carol.register("carol@north.test", 1))
	ok(w.carol.revoke("carol", w.carol.spool(), false))
	for n := 1; n <= 3; n++ {
		ok(appendBlock(w.alice.spool(), n))
	}
	w.replayed = []spool.Request{w.alice.register(aliceAddress, 5), w.alice.replace(aliceAddress, 5, 0), w.alice.access(1, 5), w.alice.reading(0, 1)}
	for _, r := range w.replayed[:3] {
		ok(r)
	}
	read(t, w.s, w.replayed[3].(*spool.Read))
	invitation := server.Invite{Hash: [32]byte{1}, Created: start}
	if err := w.st.AddInvite(context.Background(), invitation); err != nil {
		t.Fatal(err)
	}
	// No rates: the clock stands, and none would come back.
	policy := server.Policy{Work: cheap, Checks: server.Rate{PerSecond: 1e6, Burst: 1e9}}
	if err := w.s.SetPolicy(policy); err != nil {
		t.Fatal(err)
	}
	// Requests of alice that would change something.
	w.read = func() spool.Request { return w.alice.reading(3, 4) }
	w.access = func() spool.Request { return w.alice.access(2, 9) }
	w.register = func() spool.Request { return w.alice.register(aliceAddress, 9) }
	w.replace = func() spool.Request { return w.alice.replace(aliceAddress, 9, 9) }
	w.gone = func() spool.Request { return w.alice.revoke("alice", w.alice.spool(), true) }
	return w
}

// Every way to be wrong has an answer of its own, and changes nothing.
func TestRefusals(t *testing.T) {
	w := newRefusals(t)
	alice, eve, c := w.alice, w.eve, w.c
	raw := func(r spool.Request) []byte { return encode(t, r) }
	elsewhere := func(r func(u *user) spool.Request) []byte {
		u := *alice
		u.service, u.auth.Nonce = spool.ServiceOf("south.test"), 1000
		return raw(r(&u))
	}
	withEve := func(r func(u *user) spool.Request) []byte {
		u := *alice // alice's name, nonces and spool; eve's keys sign
		u.auth.Nonce = 2000
		u.identity, u.read = eve.identity, eve.read
		return raw(r(&u))
	}
	encoded := func(r spool.Request, change func(b []byte) []byte) []byte { return change(bytes.Clone(raw(r))) }
	aliceKey := alice.read.Public().(ed25519.PublicKey)
	forgedRead, forgedAccess := eve.reading(3, 4), eve.access(2, 9)
	forgedRead.ReadKey, forgedAccess.ReadKey = aliceKey, aliceKey
	block := fromContact(alice, 1, 9) // good, so that only what is changed is wrong
	far := c.now().Add(spool.MaxExpiry).Unix()
	long := strings.Repeat("a", 65)
	longAddress := alice.register(aliceAddress, 9, func(r *spool.Register) { r.Bundle = longBundle(t, alice) })
	longAddress.Sign(alice.service, alice.identity, alice.read)

	tests := []refusal{
		{"read by another key", withEve(func(u *user) spool.Request { return u.reading(3, 4) }), spool.StatusNoSpool},
		{"read of another's spool", raw(forgedRead), spool.StatusBadSignature},
		{"read beyond the last", raw(alice.reading(4, 5)), spool.StatusCursorAhead},
		{"access to another's spool", raw(forgedAccess), spool.StatusBadSignature},
		{"access to no spool", raw(eve.access(1, 1)), spool.StatusNoSpool},
		{"access with an old version", raw(alice.access(2, 4)), spool.StatusStale},
		{"access with the same version", raw(alice.access(2, 5)), spool.StatusStale},
		{"replace by another identity", withEve(func(u *user) spool.Request { return u.replace(aliceAddress, 9, 9) }), spool.StatusNotOwner},
		{"replace of no name", raw(eve.replace("eve@north.test", 9, 9)), spool.StatusNoUser},
		{"replace with an old version", raw(alice.replace(aliceAddress, 4, 9)), spool.StatusStale},
		{"replace with the same version", raw(alice.replace(aliceAddress, 5, 9)), spool.StatusStale},
		{"replace of a revoked name", raw(w.carol.replace("carol@north.test", 9, 9)), spool.StatusRevoked},
		{"register by another identity", withEve(func(u *user) spool.Request { return u.register(aliceAddress, 9) }), spool.StatusTaken},
		{"register with an old version", raw(alice.register(aliceAddress, 4)), spool.StatusStale},
		{"register of a revoked name", raw(eve.register("carol@north.test", 9)), spool.StatusRevoked},
		{"register of a reserved name", raw(eve.register("abuse@north.test", 9)), spool.StatusReserved},
		{"register at another domain", raw(eve.register("eve@south.test", 9)), spool.StatusWrongDomain},
		{"register without the read key", raw(alice.register(aliceAddress, 9, func(r *spool.Register) { r.Proof = make([]byte, 64) })), spool.StatusBadSignature},
		{"register with another read key", raw(alice.register(aliceAddress, 9, func(r *spool.Register) { r.Sign(alice.service, alice.identity, eve.read) })), spool.StatusWrongSpool},
		{"register of a second name", raw(alice.register("alice2@north.test", 9)), spool.StatusWrongSpool},
		{"register with a changed bundle", raw(alice.register(aliceAddress, 9, func(r *spool.Register) { r.Bundle.Body[40] ^= 1 })), spool.StatusBadBundle},
		{"register of a long name", raw(alice.register(long+"@north.test", 9)), spool.StatusBadName},
		{"register of a longer name", raw(longAddress), spool.StatusBadBundle},
		{"replace of a long name", raw(alice.replace(long+"@north.test", 9, 9)), spool.StatusBadName},
		{"revocation by another identity", withEve(func(u *user) spool.Request { return u.revoke("alice", alice.spool(), true) }), spool.StatusBadSignature},
		{"revocation of another's name", raw(alice.revoke("bob", w.bob.spool(), true)), spool.StatusBadSignature},
		{"revocation with another spool", raw(alice.revoke("alice", w.bob.spool(), true)), spool.StatusWrongSpool},
		{"revocation of no name", raw(eve.revoke("eve", eve.spool(), true)), spool.StatusNoUser},
		{"revocation of a long name", raw(alice.revoke(long, alice.spool(), true)), spool.StatusBadName},
		{"revocation of a longer name", mangled(t, w.gone(), func(m map[int]any) { m[1] = strings.Repeat("a", 129) }), spool.StatusMalformed},
		{"revocation changed to erase", mangled(t, alice.revoke("alice", alice.spool(), false), func(m map[int]any) { m[3] = true }), spool.StatusBadSignature},
		{"look-up of nobody", raw(&spool.Lookup{Name: "nobody"}), spool.StatusNoUser},
		{"look-up of a revoked name", raw(&spool.Lookup{Name: "carol"}), spool.StatusRevoked},
		{"look-up not in normal form", raw(&spool.Lookup{Name: "Alice"}), spool.StatusBadName},
		{"look-up of a long name", raw(&spool.Lookup{Name: long}), spool.StatusBadName},
		{"look-up of a longer name", mangled(t, &spool.Lookup{Name: "alice"}, func(m map[int]any) { m[1] = strings.Repeat("a", 129) }), spool.StatusMalformed},
		{"look-up in an impossible log", mangled(t, &spool.Lookup{Name: "alice"}, func(m map[int]any) { m[2] = uint64(math.MaxUint64) }), spool.StatusMalformed},
		{"records backwards", mangled(t, &spool.Log{From: 1, Size: 2}, func(m map[int]any) { m[1] = 3 }), spool.StatusMalformed},
		{"records of an impossible log", mangled(t, &spool.Log{From: 1, Size: 2}, func(m map[int]any) { m[2] = uint64(math.MaxUint64) }), spool.StatusMalformed},
		{"append by the open lane", raw(appendBlock(alice.spool(), 9)), spool.StatusLane},
		{"append by no lane", mangled(t, block, func(m map[int]any) { m[3] = map[int]any{1: 77, 2: []byte{1}} }), spool.StatusLane},
		{"append by a lane of two bytes", mangled(t, block, func(m map[int]any) { m[3] = map[int]any{1: 257, 2: []byte{1}} }), spool.StatusMalformed},
		{"append with an empty proof", mangled(t, block, func(m map[int]any) { m[3] = map[int]any{1: 1, 2: []byte{}} }), spool.StatusMalformed},
		{"append with too long a proof", mangled(t, block, func(m map[int]any) { m[3] = map[int]any{1: 1, 2: make([]byte, 257)} }), spool.StatusMalformed},
		{"append to no spool", raw(fromContact(eve, 1, 9)), spool.StatusNoSpool},
		{"append to a revoked spool", raw(fromContact(w.carol, 1, 9)), spool.StatusRevoked},
		{"append with another key", raw(fromContact(alice, 2, 9)), spool.StatusAppendKey},
		{"append without work", mangled(t, block, func(m map[int]any) { m[3] = map[int]any{1: 2, 2: []byte{1}} }), spool.StatusWork},
		{"append of a long block", mangled(t, block, func(m map[int]any) { m[2] = make([]byte, spool.BlockSize+1) }), spool.StatusTooBig},
		{"append of a short block", mangled(t, block, func(m map[int]any) { m[2] = make([]byte, spool.BlockSize-1) }), spool.StatusMalformed},
		{"append of another block", mangled(t, block, func(m map[int]any) { m[2] = make([]byte, spool.BlockSize) }), spool.StatusAppendKey},
		{"append to half a spool", mangled(t, block, func(m map[int]any) { m[1] = make([]byte, 16) }), spool.StatusMalformed},
		{"access of version 0", mangled(t, w.access(), func(m map[int]any) { m[3] = 0 }), spool.StatusMalformed},
		{"access with half a key", mangled(t, w.access(), func(m map[int]any) { m[2] = make([]byte, 16) }), spool.StatusMalformed},
		{"access with another key than was signed", mangled(t, w.access(), func(m map[int]any) { m[2] = make([]byte, 32) }), spool.StatusBadSignature},
		{"invitation of 65 bytes", mangled(t, w.register(), func(m map[int]any) { m[5] = make([]byte, 65) }), spool.StatusMalformed},
		{"oversized", encoded(block, func(b []byte) []byte { b[2], b[3] = 0xff, 0xff; return append(b, make([]byte, 70000)...) }), spool.StatusTooBig},
		{"bytes after the end", encoded(w.read(), func(b []byte) []byte { return append(b, 0, 1) }), spool.StatusMalformed},
		{"unknown request", encoded(w.read(), func(b []byte) []byte { b[1] = 77; return b }), spool.StatusUnknownRequest},
		{"nothing", nil, spool.StatusMalformed},
	}
	for i, r := range w.replayed {
		tests = append(tests, refusal{fmt.Sprintf("replayed %d", i), raw(r), spool.StatusReplayed})
	}
	for what, r := range map[string]func() spool.Request{
		"read": w.read, "access": w.access, "register": w.register, "replace": w.replace, "revocation": w.gone,
	} {
		tests = append(tests,
			refusal{what + ": expired", raw(alice.expiring(c.now().Unix()-1, r)), spool.StatusExpired},
			refusal{what + ": expired long ago", raw(alice.expiring(math.MinInt64, r)), spool.StatusExpired},
			refusal{what + ": expires too far ahead", raw(alice.expiring(far+1, r)), spool.StatusTooFar},
			refusal{what + ": expires at the end of time", raw(alice.expiring(math.MaxInt64, r)), spool.StatusTooFar},
		)
	}
	for what, r := range map[string]func(u *user) spool.Request{
		"read":       func(u *user) spool.Request { return u.reading(3, 4) },
		"access":     func(u *user) spool.Request { return u.access(2, 9) },
		"register":   func(u *user) spool.Request { return u.register(aliceAddress, 9) },
		"replace":    func(u *user) spool.Request { return u.replace(aliceAddress, 9, 9) },
		"revocation": func(u *user) spool.Request { return u.revoke("alice", alice.spool(), true) },
	} {
		tests = append(tests, refusal{what + ": for another service", elsewhere(r), spool.StatusBadSignature})
	}
	for what, r := range map[string]spool.Request{
		"read": w.read(), "access": w.access(), "register": w.register(), "replace": w.replace(), "revocation": w.gone(),
		"append": block, "look-up": &spool.Lookup{Name: "alice"}, "log": &spool.Log{Size: 1},
	} {
		tests = append(tests,
			refusal{what + ": unknown field", mangled(t, r, func(m map[int]any) { m[9] = 1 }), spool.StatusMalformed},
			refusal{what + ": missing field", mangled(t, r, func(m map[int]any) { delete(m, 1); delete(m, 2) }), spool.StatusMalformed},
			refusal{what + ": another version", encoded(r, func(b []byte) []byte { b[0]++; return b }), spool.StatusVersion},
			refusal{what + ": an older version", encoded(r, func(b []byte) []byte { b[0]--; return b }), spool.StatusVersion},
			refusal{what + ": cut short", encoded(r, func(b []byte) []byte { return b[:len(b)-1] }), spool.StatusMalformed},
			refusal{what + ": of no length", encoded(r, func(b []byte) []byte { b[2], b[3] = 0, 0; return b }), spool.StatusMalformed},
		)
	}
	before := digest(t, w.st)
	for _, tt := range tests {
		status, err := ask(t, w.s, tt.b, new(spool.Empty))
		if status != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, status, tt.want)
		}
		var refused *spool.Refused
		if !errors.As(err, &refused) || !refused.Time.Equal(c.now()) {
			t.Errorf("%s: the refusal does not have the service's time: %v", tt.what, err)
		}
		if digest(t, w.st) != before {
			t.Fatalf("%s: something changed", tt.what)
		}
	}
	// A request that expires in this second, and one that does as late as may be.
	for _, at := range []int64{c.now().Unix(), far} {
		read(t, w.s, alice.expiring(at, func() spool.Request { return alice.reading(0, 1) }).(*spool.Read))
	}
	// What was refused for another reason than itself is carried out now.
	for _, r := range []spool.Request{block, w.register(), w.access(), w.gone()} {
		expect(t, w.s, r, spool.StatusOK)
	}
}

// A refusal is a request's bytes and why it is refused.
type refusal struct {
	what string
	b    []byte
	want spool.Status
}

// longBundle signs a bundle with an address that is longer than any may be, which
// package spool does not do.
func longBundle(t testing.TB, u *user) spool.SignedBundle {
	t.Helper()
	good := u.bundle(aliceAddress, 9, 0)
	b, err := good.Open()
	if err != nil {
		t.Fatal(err)
	}
	b.Address = "alice@" + strings.Repeat("a", 60) + "." + strings.Repeat("a", 60) + ".test"
	body, err := codec.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return spool.SignedBundle{Body: body, Signature: ed25519.Sign(u.identity, append([]byte("mailproxy/key-bundle/v1\x00"), body...))}
}

// After a restart the window is empty: what was carried out before can be again,
// until it expires, and changes nothing.
func TestReplayAfterRestart(t *testing.T) {
	st, c := openStore(t), newClock()
	s := newServer(t, st, c, server.Limits{})
	alice := newUser(t, 1)
	old := alice.register("alice@north.test", 1)
	expect(t, s, old, spool.StatusOK)
	expect(t, s, alice.replace("alice@north.test", 2, 1), spool.StatusOK)
	for n := 1; n <= 3; n++ {
		expect(t, s, appendBlock(alice.spool(), n), spool.StatusOK)
	}
	first, second := alice.reading(1, 2), alice.reading(2, 3)
	read(t, s, first)
	read(t, s, second)
	before := digest(t, st)
	again := newServer(t, st, c, server.Limits{})
	if r := read(t, again, first); r.Lowest != 3 {
		t.Fatalf("a read of before the restart brings back %d", r.Lowest)
	}
	expect(t, again, old, spool.StatusStale)
	if digest(t, st) != before {
		t.Fatal("a request of before the restart changed something")
	}
	expect(t, again, first, spool.StatusReplayed)
	c.set(time.Unix(second.Auth.Expiry+1, 0))
	expect(t, again, second, spool.StatusExpired)
}

// Reads overtake each other; none is taken for a replay on that account.
func TestReorderedReads(t *testing.T) {
	s := newServer(t, openStore(t), newClock(), server.Limits{})
	alice := newUser(t, 1)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	reads := make([]*spool.Read, 200)
	for i := range reads {
		reads[i] = alice.reading(0, 1)
	}
	rand.Shuffle(len(reads), func(i, j int) { reads[i], reads[j] = reads[j], reads[i] })
	for _, r := range reads {
		read(t, s, r)
	}
	for _, r := range reads {
		expect(t, s, r, spool.StatusReplayed)
	}
}

func TestRandomBytes(t *testing.T) {
	w := newRefusals(t)
	random, before := rand.NewChaCha8([32]byte{1}), digest(t, w.st)
	for range 2000 {
		b := make([]byte, random.Uint64()%300)
		if _, err := random.Read(b); err != nil {
			t.Fatal(err)
		}
		if len(b) > 4 && b[10%len(b)]&1 == 0 {
			b[0], b[1] = spool.Version, 1+b[1]%8
			b[2], b[3] = 0, byte(min(len(b)-4, 255))
		}
		if status, _ := ask(t, w.s, b, new(spool.Empty)); status.Success() {
			t.Fatalf("%x was carried out", b)
		}
	}
	if digest(t, w.st) != before {
		t.Fatal("something changed")
	}
}
