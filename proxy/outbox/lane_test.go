package outbox

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/report"
	"mailproxy/spool"
	"mailproxy/spool/work"
)

// cheap is what a block costs in these tests: some milliseconds.
var cheap = spool.Terms{Memory: 64, Time: 1, Bits: 4}

func TestStrangersPay(t *testing.T) {
	p := newLanePath(t, contacts.Lane{Terms: cheap})
	p.gate.terms = cheap
	p.start(true)
	p.submit(6)
	p.inSpool(1)
	p.want(0, 0, 6, 0)
	if n := p.count(progress.Paid); n != 6 {
		t.Errorf("%d blocks paid", n)
	}
}

func TestStrangersPayNothingWhereTheLaneIsOpen(t *testing.T) {
	p := newLanePath(t, contacts.Lane{})
	p.start(true)
	p.submit(3)
	p.inSpool(1)
	p.want(3, 0, 0, 0)
}

// TestTermsThatWereNotKnown: the open lane is tried, and its refusal tells.
func TestTermsThatWereNotKnown(t *testing.T) {
	p := newLanePath(t, contacts.Lane{})
	p.gate.terms = cheap
	p.start(true)
	p.submit(1)
	p.inSpool(1)
	p.want(0, 0, 1, 1)
	p.submit(1) // by now they are
	p.inSpool(2)
	p.want(0, 0, 2, 1)
}

func TestRaisedTerms(t *testing.T) {
	p := newLanePath(t, contacts.Lane{Terms: cheap})
	dearer := cheap
	dearer.Bits += 2
	p.gate.terms = dearer
	p.start(true)
	p.submit(1)
	p.inSpool(1)
	p.want(0, 0, 1, 1)
}

// TestAppendKeys: a contact pays nothing; one whose key was changed pays until the
// next key comes.
func TestAppendKeys(t *testing.T) {
	keyOf := func(n byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	}
	p := newLanePath(t, contacts.Lane{Key: keyOf(1), Version: 1, Terms: cheap})
	p.gate.terms, p.gate.key = cheap, keyOf(1).Public().(ed25519.PublicKey)
	p.start(true)
	p.submit(2)
	p.inSpool(1)
	p.want(0, 2, 0, 0)

	p.gate.mu.Lock()
	p.gate.key = keyOf(2).Public().(ed25519.PublicKey)
	p.gate.mu.Unlock()
	p.submit(1)
	p.inSpool(2)
	p.want(0, 2, 1, 1)

	// A key that comes while work is under way makes it needless.
	p.stop()
	p.start(false)
	p.submit(3)
	p.wait("something to pay", func() bool { return len(p.outbox.Payments()) == 1 })
	if pay := p.outbox.Payments()[0]; pay != (Payment{Account: me, Recipient: me, Paid: 0, Blocks: 3}) {
		t.Errorf("payments are %+v", pay)
	}
	p.account.mu.Lock()
	p.account.lane.Key, p.account.lane.Version = keyOf(2), 2
	p.account.mu.Unlock()
	p.outbox.LaneChanged(me, me)
	p.inSpool(3)
	p.want(0, 5, 1, 1)
	if pay := p.outbox.Payments(); len(pay) != 0 {
		t.Errorf("payments are %+v", pay)
	}
}

// TestWorkIsKept stops between work and slots: the work is found again.
func TestWorkIsKept(t *testing.T) {
	p := newLanePath(t, contacts.Lane{Terms: cheap})
	p.gate.terms = cheap
	p.start(false)
	p.submit(3)
	p.wait("sealed", func() bool { return len(p.outbox.Payments()) == 1 })
	o := p.outbox
	o.mu.Lock()
	b := o.bill(t.Context())
	o.mu.Unlock()
	if b == nil {
		t.Fatal("there is nothing to pay")
	}
	b.part.stopWork()
	b.part.stopWork = nil
	b.ctx = t.Context()
	if err := o.pay(b); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p.start(false)
	p.wait("the first block", func() bool { by, _ := p.gate.lanes(); return by[spool.LaneStrangers] == 1 })
	if pay := p.outbox.Payments(); len(pay) != 1 || pay[0].Paid != 1 {
		t.Errorf("payments are %+v", pay)
	}
	p.stop()
	p.start(true)
	p.inSpool(1)
	p.want(0, 0, 3, 0)
	err := p.store.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: prefix(kindWork)}, func(i store.Item) error {
			return fmt.Errorf("work is left: %x", i.Key)
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// TestWorkEndsWithTheDaemon: what would take a minute keeps nobody from stopping.
func TestWorkEndsWithTheDaemon(t *testing.T) {
	long := spool.Terms{Memory: 8, Time: 1, Bits: 23}
	p := newLanePath(t, contacts.Lane{Terms: long})
	p.gate.terms = long
	p.start(true)
	p.submit(1)
	p.wait("work", func() bool {
		p.outbox.mu.Lock()
		defer p.outbox.mu.Unlock()
		return p.outbox.turn[0].parts != nil && p.outbox.turn[0].parts[0].stopWork != nil
	})
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// TestDearTerms: a service that asks for too much is asked again later, and the
// sender is told why their mail is late.
func TestDearTerms(t *testing.T) {
	p := newLanePath(t, contacts.Lane{Terms: spool.Terms{Memory: 64 << 10, Time: 16, Bits: 24}})
	p.gate.terms = p.account.lane.Terms
	p.start(true)
	p.submit(1)
	p.wait("a second try", func() bool { _, asked := p.gate.lanes(); return len(asked) >= 2 })
	if by, _ := p.gate.lanes(); by != [3]int{} {
		t.Errorf("blocks by lane %v", by)
	}
	p.outbox.mu.Lock()
	err := p.outbox.turn[0].parts[0].refusal
	p.outbox.mu.Unlock()
	if !errors.Is(err, work.ErrDear) || delayedFor(err) != report.DelayedTooDear || failedFor(err) != report.TooDear {
		t.Errorf("the mail waits for %v", err)
	}
	p.gate.mu.Lock()
	p.gate.terms = cheap
	p.gate.mu.Unlock()
	p.inSpool(1)
}

// TestServiceThatIsNeverContent raises its price with each block that is paid for:
// after a while it is asked as seldom as any other that refuses.
func TestServiceThatIsNeverContent(t *testing.T) {
	p := newLanePath(t, contacts.Lane{Terms: cheap})
	p.gate.terms = spool.Terms{Memory: 128, Time: 1, Bits: 4} // any other
	p.start(true)
	p.submit(1)
	p.inSpool(1)
	part := &part{lane: &contacts.Lane{Terms: cheap}, paid: map[uint32]spool.Terms{}}
	o := p.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range laneChanges + 1 {
		next := cheap
		next.Bits += uint8(i + 1)
		tried := *part.lane
		o.laneRefused(part, tried, next, spool.StatusWork)
		if put := !part.notBefore.IsZero(); put != (i >= laneChanges) {
			t.Errorf("after %d changes it is put off: %v", i+1, put)
		}
		o.laneRefused(part, tried, next, spool.StatusWork) // the next block in flight
	}
	if part.changes != laneChanges+1 {
		t.Errorf("%d changes counted", part.changes)
	}
}
