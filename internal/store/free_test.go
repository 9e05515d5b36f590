package store

import (
	"errors"
	"testing"
)

func TestFree(t *testing.T) {
	n, err := Free(t.TempDir())
	if errors.Is(err, ErrFreeUnknown) {
		t.Skip(err)
	}
	if err != nil || n <= 0 {
		t.Fatalf("Free = %d, %v", n, err)
	}
	if _, err := Free(t.TempDir() + "/absent"); err == nil {
		t.Fatal("Free of a directory that is not there gave no error")
	}
}

// TestRoom is for a full disk, on which Badger ends the process.
func TestRoom(t *testing.T) {
	free := int64(1000)
	s, err := Open(Options{Dir: t.TempDir(), Reserve: 1000, Free: func() (int64, error) { return free, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Room(); err != nil {
		t.Errorf("with the reserve free: %v", err)
	}
	free--
	if err := s.Room(); !errors.Is(err, ErrFull) {
		t.Errorf("with less than the reserve free: %v, want ErrFull", err)
	}
	set := func(value string) error {
		return s.Update(func(tx *Tx) error { return tx.Set([]byte("k"), []byte(value)) })
	}
	if err := set("small change"); err != nil {
		t.Errorf("a small change within the reserve: %v", err)
	}
	free = 124
	if err := set("another"); !errors.Is(err, ErrFull) {
		t.Errorf("a change on the brink: %v, want ErrFull", err)
	}
	err = s.View(func(tx *Tx) error {
		v, err := tx.Get([]byte("k"))
		if string(v) != "small change" {
			t.Errorf("there is %q, %v", v, err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
