package badgerstore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

// A change of which the disk says that it failed, and which is there all the same,
// is not built upon until that is known; then the store goes on by itself.
func TestFailedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{Dir: t.TempDir(), FileBlocks: 8})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		id := storetest.Make(t, s, "alice")
		add := func(n int) (bool, error) { return s.Append(t.Context(), storetest.Append(id, n, time.Now())) }
		if _, err := add(1); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("input/output error")
		var failing atomic.Bool
		if err := s.update(t.Context(), 0, func(*batch) error {
			s.fault = func() error {
				if failing.Load() {
					return broken
				}
				return nil
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		failing.Store(true)
		for n := range 3 {
			if _, err := add(2 + n); !errors.Is(err, broken) {
				t.Fatalf("Append = %v", err)
			}
		}
		if err := s.Trim(t.Context(), id, 1, time.Now()); !errors.Is(err, broken) {
			t.Fatalf("Trim = %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := s.Publish(t.Context(), storetest.Entry(t, "bob"), storetest.Create()); !errors.Is(err, broken) {
			t.Fatalf("Publish = %v", err)
		}
		if r, err := s.Read(t.Context(), id, 0, 1); err != nil || r.Seq != 1 {
			t.Fatalf("what is there cannot be read: %v", err)
		}
		failing.Store(false)
		time.Sleep(2 * time.Second)
		if known, err := add(2); err != nil || !known {
			t.Fatalf("the block that was refused, and stored: %v, %v", known, err)
		}
		if known, err := add(3); err != nil || known {
			t.Fatalf("the block that was refused: %v, %v", known, err)
		}
		if r, err := s.Read(t.Context(), id, 0, 1); err != nil || r.Seq != 1 || r.Last != 3 {
			t.Fatalf("Read = %d of %d, %v", r.Seq, r.Last, err)
		}
		clean(t, s)
	})
}

// With the disk at its end nothing is changed any more, not even what makes room:
// Badger could not bear it.
func TestBrink(t *testing.T) {
	var free atomic.Int64
	free.Store(1000)
	s := open(t, Options{Dir: t.TempDir(), Reserve: 800, Free: func() (int64, error) { return free.Load(), nil }})
	id := storetest.Make(t, s, "alice")
	if _, err := s.Append(t.Context(), storetest.Append(id, 1, time.Now())); err != nil {
		t.Fatal(err)
	}
	free.Store(99)
	if err := s.Trim(t.Context(), id, 1, time.Now()); !errors.Is(err, store.ErrFull) {
		t.Fatalf("Trim = %v", err)
	}
	free.Store(100)
	if err := s.Trim(t.Context(), id, 1, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// Of changes made together only those that a full disk concerns fail.
func TestNoRoomForBlocks(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), FileBlocks: 4})
	id := storetest.Make(t, s, "alice")
	full := store.FullOr(fmt.Errorf("write: %w", syscall.ENOSPC))
	err := s.update(t.Context(), 0, func(b *batch) error { return full })
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("update = %v", err)
	}
	if _, err := s.Append(t.Context(), storetest.Append(id, 1, time.Now())); err != nil {
		t.Fatal(err)
	}
	// A change that fails after it wrote something takes nothing of the others along.
	results := make(chan error, 20)
	for n := range 10 {
		go func() {
			_, err := s.Append(t.Context(), storetest.Append(id, 10+n, time.Now()))
			results <- err
		}()
		go func() {
			err := s.update(t.Context(), 0, func(b *batch) error {
				return errors.Join(b.Set(key('l', number(1000)), []byte("x")), server.ErrTaken)
			})
			if errors.Is(err, server.ErrTaken) {
				err = nil
			} else {
				err = fmt.Errorf("the failing change: %v", err)
			}
			results <- err
		}()
	}
	for range 20 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	clean(t, s)
}
