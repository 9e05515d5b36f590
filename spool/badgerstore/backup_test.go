package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

func backup(t *testing.T, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Backup(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(t *testing.T, o Options, b []byte) *Store {
	t.Helper()
	if _, err := Restore(t.Context(), o, bytes.NewReader(b), nil); err != nil {
		t.Fatal(err)
	}
	return open(t, o)
}

func TestBackupAndRestore(t *testing.T) {
	for _, k := range [][]byte{nil, bytes.Repeat([]byte{7}, store.KeySize)} {
		s := open(t, Options{Dir: t.TempDir(), Key: k, FileBlocks: 8})
		alice, _ := fill(t, s)
		b := backup(t, s)
		if k != nil && bytes.Contains(b, storetest.Block(19)[:16]) {
			t.Fatal("the backup is not encrypted")
		}
		c := restore(t, Options{Dir: filepath.Join(t.TempDir(), "new"), Key: k, FileBlocks: 8}, b)
		before, after := clean(t, s), clean(t, c)
		before.Took, after.Took = 0, 0
		if before.Blocks != after.Blocks || before.Names != after.Names || before.Remembered != after.Remembered || before.LogSize != after.LogSize {
			t.Fatalf("before %+v, after %+v", before, after)
		}
		st, err := s.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ct, err := c.Stats(t.Context()); err != nil || ct != st {
			t.Fatalf("Stats = %+v, want %+v, %v", ct, st, err)
		}
		// Tombstones, suspensions, invitations and append keys survive.
		if _, err := c.Lookup(t.Context(), "erin"); !errors.Is(err, server.ErrRevoked) {
			t.Fatalf("Lookup = %v", err)
		}
		if e, err := c.Lookup(t.Context(), "carol"); err != nil || !e.Suspended {
			t.Fatalf("Lookup = %+v, %v", e, err)
		}
		si, err := s.Invites(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ci, err := c.Invites(t.Context()); err != nil || !slices.Equal(si, ci) {
			t.Fatalf("Invites = %+v, %v; want %+v", ci, err, si)
		}
		// What was there has its number; what comes has one of another generation.
		r, err := c.Read(t.Context(), alice, 7, 9)
		if err != nil || r.Seq != 9 || storetest.BlockNumber(r.Block) != 8 || r.Highest != 20 || r.Last < 1<<40 {
			t.Fatalf("Read = %d to %d of %d, %v", r.Seq, r.Highest, r.Last, err)
		}
		if known, err := c.Append(t.Context(), storetest.Append(alice, 3, time.Now())); !known || err != nil {
			t.Fatalf("a trimmed block is not known any more: %v", err)
		}
		if known, err := c.Append(t.Context(), storetest.Append(alice, 1000, time.Now())); known || err != nil {
			t.Fatalf("Append = %v", err)
		}
		if next, err := c.Read(t.Context(), alice, 20, 0); err != nil || next.Seq != r.Last+1 {
			t.Fatalf("the next block is %d after %d, %v", next.Seq, r.Last, err)
		}
		clean(t, c)
	}
}

// The same backup may be restored again, and a restored store be backed up.
func TestGenerationsGrow(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	id := storetest.Make(t, s, "alice")
	first := backup(t, s)
	var lasts []uint64
	now := time.Now()
	b := first
	for i := range 4 {
		// The clock stands, and once goes back; only of the same backup nothing else
		// is known.
		clock := now.Add(time.Duration(i) * time.Second)
		if i == 3 {
			clock = now.Add(-time.Hour)
		}
		c := restore(t, Options{Dir: t.TempDir(), clock: func() time.Time { return clock }}, b)
		if known, err := c.Append(t.Context(), storetest.Append(id, i, now)); known || err != nil {
			t.Fatal(err)
		}
		r, err := c.Read(t.Context(), id, 0, 0)
		if err != nil || r.Seq > spool.MaxSequence {
			t.Fatalf("Read = %d, %v", r.Seq, err)
		}
		lasts = append(lasts, r.Last)
		if b = first; i == 2 {
			b = backup(t, c)
		}
	}
	if !slices.IsSorted(lasts) || len(slices.Compact(slices.Clone(lasts))) != len(lasts) {
		t.Fatalf("generations begin at %v", lasts)
	}
}

// A backup of a store in use is of one moment.
func TestBackupInUse(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), FileBlocks: 16, Slack: 1})
	var ids []spool.ID
	for _, name := range []string{"alice", "bob", "carol"} {
		ids = append(ids, storetest.Make(t, s, name))
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := s.Append(t.Context(), storetest.Append(id, n, time.Now())); err != nil {
					t.Error(err)
				}
				if n%20 == 19 {
					if err := s.Trim(t.Context(), id, uint64(n-i), time.Now()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 5 {
		c := restore(t, Options{Dir: t.TempDir()}, backup(t, s))
		clean(t, c)
		clean(t, s)
	}
	stop()
	wg.Wait()
	clean(t, s)
}

// A backup that is cut or changed anywhere is refused, and what was made of it is no
// store.
func TestRestoreRefuses(t *testing.T) {
	for _, k := range [][]byte{nil, bytes.Repeat([]byte{7}, store.KeySize)} {
		s := open(t, Options{Dir: t.TempDir(), Key: k})
		fill(t, s)
		b := backup(t, s)
		try := func(what string, b []byte, key []byte) {
			t.Helper()
			o := Options{Dir: t.TempDir(), Key: key}
			if _, err := Restore(t.Context(), o, bytes.NewReader(b), nil); !errors.Is(err, ErrBackup) {
				t.Fatalf("%s: %v", what, err)
			}
			if s, err := Open(o); err == nil {
				if st, err := s.Stats(t.Context()); err != nil || st.Names > 0 {
					t.Fatalf("%s: it has %d names", what, st.Names)
				}
				s.Close()
			} else if !errors.Is(err, ErrHalf) {
				t.Fatalf("%s: Open = %v", what, err)
			}
			if _, err := Restore(t.Context(), o, bytes.NewReader(b), nil); err == nil {
				t.Fatalf("%s: restored into what was there", what)
			}
		}
		for _, n := range []int{0, 10, 57, 1000, len(b) / 2, len(b) - 1} {
			try("cut", b[:n], k)
		}
		for _, n := range []int{0, 22, 23, len(b) / 3, len(b) - 1} {
			c := bytes.Clone(b)
			c[n] ^= 1
			try("changed", c, k)
		}
		if k != nil {
			try("without the key", b, nil)
			try("with another key", b, bytes.Repeat([]byte{8}, store.KeySize))
		}
	}
	s := open(t, Options{Dir: t.TempDir()})
	used := t.TempDir()
	open(t, Options{Dir: used})
	if _, err := Restore(t.Context(), Options{Dir: used}, bytes.NewReader(backup(t, s)), nil); err == nil {
		t.Fatal("restored over a store")
	}
}
