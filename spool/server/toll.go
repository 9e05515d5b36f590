package server

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/work"
)

const (
	// tollGrace is for how long after the price has changed a proof of before is
	// taken: longer than a block is on its way, with its repetitions.
	tollGrace = 15 * time.Minute
	// tollWindow is how long strangers' blocks are counted before the price is
	// looked at, tollCalm how many windows of calm lower it by one bit.
	tollWindow = time.Minute
	tollCalm   = 10
	// tollOld bounds the prices of before that are taken.
	tollOld = 16
	// tollQueue is how many proofs wait for each that is being checked.
	tollQueue = 4
)

// A toll checks strangers' proofs of work and sets their price. It makes few
// checks at one time, and lets few wait: each takes memory and time that nobody has
// paid for if the proof is bad.
type toll struct {
	slots   chan struct{} // a token per check being made
	waiting atomic.Int64  // checks being made or waiting to be
	most    int64         // of waiting

	mu     sync.Mutex  // guards all below
	base   spool.Terms // the policy's
	raised uint8       // bits added to it
	old    []oldTerms  // in the order in which they end
	window time.Time   // when the one began that is being counted
	good   int         // proofs in it
	calm   int         // windows of calm
}

type oldTerms struct {
	terms spool.Terms
	until time.Time
}

func newToll(p *policy, now time.Time) *toll {
	n := max(runtime.GOMAXPROCS(0)/2, 1)
	return &toll{slots: make(chan struct{}, n), most: int64(n * (1 + tollQueue)), base: p.Work, window: now}
}

// price returns the terms of now.
func (t *toll) price(p *policy, now time.Time) spool.Terms {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(p, now)
	return t.terms()
}

func (t *toll) terms() spool.Terms {
	terms := t.base
	terms.Bits += t.raised
	return terms
}

// turn does what time and a new policy bring. It needs t.mu.
func (t *toll) turn(p *policy, now time.Time) {
	if t.base != p.Work {
		t.keepOld(now)
		t.base, t.raised = p.Work, min(t.raised, p.Raise)
	}
	if t.raised > p.Raise {
		t.keepOld(now)
		t.raised = p.Raise
	}
	for len(t.old) > 0 && now.After(t.old[0].until) {
		t.old = t.old[1:]
	}
	passed := now.Sub(t.window)
	if passed >= 0 && passed < tollWindow {
		return
	}
	allowed := p.Checks.PerSecond * tollWindow.Seconds()
	busy, calm := float64(t.good) > allowed/2, float64(t.good) < allowed/8
	t.window, t.good = now, 0
	switch {
	case busy && t.raised < p.Raise:
		t.keepOld(now)
		t.raised++
		t.calm = 0
	case calm:
		// Windows in which nobody asked were calm as well.
		t.calm += max(int(passed/tollWindow), 1)
		if down := min(t.calm/tollCalm, int(t.raised)); down > 0 {
			t.keepOld(now)
			t.raised -= uint8(down)
			t.calm = 0
		}
	default:
		t.calm = 0
	}
}

// keepOld lets proofs for the terms of now be taken for a while.
func (t *toll) keepOld(now time.Time) {
	terms := t.terms()
	t.old = slices.DeleteFunc(t.old, func(o oldTerms) bool { return o.terms == terms })
	if len(t.old) == tollOld {
		t.old = t.old[1:]
	}
	t.old = append(t.old, oldTerms{terms, now.Add(tollGrace)})
}

// takes returns the terms by which a proof can be taken: those of now, or of
// before.
func (t *toll) takes(p *policy, claimed spool.Terms, now time.Time) (spool.Terms, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(p, now)
	match := func(terms spool.Terms) bool {
		return claimed.Memory == terms.Memory && claimed.Time == terms.Time && claimed.Bits >= terms.Bits
	}
	if terms := t.terms(); match(terms) {
		return terms, true
	}
	for _, o := range t.old {
		if match(o.terms) {
			return o.terms, true
		}
	}
	return spool.Terms{}, false
}

// check looks at a proof: StatusOK, StatusWork, or StatusBusy where it did not
// look. token is asked for the right to, after all that costs nothing.
func (t *toll) check(ctx context.Context, p *policy, input [32]byte, proof []byte, now time.Time, token func() bool) spool.Status {
	claimed, ok := work.Claimed(proof)
	if !ok {
		return spool.StatusWork
	}
	terms, ok := t.takes(p, claimed, now)
	if !ok {
		return spool.StatusWork
	}
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > t.most || !token() {
		return spool.StatusBusy
	}
	select {
	case t.slots <- struct{}{}:
	case <-ctx.Done():
		return spool.StatusBusy
	}
	defer func() { <-t.slots }()
	if !work.Check(input, proof, terms) {
		return spool.StatusWork
	}
	t.mu.Lock()
	t.good++
	t.mu.Unlock()
	return spool.StatusOK
}
