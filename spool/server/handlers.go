package server

import (
	"context"
	"crypto/sha256"
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

// entry opens a bundle and checks that its address is one of this service's.
func (s *Server) entry(signed *spool.SignedBundle) (Entry, spool.Status) {
	b, err := signed.Open()
	if err != nil {
		return Entry{}, spool.StatusBadBundle
	}
	canonical, err := address.Canonical(b.Address)
	if err != nil || canonical != b.Address {
		return Entry{}, spool.StatusBadName
	}
	name, domain := address.Split(canonical)
	switch {
	case domain != s.provider:
		return Entry{}, spool.StatusWrongDomain
	case !validName(name):
		return Entry{}, spool.StatusBadName
	}
	return Entry{Name: name, Identity: b.Identity, Version: b.Version, Spool: b.Spool, Bundle: *signed,
		Hash: spool.HashName(canonical)}, spool.StatusOK
}

func (s *Server) register(ctx context.Context, r *spool.Register) spool.Status {
	now := s.now()
	if status := s.inTime(&r.Auth, now); status != spool.StatusOK {
		return status
	}
	e, status := s.entry(&r.Bundle)
	switch {
	case status != spool.StatusOK:
		return status
	case !r.Verify(s.service, e.Identity):
		return spool.StatusBadSignature
	case e.Spool != spool.IDOf(r.ReadKey):
		return spool.StatusWrongSpool
	}
	if status := s.policy.Register(e.Name); status != spool.StatusOK {
		return status
	}
	return s.publish(ctx, e, &r.Auth, now, true)
}

func (s *Server) replace(ctx context.Context, r *spool.Replace) spool.Status {
	now := s.now()
	if status := s.inTime(&r.Auth, now); status != spool.StatusOK {
		return status
	}
	e, status := s.entry(&r.Bundle)
	switch {
	case status != spool.StatusOK:
		return status
	case !r.Verify(s.service, e.Spool, e.Identity):
		return spool.StatusBadSignature
	}
	status = s.publish(ctx, e, &r.Auth, now, false)
	if status == spool.StatusTaken {
		return spool.StatusNotOwner
	}
	return status
}

// publish stores e. The nonce counts as used only with success, so that keys
// without a name here cost no memory.
func (s *Server) publish(ctx context.Context, e Entry, auth *spool.Auth, now time.Time, create bool) spool.Status {
	key := sha256.Sum256(e.Identity)
	seen := s.guard.enter(key)
	defer s.guard.leave(key, seen)
	if !seen.fresh(auth) {
		return spool.StatusReplayed
	}
	status := s.status("publish a bundle", s.store.Publish(ctx, e, Publication{Create: create, Now: now}))
	if status == spool.StatusOK {
		seen.use(auth, now)
	}
	return status
}

func (s *Server) lookup(ctx context.Context, r *spool.Lookup) (any, spool.Status) {
	if canonical, err := address.Canonical(r.Name + "@" + s.provider); err != nil ||
		canonical != r.Name+"@"+s.provider || !validName(r.Name) {
		return nil, spool.StatusBadName
	}
	e, err := s.store.Lookup(ctx, r.Name)
	return spool.LookupReply{Bundle: e.Bundle}, s.status("look up a name", err)
}

func (s *Server) append(ctx context.Context, r *spool.Append) spool.Status {
	status, quota := s.policy.Append(r.Spool, r.Lane)
	if status != spool.StatusOK {
		return status
	}
	known, err := s.store.Append(ctx, Append{
		Spool: r.Spool, ID: spool.BlockIDOf(r.Block), Block: r.Block, Now: s.now(),
		MaxBlocks: quota.Blocks, MaxBytes: quota.Bytes, MaxIDs: IDsPerBlock * quota.Blocks,
	})
	if status := s.status("append a block", err); status != spool.StatusOK {
		return status
	}
	if known {
		return spool.StatusKnown
	}
	return spool.StatusOK
}

func (s *Server) read(ctx context.Context, r *spool.Read) (body any, status spool.Status, last uint64) {
	now := s.now()
	if status := s.inTime(&r.Auth, now); status != spool.StatusOK {
		return nil, status, 0
	}
	if !r.Verify(s.service) {
		return nil, spool.StatusBadSignature, 0
	}
	id := spool.IDOf(r.ReadKey)
	seen := s.guard.enter(id)
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
