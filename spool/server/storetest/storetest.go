// Package storetest holds the tests that every server.Store must pass, and what
// tests of the packages around it share. Only tests import it.
package storetest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/server"
)

// start is when the tests take place.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Run runs the tests. open gives each an empty store, and closes it by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) server.Store) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, s server.Store)
	}{
		{"Publish", testPublish},
		{"AppendReadTrim", testAppendReadTrim},
		{"Known", testKnown},
		{"Full", testFull},
		{"FullDoesNotHideKnown", testFullDoesNotHideKnown},
		{"NumbersAreNeverReused", testNumbersAreNeverReused},
		{"LongTrim", testLongTrim},
		{"Sweep", testSweep},
		{"SweepAfterClockWentBack", testSweepAfterClockWentBack},
		{"LastSweep", testLastSweep},
		{"Concurrent", testConcurrent},
		{"ConcurrentSameBlock", testConcurrentSameBlock},
		{"ConcurrentPublish", testConcurrentPublish},
		{"Lanes", testLanes},
		{"IDs", testIDs},
		{"AppendKey", testAppendKey},
		{"Suspend", testSuspend},
		{"Revoke", testRevoke},
		{"Erase", testErase},
		{"Invites", testInvites},
		{"ConcurrentInvite", testConcurrentInvite},
		{"Users", testUsers},
		{"Stats", testStats},
		{"Log", testLog},
		{"ConcurrentLog", testConcurrentLog},
		{"ChangesTogether", testChangesTogether},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

// Block returns a block that is n's own.
func Block(n int) []byte {
	b := make([]byte, spool.BlockSize)
	binary.BigEndian.PutUint64(b, uint64(n))
	return b
}

// BlockNumber returns the n of a Block.
func BlockNumber(b []byte) int { return int(binary.BigEndian.Uint64(b)) }

// Append returns the append of Block(n) to a spool with room for a million.
func Append(id spool.ID, n int, now time.Time) server.Append {
	b := Block(n)
	return server.Append{
		Spool: id, ID: spool.BlockIDOf(b), Block: b, Now: now,
		MaxBlocks: 1e6, MaxBytes: 1e6 * spool.BlockSize,
	}
}

// Entry returns an entry with random keys, whose bundle is none.
func Entry(t testing.TB, name string) server.Entry {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := server.Entry{
		Name: name, Hash: spool.HashName(name + "@north.test"), Identity: pub, Version: 1,
		Bundle: spool.SignedBundle{Body: []byte(name), Signature: []byte("signature")},
	}
	rand.Read(e.Spool[:])
	return e
}

// Create is how new names are published here.
func Create() server.Publication { return server.Publication{Create: true, Now: start} }

// Make publishes a new entry and returns its spool.
func Make(t testing.TB, s server.Store, name string) spool.ID {
	t.Helper()
	e := Entry(t, name)
	if err := s.Publish(t.Context(), e, Create()); err != nil {
		t.Fatal(err)
	}
	return e.Spool
}

// expect reads and compares: got block number and sequence (0 for none), and what
// is present.
func expect(t *testing.T, s server.Store, id spool.ID, cursor, want uint64, seq uint64, block int, lowest, highest, last uint64) {
	t.Helper()
	r, err := s.Read(t.Context(), id, cursor, want)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if r.Seq != seq || r.Lowest != lowest || r.Highest != highest || r.Last != last {
		t.Fatalf("Read(%d, %d) = seq %d, present %d to %d of %d; want seq %d, present %d to %d of %d",
			cursor, want, r.Seq, r.Lowest, r.Highest, r.Last, seq, lowest, highest, last)
	}
	if seq == 0 && r.Block != nil || seq != 0 && string(r.Block) != string(Block(block)) {
		t.Fatalf("Read(%d, %d) has another block than %d", cursor, want, block)
	}
}

func add(t *testing.T, s server.Store, id spool.ID, n int, now time.Time, wantKnown bool) {
	t.Helper()
	known, err := s.Append(t.Context(), Append(id, n, now))
	if err != nil || known != wantKnown {
		t.Fatalf("Append(%d) = %v, %v; want known %v", n, known, err, wantKnown)
	}
}

func testPublish(t *testing.T, s server.Store) {
	ctx := t.Context()
	e := Entry(t, "alice")
	if _, err := s.Lookup(ctx, "alice"); !errors.Is(err, server.ErrNoName) {
		t.Fatalf("Lookup of nobody: %v", err)
	}
	if _, err := s.Read(ctx, e.Spool, 0, 1); !errors.Is(err, server.ErrNoSpool) {
		t.Fatalf("Read of no spool: %v", err)
	}
	if _, err := s.Append(ctx, Append(e.Spool, 1, start)); !errors.Is(err, server.ErrNoSpool) {
		t.Fatalf("Append to no spool: %v", err)
	}
	if err := s.Trim(ctx, e.Spool, 1, start); !errors.Is(err, server.ErrNoSpool) {
		t.Fatalf("Trim of no spool: %v", err)
	}
	with := func(change func(e *server.Entry)) server.Entry {
		c := e
		change(&c)
		return c
	}
	other, bob := Entry(t, "alice"), Entry(t, "bob")
	steps := []struct {
		what   string
		e      server.Entry
		create bool
		want   error
		have   uint64 // version afterwards
	}{
		{"replace nothing", e, false, server.ErrNoName, 0},
		{"register", e, true, nil, 1},
		{"register again", e, true, nil, 1},
		{"replace by the same", e, false, nil, 1},
		{"another identity", other, true, server.ErrTaken, 1},
		{"another identity replaces", with(func(c *server.Entry) { c.Identity, c.Version = other.Identity, 9 }), false, server.ErrTaken, 1},
		{"another spool", with(func(c *server.Entry) { c.Spool, c.Version = other.Spool, 9 }), true, server.ErrWrongSpool, 1},
		{"same version, other bytes", with(func(c *server.Entry) { c.Bundle.Body = []byte("x") }), true, server.ErrStale, 1},
		{"higher version", with(func(c *server.Entry) { c.Version, c.Bundle.Body = 5, []byte("5") }), true, nil, 5},
		{"lower version", with(func(c *server.Entry) { c.Version = 4 }), false, server.ErrStale, 5},
		{"the first again", e, true, server.ErrStale, 5},
		{"replace", with(func(c *server.Entry) { c.Version, c.Bundle.Body = 6, []byte("6") }), false, nil, 6},
		{"another name with the spool", with(func(c *server.Entry) { c.Name = "bob" }), true, server.ErrWrongSpool, 6},
		{"another name", bob, true, nil, 6},
	}
	for _, step := range steps {
		if err := s.Publish(ctx, step.e, server.Publication{Create: step.create, Now: start}); !errors.Is(err, step.want) {
			t.Fatalf("%s: %v, want %v", step.what, err, step.want)
		}
		got, err := s.Lookup(ctx, "alice")
		if step.have == 0 {
			if !errors.Is(err, server.ErrNoName) {
				t.Fatalf("%s: Lookup: %v", step.what, err)
			}
			continue
		}
		if err != nil || got.Version != step.have || got.Name != "alice" || got.Spool != e.Spool || !got.Identity.Equal(e.Identity) {
			t.Fatalf("%s: Lookup = %+v, %v", step.what, got, err)
		}
	}
	got, err := s.Lookup(ctx, "alice")
	if err != nil || string(got.Bundle.Body) != "6" || string(got.Bundle.Signature) != "signature" {
		t.Fatalf("Lookup = %+v, %v", got, err)
	}
	expect(t, s, e.Spool, 0, 1, 0, 0, 0, 0, 0)
}

func testAppendReadTrim(t *testing.T, s server.Store) {
	id, other := Make(t, s, "alice"), Make(t, s, "bob")
	for n := 1; n <= 5; n++ {
		add(t, s, id, n, start, false)
	}
	add(t, s, other, 1, start, false) // the same block in another spool is another
	expect(t, s, id, 0, 1, 1, 1, 1, 5, 5)
	expect(t, s, id, 0, 4, 4, 4, 1, 5, 5)
	expect(t, s, id, 0, 6, 1, 1, 1, 5, 5)
	expect(t, s, id, 0, 0, 1, 1, 1, 5, 5)
	expect(t, s, id, 2, 1, 3, 3, 3, 5, 5) // what is wanted is below the cursor
	expect(t, s, id, 5, 6, 0, 0, 0, 0, 5)
	expect(t, s, id, 1<<62, 6, 0, 0, 0, 0, 5)
	trim := func(cursor uint64) {
		t.Helper()
		if err := s.Trim(t.Context(), id, cursor, start); err != nil {
			t.Fatal(err)
		}
	}
	trim(0)
	expect(t, s, id, 0, 1, 1, 1, 1, 5, 5)
	trim(3)
	expect(t, s, id, 0, 1, 4, 4, 4, 5, 5)
	trim(2)
	expect(t, s, id, 0, 5, 5, 5, 4, 5, 5)
	trim(5)
	trim(5)
	expect(t, s, id, 0, 1, 0, 0, 0, 0, 5)
	expect(t, s, other, 0, 1, 1, 1, 1, 1, 1)
}

// A lost reply makes a sender repeat what was stored: spool commands that are not
// idempotent are one of the traps others fell into.
func testKnown(t *testing.T, s server.Store) {
	id := Make(t, s, "alice")
	add(t, s, id, 1, start, false)
	add(t, s, id, 2, start, false)
	add(t, s, id, 1, start, true)
	if err := s.Trim(t.Context(), id, 1, start); err != nil {
		t.Fatal(err)
	}
	add(t, s, id, 1, start, true)
	expect(t, s, id, 0, 1, 2, 2, 2, 2, 2)
	// Remembered as of start: forgotten only when forget is later than that.
	for _, step := range []struct {
		forget time.Time
		known  bool
	}{{start.Add(-time.Hour), true}, {start, true}, {start.Add(1), false}} {
		if n, err := s.Sweep(t.Context(), start.Add(-time.Hour), step.forget, start); n != 0 || err != nil {
			t.Fatalf("Sweep = %d, %v", n, err)
		}
		add(t, s, id, 1, start, step.known)
	}
	expect(t, s, id, 0, 3, 3, 1, 2, 3, 3)
	add(t, s, id, 2, start, true) // present blocks are not forgotten
}

func testFull(t *testing.T, s server.Store) {
	id := Make(t, s, "alice")
	for _, bound := range []func(a *server.Append){
		func(a *server.Append) { a.MaxBlocks = 2 },
		func(a *server.Append) { a.MaxBytes = 3*spool.BlockSize - 1 },
	} {
		for n := 1; n <= 3; n++ {
			a := Append(id, n, start)
			bound(&a)
			_, err := s.Append(t.Context(), a)
			if (n == 3) != errors.Is(err, server.ErrFull) || n < 3 && err != nil {
				t.Fatalf("block %d: %v", n, err)
			}
		}
	}
	expect(t, s, id, 0, 3, 1, 1, 1, 2, 2)
	if err := s.Trim(t.Context(), id, 1, start); err != nil {
		t.Fatal(err)
	}
	a := Append(id, 3, start)
	a.MaxBlocks = 2
	if known, err := s.Append(t.Context(), a); known || err != nil {
		t.Fatalf("after a trim: %v, %v", known, err)
	}
	expect(t, s, id, 0, 3, 3, 3, 2, 3, 3)
}

func testFullDoesNotHideKnown(t *testing.T, s server.Store) {
	id := Make(t, s, "alice")
	add(t, s, id, 1, start, false)
	a := Append(id, 1, start)
	a.MaxBlocks = 1
	if known, err := s.Append(t.Context(), a); !known || err != nil {
		t.Fatalf("Append = %v, %v", known, err)
	}
}

func testNumbersAreNeverReused(t *testing.T, s server.Store) {
	id := Make(t, s, "alice")
	for n := 1; n <= 4; n++ {
		add(t, s, id, n, start, false)
		if err := s.Trim(t.Context(), id, uint64(n), start); err != nil {
			t.Fatal(err)
		}
		expect(t, s, id, 0, 1, 0, 0, 0, 0, uint64(n))
	}
	if n, err := s.Sweep(t.Context(), start, start.Add(time.Hour), start); n != 0 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	add(t, s, id, 1, start, false)
	expect(t, s, id, 0, 1, 5, 1, 5, 5, 5)
}

func testLongTrim(t *testing.T, s server.Store) {
	const blocks = 600
	id := Make(t, s, "alice")
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for n := w; n < blocks; n += 20 {
				if _, err := s.Append(t.Context(), Append(id, n, start)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Trim(t.Context(), id, blocks-1, start); err != nil {
		t.Fatal(err)
	}
	r, err := s.Read(t.Context(), id, 0, 1)
	if err != nil || r.Seq != blocks || r.Lowest != blocks || r.Highest != blocks || r.Last != blocks {
		t.Fatalf("Read = %d, %d to %d of %d, %v", r.Seq, r.Lowest, r.Highest, r.Last, err)
	}
}

func testSweep(t *testing.T, s server.Store) {
	a, b := Make(t, s, "alice"), Make(t, s, "bob")
	for n := range 4 {
		add(t, s, a, n, start.Add(time.Duration(n)*time.Hour), false)
		add(t, s, b, n, start.Add(time.Duration(n)*time.Hour), false)
	}
	now := start.Add(10 * time.Hour)
	if n, err := s.Sweep(t.Context(), start.Add(2*time.Hour), start, now); n != 4 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	for _, id := range []spool.ID{a, b} {
		expect(t, s, id, 0, 1, 3, 2, 3, 4, 4)
		add(t, s, id, 0, now, true) // remembered
	}
	if n, err := s.Sweep(t.Context(), start.Add(3*time.Hour), now, now.Add(time.Hour)); n != 2 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	expect(t, s, a, 0, 1, 4, 3, 4, 4, 4)
	if n, err := s.Sweep(t.Context(), start, now.Add(1), now); n != 0 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	add(t, s, a, 0, now, false) // forgotten
	add(t, s, a, 2, now, true)  // removed an hour later, so remembered still
	expect(t, s, a, 0, 5, 5, 0, 4, 5, 5)
}

func testSweepAfterClockWentBack(t *testing.T, s server.Store) {
	id := Make(t, s, "alice")
	add(t, s, id, 1, start.Add(5*time.Hour), false)
	add(t, s, id, 2, start, false)
	add(t, s, id, 3, start.Add(5*time.Hour), false)
	if n, err := s.Sweep(t.Context(), start.Add(time.Hour), start, start); n != 1 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	expect(t, s, id, 0, 2, 1, 1, 1, 3, 3) // a gap in the middle
	expect(t, s, id, 1, 2, 3, 3, 3, 3, 3)
	if err := s.Trim(t.Context(), id, 3, start); err != nil {
		t.Fatal(err)
	}
	expect(t, s, id, 0, 1, 0, 0, 0, 0, 3)
}

// The time of the last sweep is what was set, also if it went back.
func testLastSweep(t *testing.T, s server.Store) {
	expect := func(want time.Time) {
		t.Helper()
		if got, err := s.LastSweep(t.Context()); err != nil || !got.Equal(want) || got.IsZero() != want.IsZero() {
			t.Fatalf("LastSweep = %v, %v, want %v", got, err, want)
		}
	}
	expect(time.Time{})
	// Only who sweeps knows whether its clock was trusted.
	_, err := s.Sweep(t.Context(), start, start, start)
	must(t, err)
	expect(time.Time{})
	for _, at := range []time.Time{start, start.Add(time.Hour + 1), start.Add(-time.Hour)} {
		must(t, s.SetLastSweep(t.Context(), at))
		expect(at)
	}
}
