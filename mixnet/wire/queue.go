package wire

import (
	"context"
	"sync"
)

// A Queue holds frames on their way into a link. It is bounded: when it is full
// the oldest frame makes room, since the newest has the best chance of being in
// time for whoever waits for it.
type Queue struct {
	mu      sync.Mutex // guards all below
	frames  []Frame    // a ring
	head, n int
	dropped uint64
	ready   chan struct{} // holds a token while n > 0
}

// A Frame is a kind and a body that the queue owns.
type Frame struct {
	Kind byte
	Body []byte
}

// NewQueue makes a queue of at most limit frames.
func NewQueue(limit int) *Queue {
	return &Queue{frames: make([]Frame, limit), ready: make(chan struct{}, 1)}
}

// Put adds f and reports whether an older frame was dropped for it.
func (q *Queue) Put(f Frame) (dropped bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == len(q.frames) {
		q.frames[q.head] = Frame{}
		q.head = (q.head + 1) % len(q.frames)
		q.n--
		q.dropped++
		dropped = true
	}
	q.frames[(q.head+q.n)%len(q.frames)] = f
	q.n++
	q.signal()
	return dropped
}

// Get waits for a frame.
func (q *Queue) Get(ctx context.Context) (Frame, error) {
	for {
		q.mu.Lock()
		if q.n > 0 {
			f := q.frames[q.head]
			q.frames[q.head] = Frame{}
			q.head = (q.head + 1) % len(q.frames)
			q.n--
			if q.n > 0 {
				q.signal()
			}
			q.mu.Unlock()
			return f, nil
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return Frame{}, ctx.Err()
		case <-q.ready:
		}
	}
}

// signal must be called with mu held.
func (q *Queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Len returns how many frames wait, Dropped how many ever made room for others.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n
}

// Dropped returns how many frames were dropped since the queue was made.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}
