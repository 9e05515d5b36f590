package server

import (
	"errors"
	"fmt"
	"math"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/work"
)

// A Policy says who may do what and how often, beyond what the protocol itself
// demands. It can be exchanged while the service runs (Server.SetPolicy).
type Policy struct {
	// Invite: a new name needs an invitation.
	Invite bool
	// Reserved are names that nobody can register, beside those that nobody can
	// anywhere. What a name of this list has already stays.
	Reserved []string
	// HideUsers answers appends to spools that are not here as those to spools
	// that are, and replaces and revocations of names that are not here as those
	// by somebody else. See docs/protocol.md for what can be found out all the
	// same, and for its price: a block that is appended to a spool that a restore
	// has lost is lost without a word.
	HideUsers bool
	// OpenLane leaves the open lane open, so that nobody need prove anything.
	OpenLane bool

	// The lanes. The open one's part does nothing while it is closed.
	Open, Contacts, Strangers LanePolicy

	// Work is what a block costs a stranger; all zero means work.Default.
	Work spool.Terms
	// Raise is by how many bits the price may rise by itself: by one for every
	// minute in which strangers appended with more than half of Checks, and down
	// again by one for every ten minutes below an eighth.
	Raise uint8
	// Checks bounds how often the service looks at a proof of work, good or bad;
	// zero means 50 in a second, 100 at once. Checks times the time of one (see
	// package work) is the part of a core that strangers can use up.
	Checks Rate

	// Reads is how often a spool is read, Changes how often a key publishes,
	// revokes or sets an append key.
	Reads, Changes Rate
	// Lookups is how often a name is looked up, and how often the key log is read,
	// by all askers together, whom nobody can tell apart. New bounds the names that
	// are made, by all together.
	Lookups, New Rate

	// MaxAge is how long a block waits to be read; zero means that of Limits.
	MaxAge time.Duration
}

// A LanePolicy is what a spool takes by one of its lanes.
type LanePolicy struct {
	Quota Quota
	Rate  Rate // of blocks whose sender may append, as a proof has shown
}

// A Quota bounds what a spool holds of a lane. A zero means the default.
type Quota struct {
	// Blocks; by default Limits.MaxBlocks, of strangers a tenth.
	Blocks int
	// Bytes of these; by default Limits.MaxBytes, of strangers a tenth.
	Bytes int64
	// IDs of blocks, present and remembered; by default five times Blocks.
	IDs int
}

// A Rate is a token bucket: Burst at once, PerSecond in the long run. Zero
// PerSecond is no bound.
type Rate struct {
	PerSecond float64
	Burst     int
}

// DefaultPolicy is that of a provider: contacts and strangers, no open lane; names
// for everybody. A daemon appends 0.6 blocks in a second and reads 0.8 times, at the
// default parameters of the network.
func DefaultPolicy() Policy {
	return Policy{
		Contacts:  LanePolicy{Rate: Rate{PerSecond: 20, Burst: 1200}},
		Strangers: LanePolicy{Rate: Rate{PerSecond: 2, Burst: 120}},
		Work:      work.Default,
		Raise:     4,
		Checks:    defaultChecks,
		Reads:     Rate{PerSecond: 20, Burst: 200},
		Changes:   Rate{PerSecond: 0.1, Burst: 50},
		Lookups:   Rate{PerSecond: 500, Burst: 1000},
		New:       Rate{PerSecond: 1, Burst: 200},
	}
}

// OpenPolicy is that of a service that whoever wants may use as much as they want,
// within the quotas: of demos and tests, and of a closed network.
func OpenPolicy() Policy { return Policy{OpenLane: true} }

// maxRefill is how long an empty bucket takes to be full again at most.
const maxRefill = 30 * 24 * time.Hour

// defaultChecks is a fifth of a core with work.Default.
var defaultChecks = Rate{PerSecond: 50, Burst: 100}

// Valid says what makes no sense in the policy, as New and SetPolicy would.
func (p Policy) Valid() error {
	limits, err := Limits{}.withDefaults()
	if err == nil {
		_, err = p.complete(limits)
	}
	return err
}

// A policy is a Policy that is complete.
type policy struct {
	Policy
	lanes    [Lanes]LanePolicy
	reserved map[string]bool
}

// complete fills in what is zero and says what makes no sense.
func (p Policy) complete(l Limits) (*policy, error) {
	if p.Work == (spool.Terms{}) {
		p.Work = work.Default
	}
	if p.Checks == (Rate{}) {
		p.Checks = defaultChecks
	}
	if p.MaxAge == 0 {
		p.MaxAge = l.MaxAge
	}
	if err := work.Valid(p.Work); err != nil {
		return nil, fmt.Errorf("policy of the spool: %w", err)
	}
	top := p.Work
	top.Bits = uint8(min(int(top.Bits)+int(p.Raise), 255))
	if err := work.Valid(top); err != nil || work.Cost(top) > work.MaxCost {
		return nil, errors.New("policy of the spool: a stranger's block can come to cost more work than any sender does")
	}
	if p.MaxAge < 0 || p.Checks.PerSecond <= 0 {
		return nil, errors.New("policy of the spool: the age of blocks and the checks of proofs must be above zero")
	}
	strangers := Limits{MaxBlocks: max(l.MaxBlocks/10, 1), MaxBytes: max(l.MaxBytes/10, spool.BlockSize)}
	q := &policy{Policy: p, reserved: make(map[string]bool)}
	for lane, from := range [Lanes]struct {
		LanePolicy
		Limits
	}{spool.LaneOpen: {p.Open, l}, spool.LaneContacts: {p.Contacts, l}, spool.LaneStrangers: {p.Strangers, strangers}} {
		lp := from.LanePolicy
		if lp.Quota.Blocks == 0 {
			lp.Quota.Blocks = from.MaxBlocks
		}
		if lp.Quota.Bytes == 0 {
			lp.Quota.Bytes = from.MaxBytes
		}
		if lp.Quota.IDs == 0 {
			lp.Quota.IDs = 5 * lp.Quota.Blocks
		}
		if lp.Quota.Blocks < 0 || lp.Quota.Bytes < 0 || lp.Quota.IDs < 0 {
			return nil, errors.New("policy of the spool: a quota is below zero")
		}
		q.lanes[lane] = lp
	}
	for _, r := range []Rate{p.Open.Rate, p.Contacts.Rate, p.Strangers.Rate, p.Checks, p.Reads, p.Changes, p.Lookups, p.New} {
		switch {
		case !(r.PerSecond >= 0) || math.IsInf(r.PerSecond, 0) || r.Burst < 0:
			return nil, errors.New("policy of the spool: a rate, or its burst, is below zero or no number")
		case r.PerSecond > 0 && (r.Burst < 1 || float64(r.Burst)/r.PerSecond > maxRefill.Seconds()):
			return nil, fmt.Errorf("policy of the spool: a rate of %g in a second cannot have a burst of %d", r.PerSecond, r.Burst)
		}
	}
	for _, name := range p.Reserved {
		if !validName(name) {
			return nil, fmt.Errorf("policy of the spool: %q cannot be the name of an account, and need not be reserved", name)
		}
		q.reserved[name] = true
	}
	return q, nil
}

// terms are what look-ups and refusals say of the price: nothing, if the open
// lane is open.
func (s *Server) terms(p *policy, now time.Time) spool.Terms {
	if p.OpenLane {
		return spool.Terms{}
	}
	return s.toll.price(p, now)
}
