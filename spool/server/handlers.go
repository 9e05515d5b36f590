package server

import (
	"context"
	"errors"
	"time"

	"mailproxy/internal/address"
	"mailproxy/spool"
)

// inTime checks a request's expiry. An expiry of this very second has not passed.
func (s *Server) inTime(a *spool.Auth, now time.Time) spool.Status {
	// Compared in seconds: an expiry near the ends of int64 is no time.Time that
	// can be calculated with.
	switch unix := now.Unix(); {
	case a.Expiry < unix:
		return spool.StatusExpired
	case a.Expiry > unix+int64(spool.MaxExpiry/time.Second):
		return spool.StatusTooFar
	}
	return spool.StatusOK
}

// status translates what a Store returned. What it does not know is logged and
// temporary.
func (s *Server) status(doing string, err error) spool.Status {
	switch {
	case err == nil:
		return spool.StatusOK
	case errors.Is(err, ErrNoName):
		return spool.StatusNoUser
	case errors.Is(err, ErrNoSpool):
		return spool.StatusNoSpool
	case errors.Is(err, ErrTaken):
		return spool.StatusTaken
	case errors.Is(err, ErrStale):
		return spool.StatusStale
	case errors.Is(err, ErrWrongSpool):
		return spool.StatusWrongSpool
	case errors.Is(err, ErrFull):
		return spool.StatusFull
	case errors.Is(err, ErrRevoked):
		return spool.StatusRevoked
	case errors.Is(err, ErrInvite):
		return spool.StatusInvite
	case errors.Is(err, ErrSuspended):
		return spool.StatusSuspended
	case errors.Is(err, ErrNoLog):
		return spool.StatusNoLog
	}
	s.log.Error("spool: store failed", "doing", doing, "err", err)
	return spool.StatusTemporary
}

// named says whether a name is one that an account can have, in its normal form.
func (s *Server) named(name string) bool {
	return address.IsCanonical(name+"@"+s.provider) && validName(name)
}

func (s *Server) lookup(ctx context.Context, r *spool.Lookup) (any, spool.Status) {
	p, now := s.policy.Load(), s.now()
	if !s.named(r.Name) {
		return nil, spool.StatusBadName
	}
	if !s.rates.take(rateLookups, [32]byte{}, p.Lookups, now) {
		return nil, spool.StatusBusy
	}
	e, err := s.store.Lookup(ctx, r.Name)
	if status := s.status("look up a name", err); status != spool.StatusOK {
		return nil, status
	}
	if e.Suspended {
		return nil, spool.StatusSuspended
	}
	proof, status := s.prove(ctx, r.Size, e.Log.Index)
	return spool.LookupReply{
		Bundle: e.Bundle, Index: e.Log.Index, Kind: e.Log.Kind, Version: e.Log.Version, Proof: proof, Terms: s.terms(p, now),
	}, status
}

func (s *Server) read(ctx context.Context, r *spool.Read) (body any, status spool.Status, last uint64) {
	now := s.now()
	if status := s.inTime(&r.Auth, now); status != spool.StatusOK {
		return nil, status, 0
	}
	if !s.signatures.verify(r.ReadKey, r.Signed(s.service), r.Auth.Signature) {
		return nil, spool.StatusBadSignature, 0
	}
	id := spool.IDOf(r.ReadKey)
	if !s.rates.take(rateReads, id, s.policy.Load().Reads, now) {
		return nil, spool.StatusBusy, 0
	}
	seen := s.guard.enter(id)
	if seen == nil {
		return nil, spool.StatusBusy, 0
	}
	defer s.guard.leave(id, seen)
	if !seen.fresh(&r.Auth) {
		return nil, spool.StatusReplayed, 0
	}
	if seen.otherReader(r.Auth.Instance, now) {
		return nil, spool.StatusOtherReader, 0
	}
	reply, err := s.store.Read(ctx, id, r.Cursor, r.Want)
	if status := s.status("read a block", err); status != spool.StatusOK {
		return nil, status, 0
	}
	if r.Cursor > reply.Last {
		// The store was put back to an earlier state. To trim here would lose the
		// blocks that come next under numbers that the reader thinks it has read.
		return nil, spool.StatusCursorAhead, reply.Last
	}
	seen.use(&r.Auth, now)
	seen.reader, seen.read = r.Auth.Instance, now
	// The reply holds nothing that trimming changes, and promises nothing about
	// it: the next read trims again. A store that cannot trim can still be read.
	if err := s.store.Trim(ctx, id, r.Cursor, now); err != nil {
		s.log.Error("spool: store failed", "doing", "trim a spool", "err", err)
	}
	return reply, spool.StatusOK, 0
}
