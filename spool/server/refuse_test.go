package server_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/spool"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

// state is what a store shows of one user.
type state struct {
	entry server.Entry
	page  spool.ReadReply
}

func stateOf(t testing.TB, st server.Store, u *user, name string) state {
	t.Helper()
	e, err := st.Lookup(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := st.Read(context.Background(), u.spool(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return state{e, p}
}

// Every way to be wrong has an answer of its own, and changes nothing.
func TestRefusals(t *testing.T) {
	st, c := openStore(t), newClock()
	s := newServer(t, st, c, server.Limits{})
	alice, eve := newUser(t, 1), newUser(t, 2)
	const a = "alice@north.test"
	expect(t, s, alice.register(a, 5), spool.StatusOK)
	for n := 1; n <= 3; n++ {
		expect(t, s, appendBlock(alice.spool(), n), spool.StatusOK)
	}
	replayedRead, replayedRegister, replayedReplace := alice.reading(0, 1), alice.register(a, 5), alice.replace(a, 5, 0)
	read(t, s, replayedRead)
	expect(t, s, replayedRegister, spool.StatusOK)
	expect(t, s, replayedReplace, spool.StatusOK)

	expiring := func(at int64, r func() spool.Request) spool.Request {
		before := alice.auth.Expiry
		defer func() { alice.auth.Expiry = before }()
		alice.auth.Expiry = at
		return r()
	}
	trimAll := func() spool.Request { return alice.reading(3, 4) }
	newer := func() spool.Request { return alice.replace(a, 9, 9) }
	again := func() spool.Request { return alice.register(a, 9) }
	far := c.now().Add(spool.MaxExpiry).Unix()
	elsewhere := func(r func(u *user) spool.Request) spool.Request {
		u := *alice
		u.service, u.auth.Nonce = spool.ServiceOf("south.test"), 1000
		return r(&u)
	}
	withEve := func(r func(u *user) spool.Request) spool.Request {
		u := *alice // alice's name, nonces and spool; eve's keys sign
		u.auth.Nonce = 2000
		u.identity, u.read = eve.identity, eve.read
		return r(&u)
	}
	forged := func(signed *spool.Read) spool.Request {
		r := *signed
		r.ReadKey = alice.read.Public().(ed25519.PublicKey)
		return &r
	}
	encoded := func(r spool.Request, change func(b []byte) []byte) []byte {
		return change(bytes.Clone(encode(t, r)))
	}
	unknownField := func(b []byte) []byte {
		var m map[int]any
		if err := codec.Unmarshal(b[4:], &m); err != nil {
			t.Fatal(err)
		}
		m[9] = 1
		body, err := codec.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte{b[0], b[1], byte(len(body) >> 8), byte(len(body))}, body...)
	}
	raw := func(r spool.Request) []byte { return encode(t, r) }

	for _, tt := range []struct {
		what string
		b    []byte
		want spool.Status
	}{
		{"replayed read", raw(replayedRead), spool.StatusReplayed},
		{"replayed register", raw(replayedRegister), spool.StatusReplayed},
		{"replayed replace", raw(replayedReplace), spool.StatusReplayed},
		{"expired read", raw(expiring(c.now().Unix()-1, trimAll)), spool.StatusExpired},
		{"expired replace", raw(expiring(0, newer)), spool.StatusExpired},
		{"expired register", raw(expiring(math.MinInt64, again)), spool.StatusExpired},
		{"read expires too far ahead", raw(expiring(far+1, trimAll)), spool.StatusTooFar},
		{"replace expires too far ahead", raw(expiring(math.MaxInt64, newer)), spool.StatusTooFar},
		{"register expires too far ahead", raw(expiring(far+1, again)), spool.StatusTooFar},
		{"read for another service", raw(elsewhere(func(u *user) spool.Request { return u.reading(3, 4) })), spool.StatusBadSignature},
		{"replace for another service", raw(elsewhere(func(u *user) spool.Request { return u.replace(a, 9, 9) })), spool.StatusBadSignature},
		{"register for another service", raw(elsewhere(func(u *user) spool.Request { return u.register(a, 9) })), spool.StatusBadSignature},
		{"read by another key", raw(withEve(func(u *user) spool.Request { return u.reading(3, 4) })), spool.StatusNoSpool},
		{"read of another's spool", raw(forged(eve.reading(3, 4))), spool.StatusBadSignature},
		{"replace by another identity", raw(withEve(func(u *user) spool.Request { return u.replace(a, 9, 9) })), spool.StatusNotOwner},
		{"register by another identity", raw(withEve(func(u *user) spool.Request { return u.register(a, 9) })), spool.StatusTaken},
		{"register without the read key", raw(alice.register(a, 9, func(r *spool.Register) { r.Proof = make([]byte, 64) })), spool.StatusBadSignature},
		{"register with another read key", raw(alice.register(a, 9, func(r *spool.Register) { r.Sign(alice.service, alice.identity, eve.read) })), spool.StatusWrongSpool},
		{"changed bundle", raw(alice.register(a, 9, func(r *spool.Register) { r.Bundle.Body[40] ^= 1 })), spool.StatusBadBundle},
		{"append to no spool", raw(appendBlock(eve.spool(), 9)), spool.StatusNoSpool},
		{"oversized", encoded(appendBlock(alice.spool(), 9), func(b []byte) []byte { b[2], b[3] = 0xff, 0xff; return append(b, make([]byte, 70000)...) }), spool.StatusTooBig},
		{"unknown field in a read", encoded(trimAll(), unknownField), spool.StatusMalformed},
		{"unknown field in an append", encoded(appendBlock(alice.spool(), 9), unknownField), spool.StatusMalformed},
		{"unknown field in a register", encoded(again(), unknownField), spool.StatusMalformed},
		{"bytes after the end", encoded(trimAll(), func(b []byte) []byte { return append(b, 0, 1) }), spool.StatusMalformed},
		{"cut short", encoded(trimAll(), func(b []byte) []byte { return b[:len(b)-1] }), spool.StatusMalformed},
		{"another version", encoded(trimAll(), func(b []byte) []byte { b[0]++; return b }), spool.StatusVersion},
		{"unknown request", encoded(trimAll(), func(b []byte) []byte { b[1] = 77; return b }), spool.StatusUnknownRequest},
		{"nothing", nil, spool.StatusMalformed},
	} {
		before := stateOf(t, st, alice, "alice")
		status, err := ask(t, s, tt.b, new(spool.Empty))
		if status != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, status, tt.want)
		}
		var refused *spool.Refused
		if !errors.As(err, &refused) || !refused.Time.Equal(c.now()) {
			t.Errorf("%s: the refusal does not have the service's time: %v", tt.what, err)
		}
		if !reflect.DeepEqual(before, stateOf(t, st, alice, "alice")) {
			t.Fatalf("%s: something changed", tt.what)
		}
		if _, err := st.Lookup(t.Context(), "eve"); !errors.Is(err, server.ErrNoName) {
			t.Fatalf("%s: somebody else is here: %v", tt.what, err)
		}
	}
	// A request that expires in this second, and one that does as late as may be.
	for _, at := range []int64{c.now().Unix(), far} {
		read(t, s, expiring(at, func() spool.Request { return alice.reading(0, 1) }).(*spool.Read))
	}
	if before := stateOf(t, st, alice, "alice"); before.page.Lowest != 1 || before.page.Last != 3 || before.entry.Version != 5 {
		t.Fatalf("the spool has changed: %+v", before.page)
	}
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
	before := stateOf(t, st, alice, "alice")
	again := newServer(t, st, c, server.Limits{})
	if r := read(t, again, first); r.Lowest != 3 {
		t.Fatalf("a read of before the restart brings back %d", r.Lowest)
	}
	expect(t, again, old, spool.StatusStale)
	if !reflect.DeepEqual(before, stateOf(t, st, alice, "alice")) {
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
	s := newServer(t, openStore(t), newClock(), server.Limits{})
	random := rand.NewChaCha8([32]byte{1})
	for range 2000 {
		b := make([]byte, random.Uint64()%300)
		if _, err := random.Read(b); err != nil {
			t.Fatal(err)
		}
		if len(b) > 4 && b[10%len(b)]&1 == 0 {
			b[0], b[1] = spool.Version, 1+b[1]%5
			b[2], b[3] = 0, byte(min(len(b)-4, 255))
		}
		if status, _ := ask(t, s, b, new(spool.Empty)); status.Success() {
			t.Fatalf("%x was carried out", b)
		}
	}
}

// Whatever comes is answered, and what is no valid request of an owner changes
// nothing of theirs.
func FuzzAnswer(f *testing.F) {
	st, c := openStore(f), newClock()
	s := newServer(f, st, c, server.Limits{})
	alice, eve := newUser(f, 1), newUser(f, 2)
	if status, err := ask(f, s, encode(f, alice.register("alice@north.test", 5)), new(spool.Empty)); !status.Success() {
		f.Fatal(err)
	}
	if status, err := ask(f, s, encode(f, appendBlock(alice.spool(), 1)), new(spool.Empty)); !status.Success() {
		f.Fatal(err)
	}
	before := stateOf(f, st, alice, "alice")
	// The seeds are well-formed and refused, so that what is near them is tried.
	past := start.Unix() - 100
	alice.auth.Expiry, eve.auth.Expiry = past, past
	for _, r := range []spool.Request{
		alice.register("alice@north.test", 9), alice.replace("alice@north.test", 9, 1), alice.reading(1, 2),
		&spool.Lookup{Name: "alice"}, appendBlock(eve.spool(), 2),
	} {
		f.Add(encode(f, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		reply := s.Answer(context.Background(), b)
		if len(reply) == 0 || len(reply) > spool.MaxReplySize {
			t.Fatalf("a reply of %d bytes", len(reply))
		}
		_, err := spool.DecodeReply(reply, new(spool.Empty))
		if _, kind, status := spool.DecodeRequest(b); status == spool.StatusOK && kind == spool.TypeLookup {
			_, err = spool.DecodeReply(reply, new(spool.LookupReply))
		}
		var refused *spool.Refused
		if err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
		if r, _, _ := spool.DecodeRequest(b); r != nil {
			if a, ok := r.(*spool.Append); ok && a.Spool == alice.spool() {
				return // anybody may append
			}
		}
		if !reflect.DeepEqual(before.entry, stateOf(t, st, alice, "alice").entry) {
			t.Fatal("alice's bundle has changed")
		}
		if p := stateOf(t, st, alice, "alice").page; p.Lowest != 1 || storetest.BlockNumber(p.Block) != 1 {
			t.Fatal("alice's block is gone")
		}
	})
}
