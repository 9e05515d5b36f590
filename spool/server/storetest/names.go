package storetest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/server"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

// info is what Spool says.
func info(t *testing.T, s server.Store, id spool.ID) server.SpoolInfo {
	t.Helper()
	i, err := s.Spool(t.Context(), id)
	must(t, err)
	return i
}

func testAppendKey(t *testing.T, s server.Store) {
	ctx, id := t.Context(), Make(t, s, "alice")
	a, b := ed25519.PublicKey(make([]byte, 32)), ed25519.PublicKey(slices.Repeat([]byte{1}, 32))
	if i := info(t, s, id); i.AppendKey != nil || i.AppendVersion != 0 || i.Name != "alice" {
		t.Fatalf("a new spool has %+v", i)
	}
	for _, step := range []struct {
		key     ed25519.PublicKey
		version uint64
		want    error
	}{
		{a, 2, nil}, {a, 2, nil}, {b, 2, server.ErrStale}, {b, 1, server.ErrStale}, {a, 1, server.ErrStale}, {b, 3, nil}, {a, 2, server.ErrStale},
	} {
		want(t, "SetAppendKey", s.SetAppendKey(ctx, id, step.key, step.version), step.want)
	}
	if i := info(t, s, id); !i.AppendKey.Equal(b) || i.AppendVersion != 3 {
		t.Fatalf("Spool = %+v", i)
	}
	want(t, "of no spool", s.SetAppendKey(ctx, spool.ID{9}, a, 1), server.ErrNoSpool)
	_, err := s.Spool(ctx, spool.ID{9})
	want(t, "Spool of none", err, server.ErrNoSpool)
}

func testSuspend(t *testing.T, s server.Store) {
	ctx, e := t.Context(), Entry(t, "alice")
	must(t, s.Publish(ctx, e, Create()))
	add(t, s, e.Spool, 1, start, false)
	want(t, "Suspend nobody", s.Suspend(ctx, "bob", true), server.ErrNoName)
	must(t, s.Suspend(ctx, "alice", true))
	must(t, s.Suspend(ctx, "alice", true))
	newer := e
	newer.Version = 2
	want(t, "Publish", s.Publish(ctx, newer, Create()), server.ErrSuspended)
	_, err := s.Append(ctx, Append(e.Spool, 2, start))
	want(t, "Append", err, server.ErrSuspended)
	_, err = s.Read(ctx, e.Spool, 0, 1)
	want(t, "Read", err, server.ErrSuspended)
	_, err = s.Read(ctx, e.Spool, 1, 2)
	want(t, "Read of nothing", err, server.ErrSuspended)
	want(t, "SetAppendKey", s.SetAppendKey(ctx, e.Spool, make([]byte, 32), 1), server.ErrSuspended)
	if got, err := s.Lookup(ctx, "alice"); err != nil || !got.Suspended {
		t.Fatalf("Lookup = %+v, %v", got, err)
	}
	if !info(t, s, e.Spool).Suspended {
		t.Fatal("the spool is not suspended")
	}
	must(t, s.Suspend(ctx, "alice", false))
	must(t, s.Publish(ctx, newer, Create()))
	add(t, s, e.Spool, 2, start, false)
	expect(t, s, e.Spool, 0, 1, 1, 1, 1, 2, 2)
	if got, err := s.Lookup(ctx, "alice"); err != nil || got.Suspended || got.Version != 2 {
		t.Fatalf("Lookup = %+v, %v", got, err)
	}
}

func testRevoke(t *testing.T, s server.Store) {
	ctx, e := t.Context(), Entry(t, "alice")
	want(t, "Revoke nobody", s.Revoke(ctx, "alice", false, start), server.ErrNoName)
	must(t, s.Publish(ctx, e, Create()))
	add(t, s, e.Spool, 1, start, false)
	must(t, s.Suspend(ctx, "alice", true)) // which keeps nobody from leaving
	must(t, s.Revoke(ctx, "alice", false, start))
	must(t, s.Revoke(ctx, "alice", false, start))
	// Nor does leaving end it: a revocation is signed by whoever has the key.
	suspended := func(step string, want server.Stats) {
		t.Helper()
		for _, cursor := range []uint64{0, 1} {
			if r, err := s.Read(ctx, e.Spool, cursor, 1); !errors.Is(err, server.ErrSuspended) || r.Block != nil {
				t.Fatalf("%s: Read from %d: %d, %v", step, cursor, r.Seq, err)
			}
		}
		if i := info(t, s, e.Spool); !i.Revoked || !i.Suspended || i.Blocks != [server.Lanes]int{1, 0, 0} {
			t.Fatalf("%s: Spool = %+v", step, i)
		}
		if st, err := s.Stats(ctx); err != nil || st.Names != want.Names || st.Suspended != want.Suspended || st.Revoked != want.Revoked {
			t.Fatalf("%s: Stats = %+v, %v", step, st, err)
		}
	}
	suspended("revoked while suspended", server.Stats{Revoked: 1})
	must(t, s.Suspend(ctx, "alice", false))
	expect(t, s, e.Spool, 0, 1, 1, 1, 1, 1, 1)
	must(t, s.Suspend(ctx, "alice", true))
	suspended("suspended after it was revoked", server.Stats{Revoked: 1})
	must(t, s.Suspend(ctx, "alice", false))
	got, err := s.Lookup(ctx, "alice")
	want(t, "Lookup", err, server.ErrRevoked)
	if got.Log != (server.LogPlace{Index: 1, Kind: spool.LogRevoked, Version: 1}) || got.Bundle.Body != nil || !got.Identity.Equal(e.Identity) {
		t.Fatalf("Lookup = %+v", got)
	}
	e2 := e
	e2.Version = 2
	other := Entry(t, "alice")
	bob := Entry(t, "bob")
	bob.Spool = e.Spool
	want(t, "Publish again", s.Publish(ctx, e, Create()), server.ErrRevoked)
	want(t, "Publish newer", s.Publish(ctx, e2, server.Publication{Now: start}), server.ErrRevoked)
	want(t, "Publish as another", s.Publish(ctx, other, Create()), server.ErrRevoked)
	want(t, "Publish the spool", s.Publish(ctx, bob, Create()), server.ErrWrongSpool)
	want(t, "SetAppendKey", s.SetAppendKey(ctx, e.Spool, make([]byte, 32), 1), server.ErrRevoked)
	_, err = s.Append(ctx, Append(e.Spool, 2, start))
	want(t, "Append", err, server.ErrRevoked)
	add(t, s, e.Spool, 1, start, true) // its sender has nothing to fear
	if i := info(t, s, e.Spool); !i.Revoked || i.Suspended {
		t.Fatalf("Spool = %+v", i)
	}
	// What has arrived can be read.
	expect(t, s, e.Spool, 0, 1, 1, 1, 1, 1, 1)
	must(t, s.Trim(ctx, e.Spool, 1, start))
	expect(t, s, e.Spool, 0, 1, 0, 0, 0, 0, 1)
	if n, err := s.LogSize(ctx); n != 2 || err != nil {
		t.Fatalf("LogSize = %d, %v", n, err)
	}
}

func testErase(t *testing.T, s server.Store) {
	ctx := t.Context()
	alice, bob := Entry(t, "alice"), Entry(t, "bob")
	must(t, s.Publish(ctx, alice, Create()))
	must(t, s.Publish(ctx, bob, Create()))
	const blocks = 300
	var wg sync.WaitGroup
	for n := range blocks {
		wg.Go(func() {
			for _, id := range []spool.ID{alice.Spool, bob.Spool} {
				if _, err := s.Append(ctx, Append(id, n, start)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, s.Trim(ctx, alice.Spool, 150, start))
	must(t, s.Revoke(ctx, "alice", false, start))
	must(t, s.Suspend(ctx, "alice", true))
	must(t, s.Revoke(ctx, "alice", true, start))
	must(t, s.Revoke(ctx, "alice", true, start))
	want(t, "Suspend", s.Suspend(ctx, "alice", false), server.ErrRevoked)
	want(t, "LogSize", func() error {
		if n, err := s.LogSize(ctx); n != 3 || err != nil {
			return fmt.Errorf("%d, %w", n, err)
		}
		return nil
	}(), nil)
	_, err := s.Read(ctx, alice.Spool, 0, 1)
	want(t, "Read", err, server.ErrRevoked)
	_, err = s.Append(ctx, Append(alice.Spool, 1, start))
	want(t, "Append of what it had", err, server.ErrRevoked)
	if i := info(t, s, alice.Spool); i.Blocks != [server.Lanes]int{} || i.Remembered != [server.Lanes]int{} {
		t.Fatalf("Spool = %+v", i)
	}
	st, err := s.Stats(ctx)
	if err != nil || st.Blocks != blocks || st.Remembered != 0 || st.Spools != 1 || st.Names != 1 || st.Revoked != 1 {
		t.Fatalf("Stats = %+v, %v", st, err)
	}
	again := alice
	again.Name = "alice2"
	want(t, "Publish the spool", s.Publish(ctx, again, Create()), server.ErrWrongSpool)
	expect(t, s, bob.Spool, 0, 0, 1, blockAt(t, s, bob.Spool, 1), 1, blocks, blocks)
	must(t, s.Trim(ctx, alice.Spool, 1000, start))
	if n, err := s.Sweep(ctx, start, start.Add(time.Hour), start); n != 0 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
}

// blockAt returns which block has a sequence number.
func blockAt(t *testing.T, s server.Store, id spool.ID, seq uint64) int {
	t.Helper()
	r, err := s.Read(t.Context(), id, seq-1, seq)
	must(t, err)
	return BlockNumber(r.Block)
}

func code(n byte) [32]byte { return sha256.Sum256([]byte{n}) }

func testInvites(t *testing.T, s server.Store) {
	ctx := t.Context()
	with := func(n byte) server.Publication {
		return server.Publication{Create: true, NeedInvite: true, Invite: code(n), Now: start}
	}
	for n := range byte(3) {
		must(t, s.AddInvite(ctx, server.Invite{Hash: code(n), Created: start.Add(-time.Duration(n) * time.Hour), Expires: start.Add(time.Duration(n) * time.Hour), Note: fmt.Sprint(n)}))
	}
	must(t, s.AddInvite(ctx, server.Invite{Hash: code(7), Created: start}))
	want(t, "AddInvite again", s.AddInvite(ctx, server.Invite{Hash: code(1), Created: start}), server.ErrInvite)
	alice := Entry(t, "alice")
	none := with(0)
	none.Invite = [32]byte{}
	want(t, "with none", s.Publish(ctx, alice, none), server.ErrInvite)
	want(t, "with an unknown one", s.Publish(ctx, alice, with(99)), server.ErrInvite)
	late := with(1)
	late.Now = start.Add(time.Hour + 1)
	want(t, "with an expired one", s.Publish(ctx, alice, late), server.ErrInvite)
	if n, err := s.LogSize(ctx); n != 0 || err != nil {
		t.Fatalf("a refusal is in the log: %d, %v", n, err)
	}
	must(t, s.Publish(ctx, alice, with(1)))
	must(t, s.Publish(ctx, alice, with(1)))  // repeated
	must(t, s.Publish(ctx, alice, none))     // repeated without
	must(t, s.Publish(ctx, alice, with(99))) // repeated with nonsense
	newer := alice
	newer.Version = 2
	must(t, s.Publish(ctx, newer, with(2))) // which needs none, and uses none
	want(t, "with a used one", s.Publish(ctx, Entry(t, "bob"), with(1)), server.ErrInvite)
	// Without a good one, nothing is said about a name.
	want(t, "of a taken name, with a used one", s.Publish(ctx, Entry(t, "alice"), with(1)), server.ErrInvite)
	want(t, "of a taken name, with a good one", s.Publish(ctx, Entry(t, "alice"), with(2)), server.ErrTaken)
	must(t, s.Publish(ctx, Entry(t, "carol"), server.Publication{Create: true, Invite: code(2), Now: start})) // not needed, so not used
	want(t, "DeleteInvite", s.DeleteInvite(ctx, code(99)), server.ErrInvite)
	must(t, s.DeleteInvite(ctx, code(2)))
	list, err := s.Invites(ctx)
	must(t, err)
	if len(list) != 3 || list[0].Hash != code(1) || list[0].UsedBy != "alice" || list[0].Note != "1" ||
		!list[0].Expires.Equal(start.Add(time.Hour)) || !list[0].Created.Equal(start.Add(-time.Hour)) || list[1].UsedBy != "" || !hasNever(list) {
		t.Fatalf("Invites = %+v", list)
	}
	if st, err := s.Stats(ctx); err != nil || st.Invites != 2 {
		t.Fatalf("Stats = %+v, %v", st, err)
	}
	must(t, s.AddInvite(ctx, server.Invite{Hash: code(8), Created: start, Expires: start.Add(time.Hour)}))
	_, err = s.Sweep(ctx, start.Add(-time.Hour), start.Add(-time.Hour), start.Add(100*time.Hour))
	must(t, err)
	// It stays known who used one.
	if list, err = s.Invites(ctx); err != nil || len(list) != 2 || list[0].UsedBy != "alice" || list[1].Hash != code(7) {
		t.Fatalf("Invites after a sweep = %+v, %v", list, err)
	}
	_, err = s.Sweep(ctx, start.Add(-time.Hour), start.Add(-time.Hour), start.Add(181*24*time.Hour))
	must(t, err)
	if list, err = s.Invites(ctx); err != nil || len(list) != 1 || list[0].Hash != code(7) {
		t.Fatalf("Invites after a sweep = %+v, %v", list, err)
	}
}

func hasNever(list []server.Invite) bool {
	return slices.ContainsFunc(list, func(i server.Invite) bool { return i.Hash == code(7) && i.Expires.IsZero() })
}

// An invitation makes one name, whoever comes at the same time.
func testConcurrentInvite(t *testing.T, s server.Store) {
	must(t, s.AddInvite(t.Context(), server.Invite{Hash: code(1), Created: start}))
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		e := Entry(t, fmt.Sprintf("user%d", i))
		wg.Go(func() {
			err := s.Publish(t.Context(), e, server.Publication{Create: true, NeedInvite: true, Invite: code(1), Now: start})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, server.ErrInvite):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st, err := s.Stats(t.Context())
	if won.Load() != 1 || err != nil || st.Names != 1 || st.LogSize != 1 || st.Invites != 0 {
		t.Fatalf("%d won; Stats = %+v, %v", won.Load(), st, err)
	}
}

func testUsers(t *testing.T, s server.Store) {
	ctx := t.Context()
	var ids []spool.ID
	for _, name := range []string{"carol", "alice", "bob", "al"} {
		ids = append(ids, Make(t, s, name))
	}
	add(t, s, ids[1], 1, start.Add(time.Hour), false)
	add(t, s, ids[1], 2, start.Add(2*time.Hour), false)
	must(t, s.Suspend(ctx, "bob", true))
	must(t, s.Revoke(ctx, "carol", true, start))
	var all []server.User
	for after := ""; ; {
		page, err := s.Users(ctx, after, 3)
		must(t, err)
		all = append(all, page...)
		if len(page) < 3 {
			break
		}
		after = page[2].Name
	}
	var names []string
	for _, u := range all {
		names = append(names, u.Name)
	}
	if !slices.Equal(names, []string{"al", "alice", "bob", "carol"}) {
		t.Fatalf("Users = %v", names)
	}
	alice := all[1]
	if alice.Spool != ids[1] || alice.Blocks != [server.Lanes]int{2, 0, 0} || !alice.Oldest.Equal(start.Add(time.Hour)) || !alice.Since.Equal(start) {
		t.Fatalf("alice is %+v", alice)
	}
	if !all[2].Suspended || all[2].Revoked || all[3].Suspended || !all[3].Revoked || !all[0].Oldest.IsZero() {
		t.Fatalf("bob and carol are %+v", all[2:])
	}
	if page, err := s.Users(ctx, "", 0); err != nil || len(page) != 0 {
		t.Fatalf("Users of no length = %v, %v", page, err)
	}
}
