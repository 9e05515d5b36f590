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
	closed  bool
	ready   chan struct{} // holds a token while n > 0
}

// A Frame is a kind and a body that the queue owns.
type Frame struct {
	Kind byte
	Body []byte
	// Done, if not nil, is called once: with true by who has taken the frame from
	// the queue and written it to a connection, with false by the queue that drops
	// it. It must return at once.
	Done func(written bool)
}

// Tell calls Done, if there is one.
func (f Frame) Tell(written bool) {
	if f.Done != nil {
		f.Done(written)
	}
}

// NewQueue makes a queue of at most limit frames.
func NewQueue(limit int) *Queue {
	return &Queue{frames: make([]Frame, limit), ready: make(chan struct{}, 1)}
}

// Put adds f. Where there is no room the oldest frame is dropped for it.
func (q *Queue) Put(f Frame) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		f.Tell(false)
		return
	}
	var oldest Frame
	if q.n == len(q.frames) {
		oldest = q.take()
	}
	q.frames[(q.head+q.n)%len(q.frames)] = f
	q.n++
	q.signal()
	q.mu.Unlock()
	oldest.Tell(false)
}

// PutBack returns a frame that Get gave, and that could not be written, to where it
// was. In a full queue it is the oldest, and is dropped.
func (q *Queue) PutBack(f Frame) {
	q.mu.Lock()
	if q.closed || q.n == len(q.frames) {
		q.mu.Unlock()
		f.Tell(false)
		return
	}
	q.head = (q.head + len(q.frames) - 1) % len(q.frames)
	q.frames[q.head] = f
	q.n++
	q.signal()
	q.mu.Unlock()
}

// Close drops all frames, and those that come later.
func (q *Queue) Close() {
	q.mu.Lock()
	var left []Frame
	for q.n > 0 {
		left = append(left, q.take())
	}
	q.closed = true
	q.mu.Unlock()
	for _, f := range left {
		f.Tell(false)
	}
}

// take returns the oldest frame. It must be called with mu held and n > 0.
func (q *Queue) take() Frame {
	f := q.frames[q.head]
	q.frames[q.head] = Frame{}
	q.head = (q.head + 1) % len(q.frames)
	q.n--
	return f
}

// Get waits for a frame. Once ctx has ended it gives none, though there may be some.
func (q *Queue) Get(ctx context.Context) (Frame, error) {
	for {
		if ctx.Err() != nil {
			return Frame{}, ctx.Err()
		}
		q.mu.Lock()
		if q.n > 0 {
			f := q.take()
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

// Len returns how many frames wait.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n
}
