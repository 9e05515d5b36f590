//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"mailproxy/mixnet/wire"
)

// cores is how many cores the mix and this program have together.
const cores = 2

// startIn is how long after the beginning of an epoch the mix's clock is when it
// starts: the key before is still accepted, as long as the memory's part takes.
const startIn = 10 * time.Second

// A most is what the mix forwards when more comes than it takes.
type most struct {
	arrived int64
	took    time.Duration
	lost    int
	before  report
	after   report
}

func (m *most) perSecond() float64 { return float64(m.arrived) / m.took.Seconds() }

// links are those into and out of the mix.
type links struct {
	conns []*wire.Conn

	cancel context.CancelFunc
	wg     sync.WaitGroup
	errs   []error

	mu   sync.Mutex // guards flow
	flow *flow      // takes what arrives
}

func (l *links) note(sink int, packet []byte) {
	l.mu.Lock()
	f := l.flow
	l.mu.Unlock()
	f.note(sink, packet)
}

func (l *links) use(f *flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flow = f
}

// connect opens all links of the mix.
func (w *world) connect(ctx context.Context) (*links, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &links{cancel: cancel, errs: make([]error, len(w.sinks))}
	for i := range w.sinks {
		l.wg.Go(func() { l.errs[i] = w.receive(ctx, i, l.note) })
	}
	var err error
	if l.conns, err = w.dial(ctx); err != nil {
		for _, s := range w.sinks {
			err = errors.Join(err, s.listener.Close()) // frees those that wait for the mix
		}
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *links) close() error {
	l.cancel()
	for _, c := range l.conns {
		_ = c.Close() // they are done with
	}
	l.wg.Wait()
	return errors.Join(l.errs...)
}

func measureLoad(ctx context.Context, w *world, o options) (err error) {
	m, err := w.startMix(o.core, w.doc.Parameters.EpochStart(w.epoch).Add(startIn))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	alone := min(benching, o.length)
	fmt.Printf("the mix is process %d on core %d; unwrapping alone for %v\n", m.PID(), o.core, alone)
	first, err := m.ask(request{Unwrap: alone})
	if err != nil {
		return err
	}
	rate := float64(first.Unwrapped) / first.Took.Seconds()
	l, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()

	top, err := measureMost(ctx, w, m, l, o, rate)
	if err != nil {
		return err
	}
	second, err := m.ask(request{Unwrap: alone})
	if err != nil {
		return err
	}
	unwrap := float64(first.Unwrapped+second.Unwrapped) / (first.Took + second.Took).Seconds()

	at := o.share * top.perSecond()
	watcher, unwatched := startWatch(cores)
	f, after, err := measureErrors(ctx, w, m, l, o, at)
	var stalls []stall
	if unwatched == nil {
		var stopped error
		stalls, stopped = watcher.stop()
		err = errors.Join(err, stopped)
	}
	if err != nil {
		return err
	}
	late, calm, lost, err := f.errorsOf(shadowOf(stalls, o.share))
	if err != nil {
		return err
	}
	if o.profile != "" {
		if err := printProfile(os.Stdout, o.profile); err != nil {
			return err
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\n\tpackets\tper second\tlost\tµs of the core\tcollections\t")
	row := func(what string, n int64, perSecond float64, lost int, before, after report) {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%d\t%.1f\t%d\t\n", what, n, perSecond, lost,
			float64((after.Processor-before.Processor).Microseconds())/float64(after.Forwarded-before.Forwarded), after.Collections-before.Collections)
	}
	fmt.Fprintf(t, "unwrapping alone, before\t%d\t%.0f\t\t%.1f\t\t\n", first.Unwrapped, rate, 1e6/rate)
	row("at its most", top.arrived, top.perSecond(), top.lost, top.before, top.after)
	again := float64(second.Unwrapped) / second.Took.Seconds()
	fmt.Fprintf(t, "unwrapping alone, after\t%d\t%.0f\t\t%.1f\t\t\n", second.Unwrapped, again, 1e6/again)
	row(fmt.Sprintf("at %.0f %%", 100*o.share), int64(len(late)), float64(f.sentCount())/o.length.Seconds(), lost, second, after)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Printf("\nat %.0f per second, delay errors: median %s, 90 %% %s, 99 %% %s, 99.9 %% %s, most %s\n", at,
		ms(quantile(late, 0.5)), ms(quantile(late, 0.9)), ms(quantile(late, 0.99)), ms(quantile(late, 0.999)), ms(quantile(late, 1)))
	if unwatched != nil {
		calm = nil
		fmt.Printf("whether the cores were away is not known: %v\n", unwatched)
	} else {
		var away time.Duration
		for _, s := range stalls {
			away += time.Duration(s.end - s.start)
		}
		fmt.Printf("the cores were away %d times, %.1f s in all of %.0f s; of the %.0f %% of packets without that: median %s, 90 %% %s, 99 %% %s, 99.9 %% %s, most %s\n",
			len(stalls), away.Seconds(), cores*o.length.Seconds(), percent(len(calm), len(late)),
			ms(quantile(calm, 0.5)), ms(quantile(calm, 0.9)), ms(quantile(calm, 0.99)), ms(quantile(calm, 0.999)), ms(quantile(calm, 1)))
	}
	fmt.Printf("the mix received %d packets, forwarded %d and dropped %d to make room; it keeps %d replay tags; by itself it was %s late at most\n\n",
		after.Received, after.Forwarded, after.Dropped, after.Tags, ms(after.Latest))
	fmt.Printf("max_per_s=%.0f unwrap_per_s=%.0f ratio=%.3f p99_delay_error_ms=%.2f dropped=%d calm_percent=%.0f p99_calm_ms=%.2f\n",
		top.perSecond(), unwrap, top.perSecond()/unwrap, quantile(late, 0.99).Seconds()*1e3, top.lost+lost,
		percent(len(calm), len(late)), quantile(calm, 0.99).Seconds()*1e3)
	return nil
}

// percent returns n as a share of all, 0 of none.
func percent(n, all int) float64 { return 100 * float64(n) / float64(max(all, 1)) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1e3) }

// measureMost sends as much as the mix takes. No more than rate per second will do.
func measureMost(ctx context.Context, w *world, m *mix, l *links, o options, rate float64) (r most, err error) {
	filling := min(warmUp, o.length)
	n := int(rate * 1.2 * (o.length + filling + time.Second).Seconds())
	fmt.Printf("making %d packets\n", n)
	packets, err := w.makePackets(n)
	if err != nil {
		return r, err
	}
	if err := pin(1 - o.core); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, pin(-1)) }()
	f := newFlow(w, packets, l.conns)
	l.use(f)
	fmt.Printf("the mix at its most for %v\n", o.length)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- f.flood(sending) }()
	// wait waits for d, or returns false when sending has ended before, or ctx.
	var failed error
	running := true
	wait := func(d time.Duration) bool {
		select {
		case failed = <-done:
			running = false
		case <-ctx.Done():
			failed = ctx.Err()
		case <-time.After(d):
			return true
		}
		return false
	}
	if wait(filling) {
		r.before, err = m.ask(request{Profile: o.profile})
		start, already := time.Now(), f.count.Load()
		if err == nil && !wait(o.length) && errors.Is(failed, errEmpty) && time.Since(start) > o.length/2 {
			fmt.Printf("the mix is faster now than when it unwrapped alone: packets were used up after %v\n", time.Since(start).Round(time.Millisecond))
			failed = nil
		}
		r.took, r.arrived = time.Since(start), f.count.Load()-already
		if err == nil {
			r.after, err = m.ask(request{End: true})
		}
	}
	stop()
	if running {
		failed = errors.Join(failed, <-done)
	}
	if err := errors.Join(err, failed); err != nil {
		return r, err
	}
	f.settle(ctx)
	r.lost = int(f.sentCount() - f.count.Load())
	return r, ctx.Err()
}

// measureErrors sends rate packets per second.
func measureErrors(ctx context.Context, w *world, m *mix, l *links, o options, rate float64) (f *flow, after report, err error) {
	n := int(rate*1.02*o.length.Seconds()) + 1000
	fmt.Printf("making %d packets\n", n)
	packets, err := w.makePackets(n)
	if err != nil {
		return nil, after, err
	}
	if err := pin(1 - o.core); err != nil {
		return nil, after, err
	}
	defer func() { err = errors.Join(err, pin(-1)) }()
	f = newFlow(w, packets, l.conns)
	l.use(f)
	fmt.Printf("%.0f packets a second for %v\n", rate, o.length)
	sending, stop := context.WithTimeout(ctx, o.length)
	defer stop()
	if err := f.pour(sending, rate); err != nil {
		return nil, after, err
	}
	f.settle(ctx)
	after, err = m.ask(request{})
	return f, after, errors.Join(err, ctx.Err())
}
