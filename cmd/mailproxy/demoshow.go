package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/proxy/progress"
)

// A show prints what becomes of mail.
type show struct {
	start time.Time

	mu        sync.Mutex // guards all below
	file      string     // that is being submitted, if any
	expected  int
	delivered map[string]bool // by outbox id
	failed    map[string]bool
	changed   chan struct{} // holds a token after each change
}

func (s *show) since() float64 { return time.Since(s.start).Seconds() }

func (s *show) expect(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected += n
}

func (s *show) submitting(file string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file = file
}

// worked says how long a mail to a new recipient was paid for, if it was.
func worked(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf(" computing time for a new recipient %.2f s,", d.Seconds())
}

// event prints a step of a mail to bob; receipts and reports are not shown.
func (s *show) event(e progress.Event, j demo.Journey) {
	if j.Recipient != demo.Bob || j.Account != demo.Alice || j.Submitted.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	say := func(format string, a ...any) {
		fmt.Printf("%6.1f s  %s  %s\n", e.At.Sub(s.start).Seconds(), j.Outbox[len(j.Outbox)-6:], fmt.Sprintf(format, a...))
	}
	switch e.Kind {
	case progress.Submitted:
		if s.file == "" {
			say("accepted by SMTP, and on disk")
		} else {
			say("%s: accepted by SMTP, and on disk", s.file)
		}
	case progress.LookedUp:
		say("bob's keys are known, from %s", demo.Providers[1])
	case progress.Sealed:
		say("sealed into %d block%s of 8 KiB", e.Count, plural(e.Count))
	case progress.Sent:
		if e.Count <= 8 || e.Index%16 == 15 || e.Index == e.Count-1 {
			say("block %d of %d left at a slot", e.Index+1, e.Count)
		}
	case progress.Paid:
		if e.Count == 1 {
			say("bob has not written to alice: paid with computing time")
		} else if e.Index%16 == 15 || e.Index == e.Count-1 {
			say("bob has not written to alice: paying with computing time, %d of %d blocks", e.Index+1, e.Count)
		}
	case progress.InSpool:
		say("in bob's spool at %s", demo.Providers[1])
	case progress.Delivered:
		say("in bob's INBOX, %.1f s after SMTP took it", j.Delivered.Sub(j.Submitted).Seconds())
		if b, ok := j.Breakdown(); ok {
			say("  waits for slots %.2f s, delays drawn for the mixes %.2f s,%s our own overhead %.3f s",
				b.Slots.Seconds(), b.Delays.Seconds(), worked(b.Work), b.Overhead.Seconds())
		}
		s.delivered[j.Outbox] = true
		s.tick()
	case progress.Confirmed:
		say("confirmed by bob's receipt")
	case progress.Failed:
		say("failed; a report is in alice's INBOX")
		s.failed[j.Outbox] = true
		s.tick()
	}
}

func plural[N int | uint32](n N) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func (s *show) tick() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// wait waits until all expected mail has been delivered.
func (s *show) wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		delivered, failed, expected := len(s.delivered), len(s.failed), s.expected
		s.mu.Unlock()
		switch {
		case failed > 0:
			return fmt.Errorf("%d messages could not be delivered; alice's INBOX has the reports", failed)
		case delivered >= expected:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped with %d of %d messages delivered", delivered, expected)
		case <-s.changed:
		}
	}
}
