package badgerstore

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
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

// twenty opens a store whose one spool has the blocks 0 to 19. The caller closes it.
func twenty(t *testing.T, o Options) (*Store, spool.ID) {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	id := storetest.Make(t, s, "alice")
	for n := range 20 {
		if _, err := s.Append(t.Context(), storetest.Append(id, n, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	return s, id
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) server.Store { return open(t, Options{Dir: t.TempDir()}) })
}

func TestReopen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	key := make([]byte, store.KeySize)
	o := Options{Dir: t.TempDir(), Key: key}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	id := storetest.Make(t, s, "alice")
	for n := range 3 {
		if _, err := s.Append(t.Context(), storetest.Append(id, n, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Trim(t.Context(), id, 1, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	r, err := s.Read(t.Context(), id, 0, 1)
	if err != nil || r.Lowest != 2 || r.Highest != 3 || r.Last != 3 {
		t.Fatalf("Read = %d to %d of %d, %v", r.Lowest, r.Highest, r.Last, err)
	}
	for n := range 3 {
		if known, err := s.Append(t.Context(), storetest.Append(id, n, time.Now())); !known || err != nil {
			t.Fatalf("Append(%d) = %v, %v", n, known, err)
		}
	}
	if _, err := s.Lookup(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// On a full disk Badger does not fail, the process gets a bus error: what is
// stored for others must stop before that, and what makes room must go on.
func TestFullDisk(t *testing.T) {
	free := int64(1000)
	s := open(t, Options{Dir: t.TempDir(), Reserve: 1000, Free: func() (int64, error) { return free, nil }})
	id := storetest.Make(t, s, "alice")
	now := time.Now()
	for n := range 2 {
		if _, err := s.Append(t.Context(), storetest.Append(id, n, now)); err != nil {
			t.Fatal(err)
		}
	}
	free = 999
	if _, err := s.Append(t.Context(), storetest.Append(id, 2, now)); !errors.Is(err, store.ErrFull) {
		t.Fatalf("Append = %v", err)
	}
	if known, err := s.Append(t.Context(), storetest.Append(id, 1, now)); !known || err != nil {
		t.Fatalf("Append of a known block = %v, %v", known, err)
	}
	if err := s.Publish(t.Context(), storetest.Entry(t, "bob"), storetest.Create()); !errors.Is(err, store.ErrFull) {
		t.Fatalf("Publish = %v", err)
	}
	if err := s.Trim(t.Context(), id, 1, now); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Read(t.Context(), id, 0, 1); err != nil || r.Seq != 2 || r.Last != 2 {
		t.Fatalf("Read = %d of %d, %v", r.Seq, r.Last, err)
	}
	free = 1000
	if known, err := s.Append(t.Context(), storetest.Append(id, 2, now)); known || err != nil {
		t.Fatalf("Append = %v, %v", known, err)
	}
}

// What another release wrote is met with a clear answer, and left as it is.
func TestOtherFormat(t *testing.T) {
	later, err := codec.Marshal(spoolRecord{Format: recordFormat + 1, Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what   string
		change func(tx *store.Tx) error
		want   error
	}{
		{"a later record", func(tx *store.Tx) error { return tx.Set(key('s', make([]byte, spool.IDSize)), later) }, ErrRecord},
		{"a later layout", func(tx *store.Tx) error { return tx.Set(layoutKey, number(layout+1)) }, ErrFormat},
		{"the first layout", func(tx *store.Tx) error { return tx.Delete(layoutKey) }, ErrFormat},
	} {
		dir := t.TempDir()
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		storetest.Make(t, s, "alice")
		if err := errors.Join(s.db.Update(tt.change), s.Close()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := Open(Options{Dir: dir}); !errors.Is(err, tt.want) {
				t.Fatalf("%s: %v, want %v", tt.what, err, tt.want)
			}
		}
	}
}
