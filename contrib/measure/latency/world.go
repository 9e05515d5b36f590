package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"sync"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

// patience is longer than registration or a mail takes, but for a fault.
const patience = 3 * time.Minute

// longestPause bounds the random pause before a mail is sent, so that nothing that
// the arrival of the one before did is still under way.
const longestPause = 2 * time.Second

// A mail is one that has arrived.
type mail struct {
	demo.Breakdown
	first  bool
	total  time.Duration // by our own clock
	missed int           // slots
}

// tolerance is how much clocks may differ that are read one after the other, and
// how much longer the 250 may be under way than the daemon's note of it.
const tolerance = 20 * time.Millisecond

// check returns an error if the parts do not add up.
func (m *mail) check() error {
	if d := (m.Breakdown.Total - m.total).Abs(); d > tolerance {
		return fmt.Errorf("the daemon's events say that a mail took %v, it was %v", m.Breakdown.Total, m.total)
	}
	if r := m.Rest().Abs(); r > time.Millisecond {
		return fmt.Errorf("a breakdown does not add up: %v are not explained", r)
	}
	for what, part := range map[string]time.Duration{
		"slots": m.Slots, "delays": m.Delays, "sealing": m.Sealing, "carrying": m.Carrying, "storing": m.Storing, "showing": m.Showing,
	} {
		if part < -tolerance {
			return fmt.Errorf("a breakdown is wrong: %v for %s", part, what)
		}
	}
	return nil
}

// A recorder keeps the slots of both clients.
type recorder struct {
	mu    sync.Mutex // guards slots
	slots map[string][]builtin.Slot
}

func (r *recorder) observe(account string, s builtin.Slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[account] = append(r.slots[account], s)
}

// count counts the slots of an account's process that f accepts.
func (r *recorder) count(account string, p builtin.Process, f func(builtin.Slot) bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots[account] {
		if s.Process == p && f(s) {
			n++
		}
	}
	return n
}

// measure runs one world: a first mail, which is answered, then some to the contact
// that is known.
func measure(ctx context.Context, starting *sync.Mutex, known int) (r result) {
	dir, err := os.MkdirTemp("", "mailproxy-latency-")
	if err != nil {
		r.err = err
		return r
	}
	defer func() { r.err = errors.Join(r.err, os.RemoveAll(dir)) }()
	log := &demo.Log{}
	slots := &recorder{slots: map[string][]builtin.Slot{}}
	starting.Lock()
	start := time.Now()
	w, err := demo.Start(demo.Config{
		Dir: dir, Parameters: directory.DefaultParameters(), Receipts: true,
		Listen:  proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0"},
		Observe: log.Observe, Slots: slots.observe,
	})
	r.listeners = time.Since(start)
	starting.Unlock()
	if err != nil {
		r.err = err
		return r
	}
	defer func() { r.err = errors.Join(r.err, w.Close()) }()
	registering, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if r.err = w.Register(registering, func(string, time.Duration) {}); r.err != nil {
		return r
	}
	r.registered = time.Since(start)
	watch, err := w.Watch(w.Accounts[1])
	if err != nil {
		r.err = err
		return r
	}
	defer func() { r.err = errors.Join(r.err, watch.Close()) }()
	for i := range known + 1 {
		m, err := send(ctx, w, watch, log, slots)
		if err != nil {
			r.err = fmt.Errorf("mail %d: %w", i+1, err)
			return r
		}
		if m.first != (i == 0) {
			r.err = fmt.Errorf("mail %d: keys looked up: %t, and only for the first they should be", i+1, m.first)
			return r
		}
		r.mails = append(r.mails, m)
		if i == 0 && known > 0 {
			if err := answer(ctx, w, log); err != nil {
				r.err = fmt.Errorf("answer: %w", err)
				return r
			}
		}
	}
	return r
}

// answer sends a mail from bob to alice, and returns when she has it: from then on
// she is a contact of his, and pays for no mail to him.
func answer(ctx context.Context, w *demo.World, log *demo.Log) error {
	err := w.Submit(w.Accounts[1], demo.Alice, []byte("From: "+demo.Bob+"\r\nTo: "+demo.Alice+
		"\r\nSubject: Re: latency\r\n\r\nDear Alice,\r\n\r\nnot long.\r\n\r\nBob\r\n"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		for _, j := range log.Journeys() {
			if j.Account == demo.Bob && !j.Submitted.IsZero() && !j.Delivered.IsZero() {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// send sends one mail from alice to bob, and returns when it has arrived.
func send(ctx context.Context, w *demo.World, watch *demo.Watcher, log *demo.Log, slots *recorder) (mail, error) {
	select {
	case <-ctx.Done():
		return mail{}, ctx.Err()
	case <-time.After(mathrand.N(longestPause)):
	}
	subject := "latency " + rand.Text()
	answered, err := w.SubmitTimed(w.Accounts[0], demo.Bob, []byte("From: "+demo.Alice+"\r\nTo: "+demo.Bob+
		"\r\nSubject: "+subject+"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nDear Bob,\r\n\r\nhow long did this take?\r\n\r\nAlice\r\n"))
	if err != nil {
		return mail{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	arrived, err := watch.Next(waiting)
	if err != nil {
		return mail{}, err
	}
	if !bytes.Contains(arrived.Raw, []byte("\r\nSubject: "+subject+"\r\n")) {
		return mail{}, errors.New("another mail has arrived than the one that was sent")
	}
	var journey demo.Journey
	for _, j := range log.Journeys() {
		if j.Account == demo.Alice && !j.Submitted.IsZero() {
			journey = j // the last
		}
	}
	journey.Visible = arrived.Seen
	b, ok := journey.Breakdown()
	if !ok {
		return mail{}, errors.New("the daemon did not tell of all steps of the mail")
	}
	return mail{Breakdown: b, first: journey.LookUp != nil, total: arrived.Seen.Sub(answered), missed: missed(slots, &journey)}, nil
}

// missed counts the slots that might have served a mail and did not.
func missed(slots *recorder, j *demo.Journey) int {
	sent, read := j.Sent[0], j.Read[0]
	n := slots.count(demo.Alice, builtin.QueryProcess, func(s builtin.Slot) bool {
		waited := func(asked, sent time.Time) bool {
			return s.Timing.Sent.After(asked.Add(builtin.Lead)) && s.Timing.Sent.Before(sent)
		}
		return waited(sent.Asked, sent.Sent) || j.LookUp != nil && waited(j.LookUp.Asked, j.LookUp.Sent)
	})
	return n + slots.count(demo.Bob, builtin.ReadProcess, func(s builtin.Slot) bool {
		there := s.Timing.Sent.Add(s.Timing.Up)
		// One that comes to the spool earlier may be back later.
		return there.After(sent.Sent.Add(sent.Up)) && there.Add(s.Timing.Down).Before(read.Sent.Add(read.Up+read.Down))
	})
}
