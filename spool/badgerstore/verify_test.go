package badgerstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore/blockfile"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

// fill gives a store something of everything.
func fill(t *testing.T, s *Store) (alice, bob spool.ID) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	alice, bob = storetest.Make(t, s, "alice"), storetest.Make(t, s, "bob")
	for _, name := range []string{"carol", "dave", "erin"} {
		id := storetest.Make(t, s, name)
		_, err := s.Append(t.Context(), storetest.Append(id, 1, time.Now()))
		must(err)
	}
	for n := range 20 {
		for i, id := range []spool.ID{alice, bob} {
			a := storetest.Append(id, n, time.Now())
			a.Lane = spool.Lane((n + i) % server.Lanes)
			_, err := s.Append(t.Context(), a)
			must(err)
		}
	}
	must(s.Trim(t.Context(), alice, 7, time.Now()))
	must(s.SetAppendKey(t.Context(), bob, make([]byte, 32), 3))
	must(s.Suspend(t.Context(), "carol", true))
	must(s.Revoke(t.Context(), "dave", false, time.Now()))
	must(s.Revoke(t.Context(), "erin", true, time.Now()))
	for n := range byte(3) {
		must(s.AddInvite(t.Context(), server.Invite{Hash: sha256.Sum256([]byte{n}), Created: time.Now(), Note: fmt.Sprint(n)}))
	}
	must(s.Publish(t.Context(), storetest.Entry(t, "frank"), server.Publication{Create: true, NeedInvite: true, Invite: sha256.Sum256([]byte{1}), Now: time.Now()}))
	return alice, bob
}

// filledDir returns where a closed store is that has something of everything.
func filledDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func clean(t *testing.T, s *Store) Report {
	t.Helper()
	r, err := s.Verify(t.Context(), nil)
	if err != nil || r.Wrong != 0 {
		t.Fatalf("Verify = %v, %v", r.Problems, err)
	}
	return r
}

func TestVerifyClean(t *testing.T) {
	o := Options{Dir: t.TempDir(), Key: make([]byte, store.KeySize), FileBlocks: 8}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	clean(t, s)
	fill(t, s)
	r := clean(t, s)
	if r.Names != 6 || r.Spools != 6 || r.Blocks != 35 || r.Remembered != 7 || r.LogSize != 8 || r.Invites != 2 {
		t.Fatalf("Verify = %+v", r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	if again := clean(t, s); again.Blocks != r.Blocks {
		t.Fatalf("Verify = %+v", again)
	}
	if err := s.collect(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	clean(t, s)
}

// Whatever is changed behind the store's back is found, and said.
func TestVerifyFinds(t *testing.T) {
	first := func(tx *store.Tx, kind byte, at int) (k, v []byte) {
		n := 0
		tx.Iterate(store.Range{Prefix: []byte{kind}}, func(i store.Item) error {
			k = append([]byte(nil), i.Key...)
			v, _ = i.Value()
			if n++; n > at {
				return store.ErrStop
			}
			return nil
		})
		return k, v
	}
	drop := func(kind byte) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			k, _ := first(tx, kind, 3)
			return tx.Delete(k)
		}
	}
	flip := func(kind byte, byteOf int) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			k, v := first(tx, kind, 3)
			v[(len(v)+byteOf)%len(v)] ^= 1
			return tx.Set(k, v)
		}
	}
	add := func(k ...[]byte) func(tx *store.Tx) error {
		return func(tx *store.Tx) error { return tx.Set(key(k[0][0], k[1:]...), nil) }
	}
	id := make([]byte, 32)
	whole := filledDir(t)
	for _, tt := range []struct {
		what   string
		change func(tx *store.Tx) error
		says   string
	}{
		{"a name is gone", drop('n'), "name"},
		{"a spool is gone", drop('s'), "spool"},
		{"a block's record is gone", drop('m'), "no block"},
		{"a block's age is gone", drop('t'), "by age"},
		{"an id is gone", drop('i'), "ids"},
		{"a remembered id is never forgotten", drop('f'), "forgotten"},
		{"a log record is gone", drop('l'), "key log"},
		{"a log hash is gone", drop('h'), "key log"},
		{"a log record is another", flip('l', -1), "key log"},
		{"a log hash is another", flip('h', 5), "key log"},
		{"a block's id is another", flip('m', -1), "not what was appended"},
		{"a block's lane is another", func(tx *store.Tx) error {
			k, v := first(tx, 'm', 3)
			v[8] = (v[8] + 1) % server.Lanes
			return tx.Set(k, v)
		}, "counts"},
		{"a block's place is another", flip('m', 16), "not what was appended"},
		{"an age without a block", add([]byte("t"), id[:8], id, id[:8]), "by age"},
		{"an id to forget that is none", add([]byte("f"), id[:8], id, id), "to forget"},
		{"blocks without a spool", func(tx *store.Tx) error {
			_, v := first(tx, 'm', 0)
			return tx.Set(key('m', id, number(1)), v)
		}, "no record"},
		{"a spool's record is another", func(tx *store.Tx) error {
			k, v := first(tx, 's', 2)
			r, err := decodeSpool(v)
			if err != nil {
				return err
			}
			r.Blocks[0]++
			return put(tx, k, r)
		}, "counts"},
		{"a name's spool is another's", func(tx *store.Tx) error {
			n, err := getName(tx, "alice")
			if err != nil {
				return err
			}
			return putName(tx, "zoe", n)
		}, "name"},
		{"an identity was changed silently", func(tx *store.Tx) error {
			n, err := getName(tx, "alice")
			if err != nil {
				return err
			}
			n.Identity[0] ^= 1
			return putName(tx, "alice", n)
		}, "says something else"},
		{"an invitation is gone", drop('v'), "invitation"},
	} {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		s := open(t, Options{Dir: dir})
		if err := s.db.Update(tt.change); err != nil {
			t.Fatal(err)
		}
		r, err := s.Verify(t.Context(), nil)
		if err != nil || r.Wrong == 0 || !strings.Contains(strings.Join(r.Problems, "\n"), tt.says) {
			t.Errorf("%s: %q, %v; want something of %q", tt.what, r.Problems, err, tt.says)
		}
	}
}

// A file of blocks that is damaged costs the blocks that are damaged in it, and the
// service says which.
func TestDamagedFile(t *testing.T) {
	for _, k := range [][]byte{nil, make([]byte, store.KeySize)} {
		dir := t.TempDir()
		o := Options{Dir: dir, Key: k, FileBlocks: 8}
		s, id := twenty(t, o)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, blocksDir, "00000001.blocks")
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 1 // within the fourth or fifth
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, o)
		damaged := uint64(0)
		for seq := uint64(1); seq <= 20; seq++ {
			r, err := s.Read(t.Context(), id, 0, seq)
			switch {
			case errors.Is(err, ErrDamaged) && damaged == 0:
				damaged = seq
			case err != nil || storetest.BlockNumber(r.Block) != int(seq-1):
				t.Fatalf("Read(%d): %v", seq, err)
			}
		}
		r, err := s.Verify(t.Context(), nil)
		if err != nil || r.Damaged() != 1 || r.Wrong != 1 || damaged == 0 || !strings.Contains(r.Problems[0], fmt.Sprintf("block %d", damaged)) {
			t.Fatalf("block %d is damaged; Verify = %+v, %v", damaged, r, err)
		}
		// What else is in the file can be moved; the file itself stays.
		if err := s.collect(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Backup(t.Context(), new(strings.Builder), nil); !errors.Is(err, ErrDamaged) {
			t.Fatalf("Backup = %v", err)
		}
		if n, err := s.DropDamaged(t.Context(), r); n != 1 || err != nil {
			t.Fatalf("DropDamaged = %d, %v", n, err)
		}
		clean(t, s)
		if known, err := s.Append(t.Context(), storetest.Append(id, int(damaged)-1, time.Now())); known || err != nil {
			t.Fatalf("the sender cannot repeat it: %v, %v", known, err)
		}
		if r, err := s.Read(t.Context(), id, 0, damaged); err != nil || r.Seq != 1 {
			t.Fatalf("Read = %d, %v", r.Seq, err)
		}
		clean(t, s)
	}
}

// A file that is gone altogether keeps nobody from what is in the others.
func TestMissingFile(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, FileBlocks: 8}
	s, id := twenty(t, o)
	if err := errors.Join(s.Close(), os.Remove(filepath.Join(dir, blocksDir, "00000001.blocks"))); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	if _, err := s.Read(t.Context(), id, 0, 1); !errors.Is(err, blockfile.ErrGone) {
		t.Fatalf("Read = %v", err)
	}
	if r, err := s.Read(t.Context(), id, 0, 9); err != nil || r.Seq != 9 {
		t.Fatalf("Read = %v", err)
	}
	r, err := s.Verify(t.Context(), nil)
	if err != nil || r.Damaged() != 8 {
		t.Fatalf("Verify = %+v, %v", r, err)
	}
	if n, err := s.DropDamaged(t.Context(), r); n != 8 || err != nil {
		t.Fatalf("DropDamaged = %d, %v", n, err)
	}
	clean(t, s)
}

// What Badger keeps is checked as well: with a damaged table or manifest the store
// does not open, and says why.
func TestDamagedTables(t *testing.T) {
	whole := filledDir(t)
	tables, err := filepath.Glob(filepath.Join(whole, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("%v, %v", tables, err)
	}
	for _, path := range append(tables, filepath.Join(whole, "MANIFEST")) {
		for _, at := range []int{0, 1, 2} {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, filepath.Base(path))
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			raw[(len(raw)-1)*at/2] ^= 1
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(Options{Dir: dir}); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("byte %d/2 of %s was changed: Open = %v", at, filepath.Base(path), err)
			}
		}
	}
}
