package server

import (
	"context"
	"errors"
	"time"

	"mailproxy/spool"
)

// append counts by lane what appendTo does.
func (s *Server) append(ctx context.Context, r *spool.Append) spool.Status {
	lane := spool.LaneOpen
	if r.Lane != nil {
		lane = r.Lane.Lane
	}
	if lane >= Lanes {
		return spool.StatusLane
	}
	status := s.appendTo(ctx, lane, r)
	s.appends[lane][status].Add(1)
	return status
}

// appendTo stores a block if its sender may use the lane. What costs least is asked
// first: the state of the spool, then the proof, then the disk.
func (s *Server) appendTo(ctx context.Context, lane spool.Lane, r *spool.Append) spool.Status {
	p, now := s.policy.Load(), s.now()
	if lane == spool.LaneOpen && !p.OpenLane {
		return spool.StatusLane
	}
	if !s.crowds.enter(r.Spool) {
		return spool.StatusBusy
	}
	defer s.crowds.leave(r.Spool)
	info, err := s.store.Spool(ctx, r.Spool)
	here := !errors.Is(err, ErrNoSpool)
	switch {
	case !here && p.HideUsers: // as if it were
	case err != nil:
		return s.status("append a block", err)
	// Both stand in the key log or are for their senders to know, hidden or not.
	case info.Revoked:
		return spool.StatusRevoked
	case info.Suspended:
		return spool.StatusSuspended
	}
	id := spool.BlockIDOf(r.Block)
	if status := s.mayAppend(ctx, p, &info, lane, r, id, now); status != spool.StatusOK {
		return status
	}
	if !here {
		s.dropped.Add(1)
		return spool.StatusOK
	}
	quota := p.lanes[lane].Quota
	known, err := s.store.Append(ctx, Append{
		Spool: r.Spool, ID: id, Block: r.Block, Lane: lane, Now: now,
		MaxBlocks: quota.Blocks, MaxBytes: quota.Bytes, MaxIDs: quota.IDs,
	})
	if status := s.status("append a block", err); status != spool.StatusOK {
		return status
	}
	if known && !p.HideUsers { // a spool that is not here knows no block
		return spool.StatusKnown
	}
	return spool.StatusOK
}

// mayAppend checks the proof of a lane, and then how often the lane is used: who has
// no good proof uses up nothing that a spool has. A stranger's proof costs the service
// most, so that all strangers together have a bound on how many are looked at
// (Policy.Checks). Whoever sends bad ones, to whatever spool, uses that up: good
// strangers are then told to try again, at every spool. Contacts are not touched.
func (s *Server) mayAppend(ctx context.Context, p *policy, info *SpoolInfo, lane spool.Lane, r *spool.Append, id spool.BlockID, now time.Time) spool.Status {
	token := func() bool { return s.rates.take(byte(lane), r.Spool, p.lanes[lane].Rate, now) }
	switch lane {
	case spool.LaneContacts:
		key := info.AppendKey
		if len(key) == 0 {
			key = s.decoy // so that it takes as long
		}
		if !spool.VerifyContact(key, s.service, r.Spool, id, r.Lane.Proof) {
			return spool.StatusAppendKey
		}
	case spool.LaneStrangers:
		input := spool.AppendInput(lane, s.service, r.Spool, id)
		status := s.toll.check(ctx, p, input, r.Lane.Proof, now, func() bool {
			return s.rates.take(rateChecks, [32]byte{}, p.Checks, now)
		})
		if status != spool.StatusOK {
			return status
		}
	}
	if !token() {
		return spool.StatusBusy
	}
	return spool.StatusOK
}
