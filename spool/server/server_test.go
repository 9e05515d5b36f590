package server_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A user has the keys of an account, and signs as one instance.
type user struct {
	t              testing.TB
	identity, read ed25519.PrivateKey
	service        spool.ServiceID
	auth           spool.Auth // of the next request
}

func newUser(t testing.TB, seed byte) *user {
	key := func(i byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed, i}, ed25519.SeedSize/2))
	}
	return &user{
		t: t, identity: key(1), read: key(2), service: spool.ServiceOf("north.test"),
		auth: spool.Auth{Instance: spool.Instance{seed}, Expiry: start.Add(5 * time.Minute).Unix()},
	}
}

func (u *user) spool() spool.ID { return spool.IDOf(u.read.Public().(ed25519.PublicKey)) }

func (u *user) nextAuth() spool.Auth {
	u.auth.Nonce++
	return u.auth
}

// bundle signs a bundle; note makes it another of the same version.
func (u *user) bundle(address string, version uint64, note byte) spool.SignedBundle {
	u.t.Helper()
	b := &spool.Bundle{
		Format: spool.BundleFormat, Address: address, Version: version, Spool: u.spool(),
		Identity: u.identity.Public().(ed25519.PublicKey), Static: make([]byte, spool.StaticSize),
		Prekey: spool.Prekey{ID: bytes.Repeat([]byte{note}, spool.PrekeyIDSize), Public: make([]byte, spool.PrekeySize)},
	}
	s, err := b.Sign(u.identity)
	if err != nil {
		u.t.Fatal(err)
	}
	return *s
}

func (u *user) register(address string, version uint64, change ...func(r *spool.Register)) *spool.Register {
	r := &spool.Register{Bundle: u.bundle(address, version, 0), Auth: u.nextAuth()}
	r.Sign(u.service, u.identity, u.read)
	for _, c := range change {
		c(r)
	}
	return r
}

func (u *user) replace(address string, version uint64, note byte) *spool.Replace {
	r := &spool.Replace{Bundle: u.bundle(address, version, note), Auth: u.nextAuth()}
	r.Sign(u.service, u.spool(), u.identity)
	return r
}

func (u *user) reading(cursor, want uint64) *spool.Read {
	r := &spool.Read{Cursor: cursor, Want: want, Auth: u.nextAuth()}
	r.Sign(u.service, u.read)
	return r
}

// A clock that tests set.
type clock struct{ at atomic.Int64 }

func newClock() *clock           { c := new(clock); c.set(start); return c }
func (c *clock) now() time.Time  { return time.Unix(0, c.at.Load()) }
func (c *clock) set(t time.Time) { c.at.Store(t.UnixNano()) }

func openStore(t testing.TB) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newServer(t testing.TB, st server.Store, c *clock, limits server.Limits) *server.Server {
	t.Helper()
	s, err := server.New(server.Options{Store: st, Provider: "north.test", Now: c.now, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func encode(t testing.TB, r spool.Request) []byte {
	t.Helper()
	b, err := spool.EncodeRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask returns the status, also of a refusal, and reads a success into reply.
func ask(t testing.TB, s *server.Server, request []byte, reply any) (spool.Status, error) {
	t.Helper()
	status, err := spool.DecodeReply(s.Answer(context.Background(), request), reply)
	var refused *spool.Refused
	if errors.As(err, &refused) {
		return refused.Status, err
	}
	if err != nil {
		t.Fatalf("reply cannot be read: %v", err)
	}
	return status, nil
}

func expect(t testing.TB, s *server.Server, r spool.Request, want spool.Status) {
	t.Helper()
	if got, _ := ask(t, s, encode(t, r), new(spool.Empty)); got != want {
		t.Fatalf("%T: %v, want %v", r, got, want)
	}
}

func read(t testing.TB, s *server.Server, r *spool.Read) spool.ReadReply {
	t.Helper()
	var reply spool.ReadReply
	if status, _ := ask(t, s, encode(t, r), &reply); status != spool.StatusOK {
		t.Fatalf("read: %v", status)
	}
	return reply
}

func appendBlock(id spool.ID, n int) *spool.Append {
	return &spool.Append{Spool: id, Block: storetest.Block(n)}
}

func TestPublish(t *testing.T) {
	s := newServer(t, openStore(t), newClock(), server.Limits{})
	alice, eve := newUser(t, 1), newUser(t, 2)
	const a = "alice@north.test"
	expect(t, s, &spool.Lookup{Name: "alice"}, spool.StatusNoUser)
	expect(t, s, alice.replace(a, 1, 0), spool.StatusNoUser)
	expect(t, s, alice.register(a, 2), spool.StatusOK)
	expect(t, s, alice.register(a, 2), spool.StatusOK)
	expect(t, s, alice.register(a, 1), spool.StatusStale)
	expect(t, s, alice.replace(a, 2, 0), spool.StatusOK)
	expect(t, s, alice.replace(a, 2, 1), spool.StatusStale)
	expect(t, s, alice.replace(a, 4, 1), spool.StatusOK)
	expect(t, s, alice.replace(a, 3, 1), spool.StatusStale)
	expect(t, s, alice.register(a, 5), spool.StatusOK)
	expect(t, s, eve.register(a, 9), spool.StatusTaken)
	expect(t, s, eve.replace(a, 9, 0), spool.StatusNotOwner)
	expect(t, s, alice.register("other@north.test", 1), spool.StatusWrongSpool)
	expect(t, s, eve.register("eve@south.test", 1), spool.StatusWrongDomain)
	for _, name := range []string{"postmaster", "abuse", "admin", "root"} {
		expect(t, s, eve.register(name+"@north.test", 1), spool.StatusReserved)
	}
	for _, address := range []string{"Eve@north.test", "eve@NORTH.test", "eve", "@north.test", "e+ve@north.test", ".eve@north.test", "\u0435ve@north.test"} {
		expect(t, s, eve.register(address, 1), spool.StatusBadName)
	}
	expect(t, s, &spool.Lookup{Name: "Alice"}, spool.StatusBadName)
	expect(t, s, &spool.Lookup{Name: "alice@north.test"}, spool.StatusBadName)
	expect(t, s, &spool.Lookup{Name: "eve"}, spool.StatusNoUser)

	var reply spool.LookupReply
	if status, err := ask(t, s, encode(t, &spool.Lookup{Name: "alice"}), &reply); status != spool.StatusOK {
		t.Fatal(err)
	}
	if b, err := reply.Bundle.Open(); err != nil || b.Version != 5 || b.Address != a || b.Spool != alice.spool() {
		t.Fatalf("Lookup = %+v, %v", b, err)
	}
}

func TestAppendAndRead(t *testing.T) {
	s := newServer(t, openStore(t), newClock(), server.Limits{MaxBlocks: 3})
	alice := newUser(t, 1)
	expect(t, s, appendBlock(alice.spool(), 1), spool.StatusNoSpool)
	expect(t, s, alice.reading(0, 1), spool.StatusNoSpool)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	if r := read(t, s, alice.reading(0, 1)); r.Seq != 0 || r.Last != 0 {
		t.Fatalf("an empty spool has %d of %d", r.Seq, r.Last)
	}
	for n := 1; n <= 3; n++ {
		expect(t, s, appendBlock(alice.spool(), n), spool.StatusOK)
		expect(t, s, appendBlock(alice.spool(), n), spool.StatusKnown)
	}
	expect(t, s, appendBlock(alice.spool(), 4), spool.StatusFull)
	expect(t, s, appendBlock(alice.spool(), 1), spool.StatusKnown) // full, but known
	lane := appendBlock(alice.spool(), 4)
	lane.Lane = &spool.LaneProof{Lane: 7, Proof: []byte{1}}
	expect(t, s, lane, spool.StatusLane)

	r := read(t, s, alice.reading(0, 2))
	if r.Seq != 2 || storetest.BlockNumber(r.Block) != 2 || r.Lowest != 1 || r.Highest != 3 || r.Last != 3 || r.Check(0) != nil {
		t.Fatalf("read %d in %d to %d of %d", r.Seq, r.Lowest, r.Highest, r.Last)
	}
	r = read(t, s, alice.reading(2, 1))
	if r.Seq != 3 || r.Lowest != 3 {
		t.Fatalf("read %d in %d to %d", r.Seq, r.Lowest, r.Highest)
	}
	expect(t, s, appendBlock(alice.spool(), 1), spool.StatusKnown) // trimmed, remembered
	expect(t, s, appendBlock(alice.spool(), 4), spool.StatusOK)    // trimmed, so there is room
	if r = read(t, s, alice.reading(3, 4)); r.Seq != 4 || storetest.BlockNumber(r.Block) != 4 {
		t.Fatalf("read %d", r.Seq)
	}
	// A cursor beyond what the spool ever had would trim what comes next.
	status, err := ask(t, s, encode(t, alice.reading(5, 6)), new(spool.ReadReply))
	var refused *spool.Refused
	if status != spool.StatusCursorAhead || !errors.As(err, &refused) || refused.Last != 4 {
		t.Fatalf("cursor ahead: %v, %+v", status, refused)
	}
	if r = read(t, s, alice.reading(3, 4)); r.Seq != 4 {
		t.Fatal("a refused read trimmed")
	}
	if n := s.Answers(spool.TypeAppend, spool.StatusFull); n != 1 {
		t.Fatalf("%d appends met a full spool", n)
	}
}

// A second daemon on one account is refused, not starved, and the first goes on.
func TestOtherReader(t *testing.T) {
	c := newClock()
	s := newServer(t, openStore(t), c, server.Limits{})
	first, second := newUser(t, 1), newUser(t, 1)
	second.auth.Instance = spool.Instance{99}
	expect(t, s, first.register("alice@north.test", 1), spool.StatusOK)
	expect(t, s, appendBlock(first.spool(), 1), spool.StatusOK)
	at := func(u *user, d time.Duration) *spool.Read {
		c.set(start.Add(d))
		u.auth.Expiry = c.now().Add(time.Minute).Unix()
		return u.reading(0, 1)
	}
	read(t, s, at(first, 0))
	expect(t, s, at(second, time.Minute), spool.StatusOtherReader)
	refused := at(second, 9*time.Minute)
	refused.Cursor = 1
	refused.Sign(second.service, second.read)
	expect(t, s, refused, spool.StatusOtherReader)
	if r := read(t, s, at(first, 9*time.Minute)); r.Seq != 1 {
		t.Fatal("the second reader trimmed")
	}
	expect(t, s, at(second, 18*time.Minute), spool.StatusOtherReader)
	read(t, s, at(second, 19*time.Minute))
	expect(t, s, at(first, 19*time.Minute), spool.StatusOtherReader)
	// Other users are not concerned.
	bob := newUser(t, 3)
	bob.auth.Expiry = c.now().Add(time.Minute).Unix()
	expect(t, s, bob.register("bob@north.test", 1), spool.StatusOK)
	read(t, s, bob.reading(0, 1))
}

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openStore(t)
		began := time.Now()
		var jump atomic.Int64 // nanoseconds by which the clock is wrong
		tick := func(to time.Duration) {
			t.Helper()
			time.Sleep(to - time.Since(began))
			synctest.Wait()
		}
		s, err := server.New(server.Options{
			Store: st, Provider: "north.test",
			Now:    func() time.Time { return start.Add(time.Since(began) + time.Duration(jump.Load())) },
			Limits: server.Limits{MaxAge: 24 * time.Minute, RememberIDs: 12 * time.Minute, SweepEvery: time.Minute},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		alice := newUser(t, 1)
		expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
		expect(t, s, appendBlock(alice.spool(), 1), spool.StatusOK)

		// A clock that jumps by a week and is put right empties no spool.
		tick(90 * time.Second)
		jump.Store(int64(7 * 24 * time.Hour))
		tick(150 * time.Second)
		jump.Store(0)
		tick(24*time.Minute + time.Second) // the sweep at 24 min finds it just young enough
		if s.Swept() != 0 {
			t.Fatal("a block was removed before its time")
		}
		tick(25*time.Minute + time.Second)
		if s.Swept() != 1 {
			t.Fatal("an old block was not removed")
		}
		expect(t, s, appendBlock(alice.spool(), 1), spool.StatusKnown)
		tick(37*time.Minute + time.Second)
		expect(t, s, appendBlock(alice.spool(), 1), spool.StatusKnown)
		tick(38*time.Minute + time.Second)
		expect(t, s, appendBlock(alice.spool(), 1), spool.StatusOK)
	})
}

// A Store whose appends, or all it does, fail.
type failing struct {
	server.Store
	appends, trims error
}

func (f *failing) Append(ctx context.Context, a server.Append) (bool, error) {
	if f.appends != nil {
		return false, f.appends
	}
	return f.Store.Append(ctx, a)
}

func (f *failing) Trim(ctx context.Context, id spool.ID, cursor uint64, now time.Time) error {
	if f.trims != nil {
		return f.trims
	}
	return f.Store.Trim(ctx, id, cursor, now)
}

func TestFullDiskIsTemporary(t *testing.T) {
	full := fmt.Errorf("append: %w", store.ErrFull)
	st := &failing{Store: openStore(t)}
	s := newServer(t, st, newClock(), server.Limits{})
	alice := newUser(t, 1)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	expect(t, s, appendBlock(alice.spool(), 1), spool.StatusOK)
	st.appends, st.trims = full, full
	expect(t, s, appendBlock(alice.spool(), 2), spool.StatusTemporary)
	if r := read(t, s, alice.reading(0, 1)); r.Seq != 1 || r.Last != 1 {
		t.Fatalf("read %d of %d", r.Seq, r.Last)
	}
	if r := read(t, s, alice.reading(1, 2)); r.Seq != 0 || r.Last != 1 {
		t.Fatalf("read %d of %d above the cursor", r.Seq, r.Last)
	}
	st.appends, st.trims = nil, nil
	expect(t, s, appendBlock(alice.spool(), 2), spool.StatusOK)
	if r := read(t, s, alice.reading(1, 2)); r.Seq != 2 || r.Lowest != 2 {
		t.Fatalf("read %d from %d", r.Seq, r.Lowest)
	}
}

func TestNewRefuses(t *testing.T) {
	st := openStore(t)
	for _, o := range []server.Options{
		{Store: st}, {Store: st, Provider: "North.test"}, {Store: st, Provider: "north test"}, {Provider: "north.test"},
		{Store: st, Provider: "north.test", Limits: server.Limits{MaxBlocks: -1}},
	} {
		if s, err := server.New(o); err == nil {
			s.Close()
			t.Errorf("New(%+v) gave no error", o)
		}
	}
}

func TestCloseWaits(t *testing.T) {
	st := openStore(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := server.New(server.Options{Store: st, Provider: "north.test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
