package store

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

// A few large values do not fill a memory table, and what was in their place is
// given back all the same.
func TestCollect(t *testing.T) {
	o := Options{Dir: t.TempDir(), Key: make([]byte, KeySize)}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	key := func(i int) []byte { return []byte{'k', byte(i % 8)} }
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1<<20) }
	s.pushAfter = 32 << 20
	const writes = 210
	most := int64(0)
	for i := range writes {
		if err := s.Update(func(tx *Tx) error { return tx.Set(key(i), value(i)) }); err != nil {
			t.Fatal(err)
		}
		if i%70 != 69 {
			continue
		}
		size, err := s.valueLog()
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, size)
		if i < writes-1 {
			if err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := s.Collect(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Collect after the end: %v", err)
	}
	if err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Of four files there are left that in use, which is made twice as large, and one.
	after, err := s.valueLog()
	if err != nil || after > 200<<20 {
		t.Errorf("of %d bytes, %d at most, %d are left: %v", writes<<20, most, after, err)
	}
	for range 2 { // also after the store was opened again
		err := s.View(func(tx *Tx) error {
			for i := writes - 8; i < writes; i++ {
				if v, err := tx.Get(key(i)); err != nil || !bytes.Equal(v, value(i)) {
					t.Errorf("value %d has %d bytes: %v", i, len(v), err)
				}
			}
			return nil
		})
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(o); err != nil {
			t.Fatal(err)
		}
	}
}
