package server

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mailproxy/spool"
)

func TestWindow(t *testing.T) {
	var w window
	for _, step := range []struct {
		nonce uint64
		fresh bool
	}{
		{5, true}, {5, false}, {0, true}, {0, false}, {6, true}, {260, true}, {4, false}, {5, false},
		{7, true}, {7, false}, {8, true}, {math.MaxUint64, true}, {math.MaxUint64, false},
		{math.MaxUint64 - windowSize, false}, {math.MaxUint64 - windowSize + 1, true}, {261, false}, {0, false},
	} {
		if got := w.fresh(step.nonce); got != step.fresh {
			t.Fatalf("fresh(%d) = %v", step.nonce, got)
		}
		if step.fresh {
			w.use(step.nonce)
		}
	}
}

// The window against a set of all nonces: it never lets one pass twice, and never
// refuses one that is new and within the window.
func TestWindowProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		used := make(map[uint64]bool)
		var top uint64
		base := rapid.SampledFrom([]uint64{0, 1000, math.MaxUint64 - 2000}).Draw(t, "base")
		for range rapid.IntRange(1, 400).Draw(t, "n") {
			n := base + rapid.Uint64Range(0, 1500).Draw(t, "nonce")
			want := !used[n] && (len(used) == 0 || n > top || top-n < windowSize)
			if got := w.fresh(n); got != want {
				t.Fatalf("fresh(%d) = %v with top %d", n, got, top)
			}
			if want {
				w.use(n)
				used[n] = true
				top = max(top, n)
			}
		}
	})
}

func TestGuardForgets(t *testing.T) {
	now := time.Unix(1_772_366_400, 0)
	g := newGuard()
	key := [32]byte{1}
	sessions := g.shard(key).sessions
	s := g.enter(key)
	g.leave(key, s)
	if len(sessions) != 0 {
		t.Fatal("a key of which nothing is known is kept")
	}
	s = g.enter(key)
	s.use(&spool.Auth{Nonce: 1, Expiry: now.Add(5 * time.Minute).Unix()}, now)
	g.leave(key, s)
	g.sweep(now.Add(5 * time.Minute))
	if len(sessions) != 1 {
		t.Fatal("a window was dropped in the second in which its request expires")
	}
	s = g.enter(key)
	g.sweep(now.Add(6 * time.Minute))
	if sessions[key] != s {
		t.Fatal("a session was dropped while a request had it")
	}
	g.leave(key, s)
	g.sweep(now.Add(6 * time.Minute))
	if len(sessions) != 0 {
		t.Fatal("a window is kept of which every request has expired")
	}
}

// Requests of one key that wait for each other do not take up all places of a node.
func TestGuardBoundsWaiting(t *testing.T) {
	g, key := newGuard(), [32]byte{1}
	s := g.enter(key)
	var wg sync.WaitGroup
	for range maxAtOnce - 1 {
		wg.Go(func() { g.leave(key, g.enter(key)) })
	}
	waiting := func() int {
		h := g.shard(key)
		h.mu.Lock()
		defer h.mu.Unlock()
		return s.users
	}
	for waiting() < maxAtOnce {
		runtime.Gosched()
	}
	if g.enter(key) != nil {
		t.Fatal("one more was let in")
	}
	other := [32]byte{1, 2}
	g.leave(other, g.enter(other))
	g.leave(key, s)
	wg.Wait()
	g.leave(key, g.enter(key))
}

// What is kept of a user who reads, and of one who uses as many instances as count.
func TestGuardMemory(t *testing.T) {
	const n = 50_000
	now := time.Unix(1_772_366_400, 0)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, tt := range []struct{ instances, most int }{{1, 300}, {maxInstances, 800}} {
		before, g := heap(), newGuard()
		for i := range n {
			key := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
			s := g.enter(key)
			for j := range tt.instances + 3 {
				s.use(&spool.Auth{Instance: spool.Instance{byte(j % tt.instances)}, Nonce: uint64(j), Expiry: now.Unix() + 60}, now)
			}
			s.read = now
			g.leave(key, s)
		}
		each := int(heap()-before) / n
		t.Logf("%d instances: %d bytes", tt.instances, each)
		if each > tt.most {
			t.Errorf("%d instances: %d bytes for each user, want at most %d", tt.instances, each, tt.most)
		}
		runtime.KeepAlive(g)
	}
}

func TestGuardBoundsInstances(t *testing.T) {
	now := time.Unix(1_772_366_400, 0)
	s := new(session)
	for i := range 50 {
		s.use(&spool.Auth{Instance: spool.Instance{byte(i)}, Nonce: 1, Expiry: now.Add(time.Minute).Unix()}, now)
	}
	if len(s.windows) != maxInstances {
		t.Fatalf("%d windows", len(s.windows))
	}
	if s.fresh(&spool.Auth{Instance: spool.Instance{49}, Nonce: 1}) {
		t.Fatal("the newest window was dropped")
	}
}
