package server

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
)

func signed(n int) *signature {
	key := ed25519.NewKeyFromSeed(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(n)))
	input := fmt.Appendf(nil, "request %d", n)
	return &signature{
		key: key.Public().(ed25519.PublicKey), input: input, signature: ed25519.Sign(key, input), done: make(chan struct{}),
	}
}

// Each signature of a batch gets its own answer, whatever the others are.
func TestTogether(t *testing.T) {
	for _, bad := range [][]int{nil, {0}, {3}, {0, 1, 2, 3, 4}} {
		var batch []*signature
		for n := range 5 {
			batch = append(batch, signed(n))
		}
		for _, n := range bad {
			batch[n].signature = bytes.Clone(batch[n].signature)
			batch[n].signature[40] ^= 1
		}
		if all := together(batch); all != (len(bad) == 0) {
			t.Errorf("bad %v: together = %v", bad, all)
		}
		for n, s := range batch {
			want := ed25519.Verify(s.key, s.input, s.signature)
			if s.good != want {
				t.Errorf("bad %v: signature %d is good: %v, want %v", bad, n, s.good, want)
			}
			<-s.done
		}
	}
}

// Many at once, good and bad, before and after a batch that failed.
func TestVerifyAtOnce(t *testing.T) {
	var v signatures
	var wg sync.WaitGroup
	for n := range 2 * singlyAfter {
		wg.Go(func() {
			s := signed(n)
			good := n%100 != 7
			if !good {
				s.input = append(s.input, 0)
			}
			if got := v.verify(s.key, s.input, s.signature); got != good {
				t.Errorf("signature %d is good: %v", n, got)
			}
		})
	}
	wg.Wait()
	if len(v.waiting) != 0 || v.leading {
		t.Error("somebody still waits")
	}
}

func BenchmarkTogether(b *testing.B) {
	for _, size := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for range b.N / size {
				b.StopTimer()
				var batch []*signature
				for n := range size {
					batch = append(batch, signed(n))
				}
				b.StartTimer()
				together(batch)
			}
		})
	}
}

// A bad signature now and then leaves the others their batches; many do not.
func TestSinglyAfterManyBadBatches(t *testing.T) {
	for _, tt := range []struct {
		every  int // which batch of 16 is bad
		singly bool
	}{{1000, false}, {10, false}, {3, false}, {1, true}} {
		var v signatures
		for n := 1; n <= 100; n++ {
			v.count(16, n%tt.every != 0)
		}
		if (v.singly > 0) != tt.singly {
			t.Errorf("one batch in %d is bad: %d are verified one by one", tt.every, v.singly)
		}
	}
}
