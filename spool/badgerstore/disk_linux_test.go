package badgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailproxy/internal/store"
	"mailproxy/spool/server/storetest"
)

// smallDisk mounts a file system of its own, for who may.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("fills a disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk that really fills up: what has no room is refused, all else goes on, and
// with room the store takes again what it refused.
func TestRealFullDisk(t *testing.T) {
	dir := smallDisk(t, "160m")
	s, err := Open(Options{Dir: filepath.Join(dir, "store"), Reserve: 96 << 20, FileBlocks: 256, Slack: 1})
	if err != nil {
		t.Fatal(err)
	}
	id := storetest.Make(t, s, "alice")
	var next, full atomic.Int64
	acked := make(map[int]bool)
	var mu sync.Mutex
	fill := func() {
		full.Store(0)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for full.Load() < 16 && next.Load() < 20_000 {
					n := int(next.Add(1))
					_, err := s.Append(t.Context(), storetest.Append(id, n, time.Now()))
					switch {
					case errors.Is(err, store.ErrFull):
						full.Add(1)
					case err != nil:
						t.Errorf("Append = %v", err)
						return
					default:
						mu.Lock()
						acked[n] = true
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if full.Load() == 0 {
			t.Fatalf("%d blocks went onto the disk", next.Load())
		}
	}
	fill()
	before := len(acked)
	// Somebody else takes most of the rest.
	hog := filepath.Join(dir, "hog")
	if err := os.WriteFile(hog, make([]byte, 60<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), storetest.Entry(t, "bob"), storetest.Create()); !errors.Is(err, store.ErrFull) {
		t.Fatalf("Publish = %v", err)
	}
	r, err := s.Read(t.Context(), id, 0, 1)
	if err != nil || r.Seq != 1 || r.Highest != uint64(before) {
		t.Fatalf("Read = %d to %d of %d, %v", r.Lowest, r.Highest, before, err)
	}
	if err := s.Trim(t.Context(), id, uint64(before/2), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	<-s.counted
	if err := s.collect(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	fill()
	if len(acked) <= before {
		t.Fatal("nothing was taken after there was room again")
	}
	report := clean(t, s)
	if report.Blocks+before/2 != len(acked) {
		t.Fatalf("%d blocks were acknowledged, %d trimmed, %d are there", len(acked), before/2, report.Blocks)
	}
	t.Logf("%d blocks, then %d more", before, len(acked)-before)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A disk that cannot be written is called that, and nothing is lost by trying.
func TestReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t, "160m")
	o := Options{Dir: filepath.Join(dir, "store"), Reserve: 1}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	id := storetest.Make(t, s, "alice")
	if _, err := s.Append(t.Context(), storetest.Append(id, 1, time.Now())); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
	if _, err = Open(o); err == nil || !strings.Contains(err.Error(), "read-only file system") || errors.Is(err, store.ErrLocked) {
		t.Fatalf("Open = %v", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Read(t.Context(), id, 0, 1); err != nil || r.Seq != 1 {
		t.Fatalf("Read = %d, %v", r.Seq, err)
	}
	clean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
