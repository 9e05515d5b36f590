// Package server answers the requests of package spool: it is the spool service
// that a service node runs for the users of one provider.
//
// It is given a request's bytes and gives the reply's; who asked it cannot know.
// It neither speaks to a network nor keeps anything on disk: a Store does that
// (see badgerstore), and what a request may do beyond the protocol's own rules a
// Policy decides. cmd puts it into a node; only cmd and tests import it.
package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/internal/address"
	"mailproxy/spool"
)

// Limits are what a service keeps, and for how long. A zero means the default.
type Limits struct {
	// MaxBlocks is how many blocks a spool holds of a lane, where the policy does
	// not say; 20,000 by default, which is 160 MB.
	MaxBlocks int
	// MaxBytes is how many bytes these have; by default MaxBlocks of them.
	MaxBytes int64
	// MaxAge is how long a block waits to be read, where the policy does not say;
	// 14 days by default.
	MaxAge time.Duration
	// RememberIDs is how long after its removal a block is still known; 7 days by
	// default. It must be longer than any sender tries again (an outbox does so
	// for 5 days), or a lost reply makes a duplicate.
	RememberIDs time.Duration
	// SweepEvery is how often what is too old is removed; hourly by default.
	SweepEvery time.Duration
}

func (l Limits) withDefaults() (Limits, error) {
	if l.MaxBlocks < 0 || l.MaxBytes < 0 || l.MaxAge < 0 || l.RememberIDs < 0 || l.SweepEvery < 0 {
		return l, errors.New("limits of the spool must not be negative")
	}
	if l.MaxBlocks == 0 {
		l.MaxBlocks = 20_000
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = int64(l.MaxBlocks) * spool.BlockSize
	}
	if l.MaxAge == 0 {
		l.MaxAge = 14 * 24 * time.Hour
	}
	if l.RememberIDs == 0 {
		l.RememberIDs = 7 * 24 * time.Hour
	}
	if l.SweepEvery == 0 {
		l.SweepEvery = time.Hour
	}
	return l, nil
}

// Options are what a Server is made of.
type Options struct {
	Store    Store            // the caller closes it, after the Server
	Provider string           // the domain whose addresses it serves, in lower case
	Limits   Limits           // see there for defaults
	Policy   *Policy          // nil: OpenPolicy
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: none
}

// types is how many types of requests there are, with zero for none.
const types = int(spool.TypeLog) + 1

// A Server answers requests. Its methods may be called from any goroutine.
type Server struct {
	store    Store
	provider string
	service  spool.ServiceID
	limits   Limits
	policy   atomic.Pointer[policy]
	now      func() time.Time
	log      *slog.Logger
	decoy    ed25519.PublicKey // nobody has its other half

	// What is seen of those who ask; all of it bounded, and none on disk.
	guard  *guard
	rates  *rates
	crowds crowds
	toll   *toll

	head lastHead

	answers [types][256]atomic.Uint64 // by request type (0: none) and status
	appends [Lanes][256]atomic.Uint64 // by lane and status
	took    [types]latency
	swept   atomic.Uint64
	dropped atomic.Uint64 // blocks for spools that are not here

	sweeping sync.Mutex // guards clock; held by who sweeps
	clock    clock

	signatures signatures // of reads

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New starts a server. Close must be called in the end.
func New(o Options) (*Server, error) {
	limits, err := o.Limits.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start spool: %w", err)
	}
	canonical, err := address.Canonical("x@" + o.Provider)
	if err != nil || canonical != "x@"+o.Provider {
		return nil, fmt.Errorf("start spool: %q is not a domain in lower case", o.Provider)
	}
	if o.Store == nil {
		return nil, errors.New("start spool: no store")
	}
	s := &Server{
		store: o.Store, provider: o.Provider, service: spool.ServiceOf(o.Provider),
		limits: limits, now: o.Now, log: o.Logger, guard: newGuard(), crowds: crowds{here: make(map[spool.ID]int)},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.decoy, _, err = ed25519.GenerateKey(nil); err != nil {
		return nil, fmt.Errorf("start spool: %w", err)
	}
	now := s.now()
	s.rates = newRates(now)
	if o.Policy == nil {
		open := OpenPolicy()
		o.Policy = &open
	}
	p, err := o.Policy.complete(limits)
	if err != nil {
		return nil, fmt.Errorf("start spool: %w", err)
	}
	s.policy.Store(p)
	s.toll = newToll(p, now)
	if err := s.setClock(now); err != nil {
		return nil, fmt.Errorf("start spool: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wg.Go(func() { s.sweepUntil(ctx) })
	return s, nil
}

// SetPolicy exchanges the policy: requests that come after it returns are answered
// by the new one. After an error the old one stays.
func (s *Server) SetPolicy(p Policy) error {
	q, err := p.complete(s.limits)
	if err != nil {
		return err
	}
	s.policy.Store(q)
	return nil
}

// Terms returns what a stranger's block costs now; all zero, if the open lane is
// open.
func (s *Server) Terms() spool.Terms { return s.terms(s.policy.Load(), s.now()) }

// Close stops the sweeper and waits for it. Nobody may be waiting for an Answer.
func (s *Server) Close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

// Answer carries out a request and returns the reply, which there always is:
// what is wrong with a request is a status of its own. What a success says was
// done is on disk.
func (s *Server) Answer(ctx context.Context, request []byte) []byte {
	began := time.Now() // not s.now: what is measured is not what time it is
	req, kind, status := spool.DecodeRequest(request)
	var body any = spool.Empty{}
	var last uint64
	if status == spool.StatusOK {
		switch r := req.(type) {
		case *spool.Register:
			status = s.register(ctx, r)
		case *spool.Replace:
			status = s.replace(ctx, r)
		case *spool.Lookup:
			body, status = s.lookup(ctx, r)
		case *spool.Append:
			status = s.append(ctx, r)
		case *spool.Read:
			body, status, last = s.read(ctx, r)
		case *spool.Access:
			status = s.access(ctx, r)
		case *spool.Revoke:
			status = s.revoke(ctx, r)
		case *spool.Log:
			body, status = s.records(ctx, r)
		default:
			status = spool.StatusUnknownRequest
		}
	}
	s.answers[kind][status].Add(1)
	s.took[kind].add(time.Since(began))
	var reply []byte
	var err error
	if status.Success() {
		reply, err = spool.EncodeReply(status, body)
	} else {
		refused := spool.Refused{Status: status, Time: s.now(), Last: last}
		switch status {
		case spool.StatusLane, spool.StatusAppendKey, spool.StatusWork:
			terms := s.Terms()
			refused.Terms = &terms
		}
		reply, err = spool.EncodeRefused(refused)
	}
	if err != nil {
		// Nothing that a request says can bring this about.
		s.log.Error("spool: reply cannot be encoded", "type", kind, "err", err)
	}
	return reply
}

// Answers returns how often requests of a type were answered with a status since
// the start. Type zero counts those whose type could not be read.
func (s *Server) Answers(t spool.Type, status spool.Status) uint64 {
	if int(t) >= len(s.answers) {
		return 0
	}
	return s.answers[t][status].Load()
}

// Swept returns how many blocks were removed for their age since the start.
func (s *Server) Swept() uint64 { return s.swept.Load() }

// Dropped returns how many blocks were appended to spools that are not here, and
// answered as if they were, since the start.
func (s *Server) Dropped() uint64 { return s.dropped.Load() }
