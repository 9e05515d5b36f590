package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailproxy/spool/server"
)

// longestSet bounds for how long the price is set by hand.
const longestSet = 30 * 24 * time.Hour

// setPrice is a price that the operator has set for a while.
type setPrice struct {
	bits  uint8 // 0: none
	until time.Time
	end   *time.Timer
}

// policy is what the configuration says, with the price that was set. Its rise by
// itself ends at what a sender pays at most. It needs s.mu.
func (s *service) policy(cfg *config, bits uint8) server.Policy {
	p := cfg.policy()
	if bits == 0 {
		return p
	}
	p.Work.Bits = bits
	for p.Raise > 0 && p.Valid() != nil {
		p.Raise--
	}
	return p
}

// price says what a stranger's block costs now, and why.
func (s *service) price() price {
	terms := s.server.Terms()
	s.mu.Lock()
	defer s.mu.Unlock()
	return price{
		Memory: terms.Memory, Passes: terms.Time, Bits: terms.Bits, Config: s.cfg.Work.Bits,
		Set: s.set.bits, Until: moment(s.set.until),
	}
}

func (s *service) setWork(_ context.Context, in setWork) (price, error) {
	left := time.Until(in.Until)
	if in.Bits > 0 && (left <= 0 || left > longestSet) {
		return price{}, fmt.Errorf("the price can be set for up to %v; for longer, set work.bits in the configuration and reload it", longestSet)
	}
	if err := s.setBits(in.Bits, in.Until); err != nil {
		return price{}, err
	}
	return s.price(), nil
}

// setBits sets the price until then, or with 0 as the configuration has it.
func (s *service) setBits(bits uint8, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the service is stopping")
	}
	if err := s.server.SetPolicy(s.policy(s.cfg, bits)); err != nil {
		return err
	}
	if s.set.end != nil {
		s.set.end.Stop()
	}
	if s.set = (setPrice{}); bits == 0 {
		return nil
	}
	s.set = setPrice{bits: bits, until: until}
	s.set.end = time.AfterFunc(time.Until(until), func() {
		s.mu.Lock()
		now := s.set.until.Equal(until)
		s.mu.Unlock()
		if !now { // another was set meanwhile
			return
		}
		if err := s.setBits(0, time.Time{}); err != nil {
			s.log.Error("mailspool: the price cannot be set back", "err", err)
		}
	})
	return nil
}

// takeUp puts what fresh says into force, as far as that can be done at run time.
func (s *service) takeUp(fresh *config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.server.SetPolicy(s.policy(fresh, s.set.bits)); err != nil {
		return err
	}
	fresh.keepFixed(s.cfg)
	s.cfg = fresh
	return nil
}
