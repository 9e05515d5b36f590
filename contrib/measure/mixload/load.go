//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// What comes beside a part that is measured; no longer than that itself.
const (
	warmUp   = 3 * time.Second // the delays of a mix fill
	benching = 5 * time.Second // unwrapping alone, each time
)

// A flow is one part: packets sent at some rate, and what came back.
type flow struct {
	w     *world
	m     *packets
	conns []*wire.Conn
	start time.Time
	clock int64   // what the clock that all processes share said at start
	sent  []int64 // nanoseconds after start; 0 for those not sent
	next  atomic.Int64
	count atomic.Int64 // arrived

	mu       sync.Mutex // guards arrivals
	arrivals []arrival
}

func newFlow(w *world, m *packets, conns []*wire.Conn) *flow {
	return &flow{w: w, m: m, conns: conns, start: time.Now(), clock: clock(), sent: make([]int64, m.len()), arrivals: make([]arrival, 0, m.len())}
}

// note takes an arrival.
func (f *flow) note(sink int, packet []byte) {
	at := time.Since(f.start).Nanoseconds()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.arrivals = append(f.arrivals, arrival{at: at, sink: sink, header: [sphinx.HeaderSize]byte(packet)})
	f.count.Add(1) // last: who waits for the count looks at arrivals then
}

// flood sends as fast as the mix takes packets, on each link, until ctx ends or
// there are no more.
func (f *flow) flood(ctx context.Context) error {
	errs := make([]error, len(f.conns))
	var wg sync.WaitGroup
	for i, conn := range f.conns {
		wg.Go(func() {
			b := make([]byte, f.m.size)
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = f.send(conn, b, int(f.next.Add(1)-1))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

var errEmpty = errors.New("there are no more packets")

// send sends packet i. It makes it in b, which has the packet's size, so that this
// program has little garbage to collect while others wait for it.
func (f *flow) send(conn *wire.Conn, b []byte, i int) error {
	if i >= f.m.len() {
		return errEmpty
	}
	f.m.fill(b, i)
	f.sent[i] = time.Since(f.start).Nanoseconds()
	return conn.WriteFrame(wire.KindPacket, b)
}

// pour sends at the times of a Poisson process with that rate per second, on random
// links, until ctx ends or there are no more.
func (f *flow) pour(ctx context.Context, rate float64) error {
	b := make([]byte, f.m.size)
	due := time.Now()
	for {
		due = due.Add(time.Duration(mathrand.ExpFloat64() / rate * float64(time.Second)))
		if !sleepUntil(ctx, due) {
			return nil
		}
		if err := f.send(f.conns[mathrand.IntN(len(f.conns))], b, int(f.next.Add(1)-1)); err != nil {
			return err
		}
	}
}

// sleepUntil waits for t, or returns false when ctx ends.
func sleepUntil(ctx context.Context, t time.Time) bool {
	if wait := time.Until(t); wait > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return ctx.Err() == nil
}

// settle waits until all that was sent has arrived, or cannot any more.
func (f *flow) settle(ctx context.Context) {
	for end := time.Now().Add(f.w.doc.Parameters.MaxDelay() + time.Second); time.Now().Before(end); {
		if f.count.Load() == f.sentCount() || !sleepUntil(ctx, time.Now().Add(50*time.Millisecond)) {
			return
		}
	}
}

// sentCount returns how many were sent. No send may run.
func (f *flow) sentCount() int64 { return min(f.next.Load(), int64(f.m.len())) }

// errorsOf returns the delay errors of all that arrived, in order of size, those of
// them that no shadow was on when they came or were due, and how many that were sent
// did not arrive. It fails if something arrived twice or early.
func (f *flow) errorsOf(s shadow) (errs, calm []time.Duration, lost int, err error) {
	f.mu.Lock()
	arrivals := f.arrivals
	f.mu.Unlock()
	arrived := make([]int64, f.m.len())
	workers := runtime.NumCPU()
	failed := make([]error, workers)
	var twice atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for k := worker; k < len(arrivals); k += workers {
				a := &arrivals[k]
				i, err := f.w.sinks[a.sink].number(a.header[:])
				if err != nil || i >= len(arrived) {
					failed[worker] = errors.Join(err, errors.New("a packet arrived that was not sent"))
					return
				}
				if !atomic.CompareAndSwapInt64(&arrived[i], 0, a.at) {
					twice.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return nil, nil, 0, err
	}
	if n := twice.Load(); n > 0 {
		return nil, nil, 0, fmt.Errorf("%d packets arrived twice", n)
	}
	for i, sent := range f.sent[:f.sentCount()] {
		if arrived[i] == 0 {
			lost++
			continue
		}
		late := time.Duration(arrived[i]-sent) - f.m.delays[i]
		if late < 0 {
			return nil, nil, 0, fmt.Errorf("packet %d left %v before its time", i, -late)
		}
		errs = append(errs, late)
		if came := f.clock + sent; !s.on(came) && !s.on(came+int64(f.m.delays[i])) {
			calm = append(calm, late)
		}
	}
	slices.Sort(errs)
	slices.Sort(calm)
	return errs, calm, lost, nil
}

// quantile returns the q-th quantile of what is sorted.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
