package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/mail"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/internal/pause"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/progress"
)

// A result is what one world measured, or several.
type result struct {
	sent, lost, duplicated int
	times                  []time.Duration // of those that arrived, to their first copy
	first                  []time.Duration // likewise, of the first mail of each world, which is not in times
	reports                int             // of failure, to the sender
	blocks                 uint64          // sent by the sender, repetitions too
	frames, dropped        uint64          // packets at all hops
	queries, queriesLost   uint64          // of both clients
	err                    error
}

// delivered is how many arrived once.
func (r result) delivered() int { return r.sent - r.lost - r.duplicated }

// join adds results up.
func join(list []result) (sum result) {
	for _, r := range list {
		sum.sent += r.sent
		sum.lost += r.lost
		sum.duplicated += r.duplicated
		sum.times = append(sum.times, r.times...)
		sum.first = append(sum.first, r.first...)
		sum.reports += r.reports
		sum.blocks += r.blocks
		sum.frames += r.frames
		sum.dropped += r.dropped
		sum.queries += r.queries
		sum.queriesLost += r.queriesLost
		sum.err = errors.Join(sum.err, r.err)
	}
	return sum
}

// A world is one that mail is sent in.
type world struct {
	*demo.World
	blocks, reports atomic.Uint64

	mu      sync.Mutex             // guards all below
	answers map[string]time.Time   // of SMTP, by subject
	seen    map[string][]time.Time // EXISTS, by subject
	first   string                 // subject of the first mail
	broken  error                  // why no more arrivals are seen
}

func (w *world) observe(e progress.Event) {
	if e.Account != demo.Alice || e.Recipient != demo.Bob {
		return
	}
	switch e.Kind {
	case progress.Sent:
		w.blocks.Add(1)
	case progress.Failed:
		w.reports.Add(1)
	}
}

// measure runs one world, of which name is what it is called.
func measure(ctx context.Context, starting *sync.Mutex, p plan, loss float64, mails int, name string) (r result) {
	fail := func(err error) result {
		r.err = errors.Join(r.err, fmt.Errorf("%s: %w", name, err))
		return r
	}
	dir, err := os.MkdirTemp("", "mailproxy-loss-")
	if err != nil {
		return fail(err)
	}
	defer func() { r.err = errors.Join(r.err, os.RemoveAll(dir)) }()
	w := &world{answers: map[string]time.Time{}, seen: map[string][]time.Time{}}
	lossy := local.NewLoss(loss)
	params := directory.DefaultParameters().Scaled(p.scale)
	starting.Lock()
	w.World, err = demo.Start(demo.Config{
		Dir: dir, Parameters: params, Times: outbox.DefaultTimes().Scaled(p.scale), Receipts: true,
		Listen:  proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0"},
		Observe: w.observe, Tap: lossy.Tap,
	})
	starting.Unlock()
	if err != nil {
		return fail(err)
	}
	defer func() { r.err = errors.Join(r.err, w.Close()) }()
	registering, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	start := time.Now()
	if err := w.Register(registering, func(string, time.Duration) {}); err != nil {
		return fail(err)
	}
	fmt.Printf("%s: both accounts are registered after %.1f s\n", name, time.Since(start).Seconds())
	watch, err := w.Watch(w.Accounts[1])
	if err != nil {
		return fail(err)
	}
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { w.watch(watching, watch) })
	defer func() { stop(); watcher.Wait() }()
	if err := w.write(); err != nil {
		return fail(err)
	}
	if err := w.arrived(ctx, p.patience); err != nil {
		return fail(err)
	}
	for range mails - 1 {
		if pause.For(ctx, time.Duration(mathrand.ExpFloat64()*float64(p.pause()))) != nil {
			return fail(ctx.Err())
		}
		if err := w.write(); err != nil {
			return fail(err)
		}
	}
	if err := w.arrived(ctx, p.patience); err != nil {
		return fail(err)
	}
	// The longest that a read can still be out, which brings what comes late.
	if pause.For(ctx, 2*directory.Layers*params.MaxDelay()+params.ReplySlack()) != nil {
		return fail(ctx.Err())
	}
	w.count(&r)
	r.frames, r.dropped = lossy.Counts()
	for _, address := range []string{demo.Alice, demo.Bob} {
		s := w.Client(address).Status()
		r.queries += s.Queries + s.Reads + s.Loops + s.LoopsSent
		r.queriesLost += s.Lost + s.Interrupted
	}
	fmt.Printf("%s: %d mails of %d arrived, the first after %.1f s, the others after %.1f s in the median\n",
		name, len(r.first)+len(r.times), r.sent, quantile(r.first, 0.5), quantile(r.times, 0.5))
	return r
}

// write sends a mail from alice to bob.
func (w *world) write() error {
	subject := rand.Text()
	answered, err := w.SubmitTimed(w.Accounts[0], demo.Bob, []byte("From: "+demo.Alice+"\r\nTo: "+demo.Bob+
		"\r\nSubject: "+subject+"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nDear Bob,\r\n\r\ndoes this arrive?\r\n\r\nAlice\r\n"))
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == "" {
		w.first = subject
	}
	w.answers[subject] = answered
	return nil
}

// watch takes in arrivals until ctx ends.
func (w *world) watch(ctx context.Context, watch *demo.Watcher) {
	for {
		a, err := watch.Next(ctx)
		if ctx.Err() != nil {
			_ = watch.Close() // all that was to be seen has been
			return
		}
		var m *mail.Message
		if err == nil {
			m, err = mail.ReadMessage(bytes.NewReader(a.Raw))
		}
		w.mu.Lock()
		if err != nil {
			w.broken = err
			w.mu.Unlock()
			return
		}
		subject := m.Header.Get("Subject")
		w.seen[subject] = append(w.seen[subject], a.Seen)
		w.mu.Unlock()
	}
}

// arrived waits until all mail that was written has arrived and no append of it is
// to be repeated, or for as long as patience.
func (w *world) arrived(ctx context.Context, patience time.Duration) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		w.mu.Lock()
		missing := 0
		for subject := range w.answers {
			if len(w.seen[subject]) == 0 {
				missing++
			}
		}
		err := w.broken
		w.mu.Unlock()
		if err != nil {
			return err
		}
		if missing == 0 && w.Daemon.Status().Waiting == 0 {
			return nil
		}
		if pause.For(ctx, 100*time.Millisecond) != nil {
			return ctx.Err()
		}
	}
	return nil // what is missing is counted
}

// count counts what has become of the mails.
func (w *world) count(r *result) {
	r.blocks, r.reports = w.blocks.Load(), int(w.reports.Load())
	w.mu.Lock()
	defer w.mu.Unlock()
	r.err = errors.Join(r.err, w.broken)
	r.sent = len(w.answers)
	for subject, answered := range w.answers {
		seen := w.seen[subject]
		switch len(seen) {
		case 0:
			r.lost++
			continue
		case 1:
		default:
			r.duplicated++
		}
		if took := seen[0].Sub(answered); subject == w.first {
			r.first = append(r.first, took)
		} else {
			r.times = append(r.times, took)
		}
	}
	if strange := len(w.seen) - r.sent + r.lost; strange != 0 {
		r.err = errors.Join(r.err, fmt.Errorf("%d mails have arrived that were not sent", strange))
	}
}
