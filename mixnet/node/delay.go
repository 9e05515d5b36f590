package node

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"mailproxy/mixnet/sphinx"
)

// A delayLine holds packets until their time has come.
type delayLine struct {
	limit   int
	release func(to sphinx.NodeID, packet []byte, late time.Duration)

	mu   sync.Mutex // guards held
	held waitHeap
	wake chan struct{} // the earliest packet changed
}

type waiting struct {
	due    time.Time
	to     sphinx.NodeID
	packet []byte
}

func newDelayLine(limit int, release func(sphinx.NodeID, []byte, time.Duration)) *delayLine {
	return &delayLine{limit: limit, release: release, wake: make(chan struct{}, 1)}
}

// add holds packet for d, and reports whether another was dropped to make room:
// the one that has the least left to wait, which is about the oldest.
func (l *delayLine) add(to sphinx.NodeID, packet []byte, d time.Duration) (dropped bool) {
	w := waiting{due: time.Now().Add(d), to: to, packet: packet}
	l.mu.Lock()
	if len(l.held) == l.limit {
		heap.Pop(&l.held)
		dropped = true
	}
	heap.Push(&l.held, w)
	first := l.held[0].due.Equal(w.due)
	l.mu.Unlock()
	if first {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return dropped
}

// len returns how many packets are held.
func (l *delayLine) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// run releases packets as they fall due, until ctx ends.
func (l *delayLine) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := time.Hour
		for {
			l.mu.Lock()
			if len(l.held) == 0 {
				l.mu.Unlock()
				break
			}
			now := time.Now()
			if wait = l.held[0].due.Sub(now); wait > 0 {
				l.mu.Unlock()
				break
			}
			w := heap.Pop(&l.held).(waiting)
			l.mu.Unlock()
			l.release(w.to, w.packet, -wait)
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
	}
}

// waitHeap implements heap.Interface, the earliest first.
type waitHeap []waiting

func (h waitHeap) Len() int           { return len(h) }
func (h waitHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h waitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *waitHeap) Push(x any)        { *h = append(*h, x.(waiting)) }
func (h *waitHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = waiting{} // let the packet go
	*h = old[:len(old)-1]
	return w
}
