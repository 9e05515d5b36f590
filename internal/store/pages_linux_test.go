package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mappedPages returns how many bytes of the value logs in dir are resident.
func mappedPages(t *testing.T, dir string) (sum int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	ours := false
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if head, _, _ := strings.Cut(lines.Text(), " "); strings.Contains(head, "-") {
			ours = strings.Contains(lines.Text(), dir) && strings.HasSuffix(lines.Text(), ".vlog")
		}
		var kib int
		if _, err := fmt.Sscanf(lines.Text(), "Rss: %d kB", &kib); err == nil && ours {
			sum += kib << 10
		}
	}
	return sum
}

// TestPagesAreReleased: what passes through the store does not stay with the process,
// and is there when it is asked for.
func TestPagesAreReleased(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		t.Skip("files are in memory here")
	}
	if err := releasePages(dir); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: dir, Key: make([]byte, KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	value := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 1<<20) }
	const n = 2*releaseEvery>>20 + 4
	for i := range n {
		if err := s.Update(func(tx *Tx) error { return tx.Set([]byte{byte(i)}, value(i)) }); err != nil {
			t.Fatal(err)
		}
		if got := mappedPages(t, dir); i == 10 && got < 10<<20 {
			t.Fatalf("%d MiB are resident after 10 MiB were written: they cannot be seen", got>>20)
		}
	}
	if s.pages.useless.Load() {
		t.Skip("this system does not take pages back")
	}
	if got := mappedPages(t, dir); got > releaseEvery+8<<20 {
		t.Errorf("%d MiB of %d are resident after writing", got>>20, n)
	}
	for i := range n {
		err := s.View(func(tx *Tx) error {
			v, err := tx.Get([]byte{byte(i)})
			if !bytes.Equal(v, value(i)) {
				t.Errorf("value %d has other bytes", i)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := mappedPages(t, dir); got > releaseEvery+8<<20 {
		t.Errorf("%d MiB of %d are resident after reading", got>>20, n)
	}
	// All in one transaction, and without a copy.
	err = s.View(func(tx *Tx) error {
		for i := range n {
			if err := tx.Read([]byte{byte(i)}, func([]byte) error { return nil }); err != nil {
				return err
			}
			if got := mappedPages(t, dir); got > releaseEvery+8<<20 {
				return fmt.Errorf("%d MiB of %d are resident after reading %d", got>>20, n, i)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
