package outbox

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/report"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/work"
)

// cheap is what a block costs in these tests: some milliseconds.
var cheap = spool.Terms{Memory: 64, Time: 1, Bits: 4}

// gate is a network whose one spool takes blocks by the lanes that it has open.
type gate struct {
	mixclient.Network

	mu    sync.Mutex // guards all below
	key   ed25519.PublicKey
	terms spool.Terms
	asked []spool.Status // what each append was answered
	lose  int            // how many of the next answers get lost on their way
	taken map[spool.BlockID]spool.Lane
}

func (g *gate) Services(context.Context, string) ([]mixclient.Service, error) {
	return []mixclient.Service{spoolService}, nil
}

func (g *gate) Status() mixclient.Status { return mixclient.Status{RoundTrip: time.Millisecond} }

func (g *gate) Query(ctx context.Context, to mixclient.Service, request []byte) ([]byte, error) {
	r, _, status := spool.DecodeRequest(request)
	if status != spool.StatusOK {
		return nil, status
	}
	trace := mixclient.ContextTrace(ctx)
	trace.Taken()
	trace.Sent(mixclient.Timing{})
	a := r.(*spool.Append)
	g.mu.Lock()
	defer g.mu.Unlock()
	status = g.judge(spool.ServiceOf(to.Provider), a)
	g.asked = append(g.asked, status)
	if g.lose > 0 {
		g.lose--
		return nil, mixclient.ErrLost
	}
	trace.Done(mixclient.Timing{})
	if status.Success() {
		return spool.EncodeReply(status, spool.Empty{})
	}
	return spool.EncodeRefused(spool.Refused{Status: status, Time: time.Now(), Terms: &g.terms})
}

func (g *gate) judge(service spool.ServiceID, a *spool.Append) spool.Status {
	id := spool.BlockIDOf(a.Block)
	lane := spool.LaneOpen
	if a.Lane != nil {
		lane = a.Lane.Lane
	}
	switch lane {
	case spool.LaneOpen:
		if g.terms != (spool.Terms{}) {
			return spool.StatusLane
		}
	case spool.LaneContacts:
		if !spool.VerifyContact(g.key, service, a.Spool, id, a.Lane.Proof) {
			return spool.StatusAppendKey
		}
	case spool.LaneStrangers:
		if !work.Check(spool.AppendInput(lane, service, a.Spool, id), a.Lane.Proof, g.terms) {
			return spool.StatusWork
		}
	}
	g.taken[id] = lane
	return spool.StatusOK
}

// lanes returns how many blocks came by each lane, and all answers.
func (g *gate) lanes() (by [3]int, asked []spool.Status) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.taken {
		by[l]++
	}
	return by, slices.Clone(g.asked)
}

// stranger is an account that keeps in memory how to append to itself.
type stranger struct {
	self
	mu   *sync.Mutex // guards lane
	lane *contacts.Lane
}

func (s stranger) Lane(string) (contacts.Lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.lane, nil
}

func (s stranger) LaneRefused(_ string, tried contacts.Lane, terms spool.Terms) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tried.Key != nil {
		s.lane.Key = nil
	}
	s.lane.Terms = terms
	return nil
}

// A lanePath is an outbox before a gate.
type lanePath struct {
	t       *testing.T
	gate    *gate
	account stranger
	as      Account // in the place of account, unless nil
	store   *store.Store
	mail    *mailbox.Store
	outbox  *Outbox
	stop    func()

	mu     sync.Mutex // guards events
	events []progress.Event
}

const me = "me@north.test"

func newLanePath(t *testing.T, lane contacts.Lane) *lanePath {
	t.Helper()
	p := &lanePath{t: t, gate: &gate{taken: map[spool.BlockID]spool.Lane{}}}
	var err error
	if p.store, err = store.Open(store.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if p.mail, err = mailbox.Open(p.store, mailbox.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.mail.CreateAccount(me); err != nil {
		t.Fatal(err)
	}
	if err := keys.CreateIn(p.store, me, time.Now()); err != nil {
		t.Fatal(err)
	}
	k, err := keys.Load(p.store, me, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	p.account = stranger{self{keys: k, network: p.gate}, new(sync.Mutex), &lane}
	t.Cleanup(func() {
		p.stop()
		if err := p.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// start opens the outbox and runs it, with or without the worker.
func (p *lanePath) start(working bool) {
	p.t.Helper()
	times := DefaultTimes()
	times.RetryFirst, times.RetryMost = 20*time.Millisecond, 20*time.Millisecond
	var err error
	p.outbox, err = Open(Config{
		Store: p.store, Mailbox: p.mail, Times: times,
		Account: func(string) (Account, bool) {
			if p.as != nil {
				return p.as, true
			}
			return p.account, true
		},
		Observe: func(e progress.Event) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.events = append(p.events, e)
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.outbox.Run(ctx, p.gate) })
	if working {
		wg.Go(func() { p.outbox.Work(ctx) })
	}
	p.stop = func() { cancel(); wg.Wait(); p.outbox.Close(); p.stop = func() {} }
}

func (p *lanePath) submit(blocks int) {
	p.t.Helper()
	noise := make([]byte, blocks*seal.ChunkSize-seal.ChunkSize/2) // does not compress
	rand.Read(noise)
	s := &Submission{Account: me, From: me, Recipients: []Recipient{{Address: me}}}
	if err := p.outbox.Submit(p.t.Context(), s, bytes.NewReader(append([]byte("Subject: x\r\n\r\n"), noise...))); err != nil {
		p.t.Fatal(err)
	}
}

func (p *lanePath) count(kind progress.Kind) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (p *lanePath) wait(what string, done func() bool) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			by, asked := p.gate.lanes()
			p.t.Fatalf("%s: not yet; blocks by lane %v, answers %v", what, by, asked)
		}
	}
}

func (p *lanePath) inSpool(mails int) {
	p.t.Helper()
	p.wait("in the spool", func() bool { return p.count(progress.InSpool) == mails })
}

// want checks how many blocks each lane took, and how many appends were refused.
func (p *lanePath) want(open, contacts, strangers, refused int) {
	p.t.Helper()
	by, asked := p.gate.lanes()
	no := 0
	for _, s := range asked {
		if !s.Success() {
			no++
		}
	}
	if by != [3]int{open, contacts, strangers} || no != refused {
		p.t.Errorf("blocks by lane %v, answers %v; want %d, %d, %d and %d refused", by, asked, open, contacts, strangers, refused)
	}
}

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
	long := spool.Terms{Memory: 8, Time: 1, Bits: 22}
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
	if took := time.Since(began); took > 5*time.Second {
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
