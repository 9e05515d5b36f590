package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/spool"
	"mailproxy/spool/server"
)

// Each lane has its own quota, and numbers are the spool's.
func testLanes(t *testing.T, s server.Store) {
	id := Make(t, s, "alice")
	put := func(n int, lane spool.Lane) error {
		a := Append(id, n, start)
		a.Lane, a.MaxBlocks = lane, 2
		_, err := s.Append(t.Context(), a)
		return err
	}
	for n := range 2 {
		for lane := range spool.Lane(server.Lanes) {
			must(t, put(10*n+int(lane), lane))
		}
	}
	for lane := range spool.Lane(server.Lanes) {
		want(t, "a full lane", put(100+int(lane), lane), server.ErrFull)
	}
	if err := put(200, server.Lanes); err == nil || errors.Is(err, server.ErrFull) {
		t.Fatalf("a lane that is none: %v", err)
	}
	add(t, s, id, 0, start, true) // known, though it came by another lane
	must(t, s.Trim(t.Context(), id, 2, start))
	if i := info(t, s, id); i.Blocks != [server.Lanes]int{1, 1, 2} || i.Remembered != [server.Lanes]int{1, 1, 0} || i.Last != 6 {
		t.Fatalf("Spool = %+v", i)
	}
	must(t, put(100, spool.LaneOpen))
	want(t, "the lane that was not trimmed", put(102, spool.LaneStrangers), server.ErrFull)
	expect(t, s, id, 0, 7, 7, 100, 3, 7, 7)
}

// Remembered ids are bounded as well: a spool whose owner trims as fast as others
// append would grow without end.
func testIDs(t *testing.T, s server.Store) {
	id := Make(t, s, "alice")
	put := func(n int, lane spool.Lane) error {
		a := Append(id, n, start)
		a.Lane, a.MaxIDs = lane, 5
		_, err := s.Append(t.Context(), a)
		return err
	}
	for n := range 5 {
		must(t, put(n, spool.LaneStrangers))
		must(t, s.Trim(t.Context(), id, uint64(n+1), start.Add(time.Duration(n)*time.Hour)))
	}
	want(t, "the sixth", put(5, spool.LaneStrangers), server.ErrFull)
	must(t, put(6, spool.LaneContacts))
	for n := range 5 {
		add(t, s, id, n, start, true)
	}
	if n, err := s.Sweep(t.Context(), start, start.Add(2*time.Hour), start); n != 0 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	if i := info(t, s, id); i.Remembered != [server.Lanes]int{0, 0, 3} {
		t.Fatalf("Spool = %+v", i)
	}
	must(t, put(5, spool.LaneStrangers))
	must(t, put(7, spool.LaneStrangers))
	want(t, "the next", put(8, spool.LaneStrangers), server.ErrFull)
}

func testStats(t *testing.T, s server.Store) {
	ctx := t.Context()
	check := func(w server.Stats) {
		t.Helper()
		st, err := s.Stats(ctx)
		must(t, err)
		if !st.Oldest.Equal(w.Oldest) {
			t.Fatalf("the oldest block is of %v, want %v", st.Oldest, w.Oldest)
		}
		st.Oldest, w.Oldest = time.Time{}, time.Time{}
		if st != w {
			t.Fatalf("Stats = %+v, want %+v", st, w)
		}
	}
	check(server.Stats{})
	alice, bob := Make(t, s, "alice"), Make(t, s, "bob")
	Make(t, s, "carol")
	for n := range 3 {
		add(t, s, alice, n, start.Add(time.Duration(n)*time.Hour), false)
	}
	add(t, s, bob, 0, start.Add(time.Hour), false)
	add(t, s, bob, 0, start.Add(time.Hour), true)
	must(t, s.AddInvite(ctx, server.Invite{Hash: code(1), Created: start}))
	w := server.Stats{Names: 3, Spools: 3, Blocks: 4, Bytes: 4 * spool.BlockSize, Oldest: start, LogSize: 3, Invites: 1}
	check(w)
	must(t, s.Trim(ctx, alice, 2, start))
	w.Blocks, w.Bytes, w.Remembered, w.Oldest = 2, 2*spool.BlockSize, 2, start.Add(time.Hour)
	check(w)
	add(t, s, bob, 1, start.Add(-time.Hour), false) // the clock was set back
	w.Blocks, w.Bytes, w.Oldest = 3, 3*spool.BlockSize, start.Add(-time.Hour)
	check(w)
	must(t, s.Suspend(ctx, "bob", true))
	w.Suspended = 1
	check(w)
	must(t, s.Revoke(ctx, "bob", false, start))
	w.Names, w.Suspended, w.Revoked, w.LogSize = 2, 0, 1, 4
	check(w)
	must(t, s.Revoke(ctx, "bob", true, start))
	w.Spools, w.Blocks, w.Bytes, w.Oldest = 2, 1, spool.BlockSize, start.Add(2*time.Hour)
	check(w)
	n, err := s.Sweep(ctx, start.Add(10*time.Hour), start.Add(10*time.Hour), start.Add(20*time.Hour))
	if n != 1 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	w.Blocks, w.Bytes, w.Remembered, w.Oldest = 0, 0, 1, time.Time{}
	check(w)
}

// checkLog proves every record of the log, and every earlier head.
func checkLog(t *testing.T, s server.Store) [][]byte {
	t.Helper()
	ctx := t.Context()
	size, err := s.LogSize(ctx)
	must(t, err)
	hashes := tlog.HashReaderFunc(func(i []int64) ([]tlog.Hash, error) { return s.LogHashes(ctx, i) })
	root, err := tlog.TreeHash(int64(size), hashes)
	must(t, err)
	raw, err := s.LogRecords(ctx, 0, size)
	must(t, err)
	if len(raw) != int(size)*spool.LogRecordSize {
		t.Fatalf("%d records have %d bytes", size, len(raw))
	}
	var records [][]byte
	for n := range int64(size) {
		record := raw[n*spool.LogRecordSize:][:spool.LogRecordSize]
		records = append(records, record)
		proof, err := tlog.ProveRecord(int64(size), n, hashes)
		must(t, err)
		must(t, tlog.CheckRecord(proof, int64(size), root, n, tlog.RecordHash(record)))
		head, err := tlog.TreeHash(n+1, hashes)
		must(t, err)
		tree, err := tlog.ProveTree(int64(size), n+1, hashes)
		must(t, err)
		must(t, tlog.CheckTree(tree, int64(size), root, n+1, head))
	}
	_, err = s.LogRecords(ctx, 0, size+1)
	want(t, "records beyond the end", err, server.ErrNoLog)
	_, err = s.LogHashes(ctx, []int64{tlog.StoredHashCount(int64(size))})
	want(t, "hashes beyond the end", err, server.ErrNoLog)
	return records
}

func testLog(t *testing.T, s server.Store) {
	ctx := t.Context()
	checkLog(t, s)
	var all []server.Entry
	for n := range 9 {
		e := Entry(t, fmt.Sprintf("user%d", n))
		e.Version = uint64(n + 1)
		must(t, s.Publish(ctx, e, Create()))
		must(t, s.Publish(ctx, e, Create()))
		e.Version += 100
		must(t, s.Publish(ctx, e, Create())) // bundles are not in the log
		all = append(all, e)
	}
	must(t, s.Revoke(ctx, "user3", true, start))
	records := checkLog(t, s)
	if len(records) != 10 {
		t.Fatalf("%d records", len(records))
	}
	for n, e := range all {
		r, err := spool.DecodeLogRecord(records[n])
		must(t, err)
		if r != (spool.LogRecord{Kind: spool.LogMade, Name: e.Hash, Identity: [32]byte(e.Identity), Version: uint64(n + 1)}) {
			t.Fatalf("record %d is %+v", n, r)
		}
		if got, err := s.Lookup(ctx, e.Name); n != 3 && (err != nil || got.Log != (server.LogPlace{Index: uint64(n), Kind: spool.LogMade, Version: uint64(n + 1)}) || got.Hash != e.Hash) {
			t.Fatalf("Lookup = %+v, %v", got, err)
		}
	}
	r, err := spool.DecodeLogRecord(records[9])
	must(t, err)
	if r != (spool.LogRecord{Kind: spool.LogRevoked, Name: all[3].Hash, Identity: [32]byte(all[3].Identity), Version: 104}) {
		t.Fatalf("the last record is %+v", r)
	}
}

func testConcurrentLog(t *testing.T, s server.Store) {
	var wg sync.WaitGroup
	for i := range 40 {
		e := Entry(t, fmt.Sprintf("user%d", i))
		wg.Go(func() {
			if err := s.Publish(t.Context(), e, Create()); err != nil {
				t.Error(err)
			}
			if i%4 == 0 {
				if err := s.Revoke(t.Context(), e.Name, false, start); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if records := checkLog(t, s); len(records) != 50 {
		t.Fatalf("%d records", len(records))
	}
}

// Of many changes made at the same time, those that are refused change nothing,
// and keep no other from being made.
func testChangesTogether(t *testing.T, s server.Store) {
	full, id := Make(t, s, "full"), Make(t, s, "alice")
	add(t, s, full, 0, start, false)
	var wg sync.WaitGroup
	const each = 50
	for n := range each {
		wg.Go(func() {
			a := Append(full, 1000+n, start)
			a.MaxBlocks = 1
			if _, err := s.Append(t.Context(), a); !errors.Is(err, server.ErrFull) {
				t.Errorf("Append to a full spool: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := s.Append(t.Context(), Append(id, n, start)); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := s.Append(t.Context(), Append(spool.ID{1}, n, start)); !errors.Is(err, server.ErrNoSpool) {
				t.Errorf("Append to no spool: %v", err)
			}
		})
		wg.Go(func() {
			e := Entry(t, "alice")
			if err := s.Publish(t.Context(), e, Create()); !errors.Is(err, server.ErrTaken) {
				t.Errorf("Publish: %v", err)
			}
		})
	}
	wg.Wait()
	if i := info(t, s, id); i.Blocks[0] != each || i.Last != each {
		t.Fatalf("Spool = %+v", i)
	}
	if st, err := s.Stats(t.Context()); err != nil || st.Blocks != each+1 || st.LogSize != 2 {
		t.Fatalf("Stats = %+v, %v", st, err)
	}
}
