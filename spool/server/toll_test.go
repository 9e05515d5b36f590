package server

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/work"
)

var tollTime = time.Unix(1_772_366_400, 0)

func testPolicy(t *testing.T, change func(p *Policy)) *policy {
	t.Helper()
	p := Policy{Work: spool.Terms{Memory: 64, Time: 1, Bits: 4}, Raise: 3, Checks: Rate{PerSecond: 10, Burst: 10}}
	if change != nil {
		change(&p)
	}
	l, err := Limits{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	q, err := p.complete(l)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestTollRisesAndFalls(t *testing.T) {
	p := testPolicy(t, nil)
	toll := newToll(p, tollTime)
	now := tollTime
	// pass lets minutes pass, with that many good proofs in each.
	pass := func(minutes, good int) uint8 {
		for range minutes {
			toll.price(p, now)
			toll.good += good
			now = now.Add(time.Minute)
		}
		return toll.price(p, now).Bits
	}
	for i, step := range []struct {
		minutes, good int
		want          uint8
	}{
		{5, 300, 4},  // half of 600: not yet
		{1, 301, 5},  //
		{1, 301, 6},  //
		{9, 100, 6},  // neither busy nor calm
		{9, 74, 6},   // calm, not long enough
		{1, 74, 5},   //
		{9, 0, 5},    //
		{1, 76, 5},   // the calm is broken
		{9, 0, 5},    //
		{1, 0, 4},    //
		{60, 0, 4},   // never below the policy's
		{20, 600, 7}, // never above its Raise
	} {
		if got := pass(step.minutes, step.good); got != step.want {
			t.Fatalf("step %d: %d bits, want %d", i, got, step.want)
		}
	}
	// Half an hour in which nobody asked is as calm as one in which it was looked at.
	now = now.Add(31 * time.Minute)
	if got := toll.price(p, now).Bits; got != 4 {
		t.Fatalf("after half an hour: %d bits, want 4", got)
	}
	// A clock that goes back does not stop it.
	now = now.Add(-24 * time.Hour)
	if got := pass(1, 301); got != 5 {
		t.Fatalf("after the clock went back: %d bits, want 5", got)
	}
}

// A proof for the price of before is good for a while; one for another is not.
func TestTollTakesOldTerms(t *testing.T) {
	p := testPolicy(t, nil)
	toll := newToll(p, tollTime)
	claim := func(q *policy, terms spool.Terms, at time.Duration) bool {
		_, ok := toll.takes(q, terms, tollTime.Add(at))
		return ok
	}
	dear := testPolicy(t, func(p *Policy) { p.Work = spool.Terms{Memory: 128, Time: 1, Bits: 6} })
	if claim(p, dear.Work, 0) || !claim(p, p.Work, 0) {
		t.Fatal("terms that are not the policy's")
	}
	if !claim(dear, dear.Work, time.Second) || !claim(dear, p.Work, time.Second) || !claim(dear, p.Work, tollGrace) {
		t.Fatal("a proof of before the change is not taken")
	}
	cheaper := p.Work
	cheaper.Bits--
	if claim(dear, cheaper, time.Second) {
		t.Fatal("a proof for less than ever was asked is taken")
	}
	if claim(dear, p.Work, time.Second+tollGrace+1) {
		t.Fatal("a proof of long before the change is taken")
	}
	for i := range 100 { // a policy that changes all the time costs no memory
		q := testPolicy(t, func(p *Policy) { p.Work.Bits = uint8(1 + i%2) })
		claim(q, q.Work, 0)
	}
	if len(toll.old) > tollOld {
		t.Fatalf("%d old prices are kept", len(toll.old))
	}
}

// More proofs than can be checked are turned away at once, and cost nothing.
func TestTollBoundsChecks(t *testing.T) {
	p := testPolicy(t, nil)
	toll := newToll(p, tollTime)
	input := spool.AppendInput(spool.LaneStrangers, spool.ServiceID{}, spool.ID{}, spool.BlockID{1})
	proof, err := work.Solve(t.Context(), input, p.Work)
	if err != nil {
		t.Fatal(err)
	}
	always := func() bool { return true }
	check := func(token func() bool) spool.Status {
		return toll.check(context.Background(), p, input, proof, tollTime, token)
	}
	for range cap(toll.slots) {
		toll.slots <- struct{}{} // as if checks were being made
		toll.waiting.Add(1)
	}
	var wg sync.WaitGroup
	for range toll.most - int64(cap(toll.slots)) {
		wg.Go(func() {
			if got := check(always); got != spool.StatusOK {
				t.Errorf("a proof that waited: %v", got)
			}
		})
	}
	for toll.waiting.Load() < toll.most {
		time.Sleep(time.Millisecond)
	}
	if got := check(func() bool { t.Error("a token was taken"); return true }); got != spool.StatusBusy {
		t.Fatalf("one more: %v", got)
	}
	for range cap(toll.slots) {
		<-toll.slots
		toll.waiting.Add(-1)
	}
	wg.Wait()
	if got := check(func() bool { return false }); got != spool.StatusBusy {
		t.Fatalf("without a token: %v", got)
	}
	if toll.waiting.Load() != 0 || toll.good == 0 {
		t.Fatalf("%d are waiting, %d were good", toll.waiting.Load(), toll.good)
	}
	// What cannot be good is not looked at.
	for _, bad := range [][]byte{nil, {1}, proof[1:], append(proof[:17:17], p.Work.Bits-1)} {
		got := toll.check(context.Background(), p, input, bad, tollTime, func() bool { t.Errorf("%x cost a token", bad); return true })
		if got != spool.StatusWork {
			t.Errorf("%x: %v", bad, got)
		}
	}
	// A nonce that is not good enough.
	wrong := append([]byte(nil), proof...)
	for n := uint64(0); work.Check(input, wrong, p.Work); n++ {
		binary.BigEndian.PutUint64(wrong[1:], n)
	}
	if got := toll.check(context.Background(), p, input, wrong, tollTime, always); got != spool.StatusWork {
		t.Errorf("too little work: %v", got)
	}
}

func TestPolicyRefuses(t *testing.T) {
	l, err := Limits{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(p *Policy){
		"work":           func(p *Policy) { p.Work.Memory = 1 },
		"raise":          func(p *Policy) { p.Raise = 9 },
		"raise overflow": func(p *Policy) { p.Raise = 255 },
		"checks":         func(p *Policy) { p.Checks = Rate{Burst: 1} },
		"burst":          func(p *Policy) { p.Reads = Rate{PerSecond: 1} },
		"refill":         func(p *Policy) { p.Reads = Rate{PerSecond: 1e-9, Burst: 1} },
		"rate":           func(p *Policy) { p.Contacts.Rate.PerSecond = -1 },
		"quota":          func(p *Policy) { p.Open.Quota.Blocks = -1 },
		"age":            func(p *Policy) { p.MaxAge = -1 },
		"reserved":       func(p *Policy) { p.Reserved = []string{"Chief"} },
	} {
		p := DefaultPolicy()
		change(&p)
		if _, err := p.complete(l); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	p, err := DefaultPolicy().complete(l)
	if err != nil {
		t.Fatal(err)
	}
	if q := p.lanes[spool.LaneStrangers].Quota; q.Blocks != l.MaxBlocks/10 || q.Bytes != l.MaxBytes/10 || q.IDs != l.MaxBlocks/2 {
		t.Errorf("strangers' quota is %+v", q)
	}
	if q := p.lanes[spool.LaneContacts].Quota; q.Blocks != l.MaxBlocks {
		t.Errorf("contacts' quota is %+v", q)
	}
}
