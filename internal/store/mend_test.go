package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A process that is killed while Badger makes a log leaves an empty file, with
// which Badger does not open. Found by contrib/measure/crash.
func TestKilledWhileLogWasMade(t *testing.T) {
	for _, name := range []string{"00099.mem", "000099.vlog"} {
		t.Run(name, func(t *testing.T) {
			o := Options{Dir: t.TempDir(), Key: make([]byte, KeySize)}
			large := make([]byte, 100<<10) // in the value log
			write := func(k string) {
				t.Helper()
				s, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Update(func(tx *Tx) error { return tx.Set([]byte(k), large) }); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			write("a")
			if err := os.WriteFile(filepath.Join(o.Dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			write("b")
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			err = s.View(func(tx *Tx) error {
				for _, k := range []string{"a", "b"} {
					if v, err := tx.Get([]byte(k)); err != nil || len(v) != len(large) {
						t.Errorf("%s has %d bytes: %v", k, len(v), err)
					}
				}
				return nil
			})
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An empty log of another process is not touched: it is about to get its size.
func TestMendLocked(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.Dir, "00099.mem")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, ErrLocked) {
		t.Errorf("Open = %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
