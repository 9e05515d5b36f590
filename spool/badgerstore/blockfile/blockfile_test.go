package blockfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

const size = 100

func open(t *testing.T, dir string, key []byte) *Files {
	t.Helper()
	f, err := Open(Options{Dir: dir, Key: key, Size: size, Slots: 4})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func record(n int) []byte { return bytes.Repeat([]byte{byte(n + 1)}, size) }

func appendAll(t *testing.T, f *Files, n int) (places []Place) {
	t.Helper()
	for i := range n {
		p, err := f.Append(record(i))
		if err != nil {
			t.Fatal(err)
		}
		if DecodePlace(p.Encode()) != p {
			t.Fatalf("%v is encoded as another", p)
		}
		places = append(places, p)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return places
}

func check(t *testing.T, f *Files, places []Place) {
	t.Helper()
	for i, p := range places {
		if b, err := f.Read(p); err != nil || !bytes.Equal(b, record(i)) {
			t.Fatalf("Read(%v) = %x, %v", p, b, err)
		}
	}
}

func TestAppendReadReopen(t *testing.T) {
	for _, key := range [][]byte{nil, make([]byte, 32)} {
		dir := t.TempDir()
		f := open(t, dir, key)
		places := appendAll(t, f, 10)
		check(t, f, places)
		list := f.Files()
		if len(list) != 3 || list[0] != (File{1, 4, false}) || list[2] != (File{3, 2, true}) {
			t.Fatalf("Files = %v", list)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = open(t, dir, key)
		check(t, f, places)
		if list := f.Files(); list[2] != (File{3, 2, false}) {
			t.Fatalf("Files = %v", list)
		}
		// What was there is never written to again.
		if p := appendAll(t, f, 1)[0]; p != (Place{4, 0}) {
			t.Fatalf("the next place is %v", p)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveAndPin(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, nil)
	defer f.Close()
	places := appendAll(t, f, 9)
	unpin := f.Pin()
	if err := f.Remove(1); err != nil {
		t.Fatal(err)
	}
	check(t, f, places)
	if err := f.Remove(3); !errors.Is(err, ErrGone) {
		t.Fatalf("Remove of the file that is written: %v", err)
	}
	if err := unpin(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(places[0]); !errors.Is(err, ErrGone) {
		t.Fatalf("Read from a removed file: %v", err)
	}
	if err := f.Remove(2); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, make([]byte, 32))
	places := appendAll(t, f, 5)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fileName(1))
	change := func(at int64) {
		t.Helper()
		w, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := w.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := w.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	change(headerSize + 116 + 50)
	f = open(t, dir, make([]byte, 32))
	if _, err := f.Read(places[1]); !errors.Is(err, ErrDamaged) {
		t.Fatalf("Read of a damaged record: %v", err)
	}
	if b, err := f.Read(places[2]); err != nil || !bytes.Equal(b, record(2)) {
		t.Fatalf("Read of its neighbour: %v", err)
	}
	if _, err := f.Read(Place{1, 100}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("Read beyond the end: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Size: size}, {Size: size + 1, Key: make([]byte, 32)}} {
		o.Dir, o.Slots = dir, 4
		if _, err := Open(o); err == nil || errors.Is(err, ErrDamaged) {
			t.Fatalf("Open(%+v) = %v", o, err)
		}
	}
	change(5)
	if _, err := Open(Options{Dir: dir, Size: size, Slots: 4, Key: make([]byte, 32)}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("Open with a damaged header: %v", err)
	}
	// A file that a crash left without its header has nothing.
	if err := os.Truncate(path, 17); err != nil {
		t.Fatal(err)
	}
	f = open(t, dir, make([]byte, 32))
	check(t, f, nil)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("it is still there: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// After a write that fails, what was written with it before is still good, and
// the next goes into another file.
func TestWriteFails(t *testing.T) {
	f := open(t, t.TempDir(), nil)
	defer f.Close()
	p, err := f.Append(record(0))
	if err != nil {
		t.Fatal(err)
	}
	// As a full disk does, it fails from now on.
	good := f.writing.f
	closed, err := os.Open(good.Name())
	if err != nil {
		t.Fatal(err)
	}
	f.writing.f = closed // read only
	if _, err := f.Append(record(1)); err == nil {
		t.Fatal("Append to a file that cannot be written gave no error")
	}
	if err := f.Sync(); err != nil {
		t.Logf("Sync = %v", err)
	}
	q, err := f.Append(record(2))
	if err != nil || q != (Place{2, 0}) {
		t.Fatalf("Append = %v, %v", q, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Read(p); err != nil || !bytes.Equal(b, record(0)) {
		t.Fatalf("Read = %v", err)
	}
	if err := good.Close(); err != nil {
		t.Fatal(err)
	}
}
