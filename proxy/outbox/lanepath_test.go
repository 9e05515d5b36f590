package outbox

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/work"
)

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

func newLanePath(t *testing.T, lane contacts.Lane) *lanePath {
	t.Helper()
	h := newHome(t)
	p := &lanePath{t: t, gate: &gate{taken: map[spool.BlockID]spool.Lane{}}, store: h.store, mail: h.mail}
	p.account = stranger{self{keys: h.keys, network: p.gate}, new(sync.Mutex), &lane}
	t.Cleanup(func() { p.stop() })
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
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(time.Millisecond) {
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
