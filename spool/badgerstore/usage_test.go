package badgerstore

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

func TestConformanceSmallFiles(t *testing.T) {
	storetest.Run(t, func(t *testing.T) server.Store {
		return open(t, Options{Dir: t.TempDir(), Key: make([]byte, 32), FileBlocks: 50, Slack: 1})
	})
}

func fileCount(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, blocksDir))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Files whose blocks are all gone go, and those that have a few are emptied: also
// after a restart, and while blocks are read.
func TestRoomIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, FileBlocks: 8, Slack: 1}
	s := open(t, o)
	idle, busy := storetest.Make(t, s, "alice"), storetest.Make(t, s, "bob")
	const blocks = 200
	for n := range blocks {
		for _, id := range []spool.ID{idle, busy} {
			// One block of alice's to seven of bob's.
			if id == idle && n%7 != 0 {
				continue
			}
			if _, err := s.Append(t.Context(), storetest.Append(id, n, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-s.counted
	before := fileCount(t, dir)
	if err := s.Trim(t.Context(), busy, blocks-1, time.Now()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for want := uint64(1); ctx.Err() == nil; want = want%29 + 1 {
			r, err := s.Read(t.Context(), idle, 0, want)
			if err != nil || r.Seq != want || storetest.BlockNumber(r.Block) != int(want-1)*7 {
				t.Errorf("Read(%d) = %d, %v", want, r.Seq, err)
				return
			}
		}
	})
	if err := s.collect(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	stop()
	wg.Wait()
	if after := fileCount(t, dir); before < 28 || after > 7 {
		t.Fatalf("%d files before, %d after", before, after)
	}
	for seq := uint64(1); seq <= 29; seq++ {
		if r, err := s.Read(t.Context(), idle, 0, seq); err != nil || storetest.BlockNumber(r.Block) != int(seq-1)*7 {
			t.Fatalf("Read(%d) = %v", seq, err)
		}
	}
}

// The count of blocks in each file is right after a restart.
func TestUsageAfterRestart(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, FileBlocks: 8, Slack: 1 << 30}
	s, id := twenty(t, o)
	if err := s.Trim(t.Context(), id, 10, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	<-s.counted
	for file, want := range map[uint32]int64{1: 0, 2: 6, 3: 4} {
		if n := s.usage.of(file); n != want {
			t.Errorf("file %d has %d blocks, want %d", file, n, want)
		}
	}
	if err := s.Trim(t.Context(), id, 20, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.collect(t.Context(), 1<<30); err != nil {
		t.Fatal(err)
	}
	if n := fileCount(t, dir); n != 0 {
		t.Fatalf("%d files are left", n)
	}
}

// GC leaves nothing that is worth the work, and says what it has given back.
func TestGC(t *testing.T) {
	dir := t.TempDir()
	s, id := twenty(t, Options{Dir: dir, FileBlocks: 4, Slack: 1 << 30})
	defer s.Close()
	for n := range 100 {
		if _, err := s.Append(t.Context(), storetest.Append(id, 100+n, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Trim(t.Context(), id, 90, time.Now()); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.GC(t.Context()); err != nil || freed < 80*spool.BlockSize {
		t.Fatalf("GC = %d, %v", freed, err)
	}
	if n := fileCount(t, dir); n > 9 {
		t.Fatalf("%d files are left of 30 blocks", n)
	}
	clean(t, s)
}

// While blocks are counted anew, no file looks as if it had none: whoever gives
// room back would remove it with all that it holds.
func TestRecountRemovesNothing(t *testing.T) {
	s, id := twenty(t, Options{Dir: t.TempDir(), FileBlocks: 4, Slack: 1 << 30})
	<-s.counted
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if n := s.usage.of(2); n != 4 {
				t.Errorf("file 2 seems to have %d blocks", n)
				return
			}
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := s.collect(t.Context(), 1<<30); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 300 {
		if err := s.recount(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	wg.Wait()
	for seq := uint64(1); seq <= 20; seq++ {
		if r, err := s.Read(t.Context(), id, 0, seq); err != nil || r.Seq != seq {
			t.Fatalf("Read(%d) = %d, %v", seq, r.Seq, err)
		}
	}
	clean(t, s)

	// Who counts waits for who removes.
	s.counting.Lock()
	done := make(chan error)
	go func() { done <- s.recount() }()
	select {
	case <-done:
		t.Error("blocks were counted while a file could be removed")
	case <-time.After(20 * time.Millisecond):
		s.counting.Unlock()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
