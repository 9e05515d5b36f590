package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"mailproxy/internal/address"
	"mailproxy/spool"
)

// entry checks that a request is in time, opens its bundle and checks that the
// address is one of this service's.
func (s *Server) entry(signed *spool.SignedBundle, auth *spool.Auth, now time.Time) (Entry, spool.Status) {
	if status := s.inTime(auth, now); status != spool.StatusOK {
		return Entry{}, status
	}
	b, err := signed.Open()
	if err != nil {
		return Entry{}, spool.StatusBadBundle
	}
	if !address.IsCanonical(b.Address) {
		return Entry{}, spool.StatusBadName
	}
	name, domain := address.Split(b.Address)
	switch {
	case domain != s.provider:
		return Entry{}, spool.StatusWrongDomain
	case !validName(name):
		return Entry{}, spool.StatusBadName
	}
	return Entry{Name: name, Hash: spool.HashName(b.Address), Identity: b.Identity, Version: b.Version, Spool: b.Spool, Bundle: *signed}, spool.StatusOK
}

func (s *Server) register(ctx context.Context, r *spool.Register) spool.Status {
	now := s.now()
	e, status := s.entry(&r.Bundle, &r.Auth, now)
	switch {
	case status != spool.StatusOK:
		return status
	case !r.Verify(s.service, e.Identity):
		return spool.StatusBadSignature
	case e.Spool != spool.IDOf(r.ReadKey):
		return spool.StatusWrongSpool
	}
	p := s.policy.Load()
	if status := s.mayMake(ctx, p, e.Name, now); status != spool.StatusOK {
		return status
	}
	how := Publication{Create: true, NeedInvite: p.Invite, Now: now}
	if len(r.Invite) > 0 {
		how.Invite = sha256.Sum256(r.Invite)
	}
	return s.publish(ctx, e, &r.Auth, how)
}

// mayMake says whether a name may be made, if it would be. Whoever has a name that
// is reserved now keeps it. Where names need invitations, these bound how many are
// made; otherwise the rate of all does.
func (s *Server) mayMake(ctx context.Context, p *policy, name string, now time.Time) spool.Status {
	switch _, err := s.store.Lookup(ctx, name); {
	case err == nil, errors.Is(err, ErrRevoked):
		return spool.StatusOK // for Publish to decide
	case !errors.Is(err, ErrNoName):
		return s.status("look up a name", err)
	case reserved[name] || p.reserved[name]:
		return spool.StatusReserved
	case !p.Invite && !s.rates.take(rateNew, [32]byte{}, p.New, now):
		return spool.StatusBusy
	}
	return spool.StatusOK
}

func (s *Server) replace(ctx context.Context, r *spool.Replace) spool.Status {
	now := s.now()
	e, status := s.entry(&r.Bundle, &r.Auth, now)
	switch {
	case status != spool.StatusOK:
		return status
	case !r.Verify(s.service, e.Spool, e.Identity):
		return spool.StatusBadSignature
	}
	status = s.publish(ctx, e, &r.Auth, Publication{Now: now})
	if status == spool.StatusTaken || status == spool.StatusNoUser && s.policy.Load().HideUsers {
		return spool.StatusNotOwner
	}
	return status
}

// publish stores e. The nonce counts as used only with success, so that keys
// without a name here cost no memory.
func (s *Server) publish(ctx context.Context, e Entry, auth *spool.Auth, how Publication) spool.Status {
	return s.once(sha256.Sum256(e.Identity), auth, how.Now, func() spool.Status {
		return s.status("publish a bundle", s.store.Publish(ctx, e, how))
	})
}

// once does what a request signed by a key asks for, unless it was done before. It
// waits for the disk, so no key may ask for it all the time.
func (s *Server) once(key [32]byte, auth *spool.Auth, now time.Time, do func() spool.Status) spool.Status {
	if !s.rates.take(rateChanges, key, s.policy.Load().Changes, now) {
		return spool.StatusBusy
	}
	seen := s.guard.enter(key)
	if seen == nil {
		return spool.StatusBusy
	}
	defer s.guard.leave(key, seen)
	if !seen.fresh(auth) {
		return spool.StatusReplayed
	}
	status := do()
	if status == spool.StatusOK {
		seen.use(auth, now)
	}
	return status
}

func (s *Server) access(ctx context.Context, r *spool.Access) spool.Status {
	now := s.now()
	if status := s.inTime(&r.Auth, now); status != spool.StatusOK {
		return status
	}
	if !r.Verify(s.service) {
		return spool.StatusBadSignature
	}
	id := spool.IDOf(r.ReadKey)
	return s.once(id, &r.Auth, now, func() spool.Status {
		return s.status("set an append key", s.store.SetAppendKey(ctx, id, r.AppendKey, r.Version))
	})
}

func (s *Server) revoke(ctx context.Context, r *spool.Revoke) spool.Status {
	now := s.now()
	if status := s.inTime(&r.Auth, now); status != spool.StatusOK {
		return status
	}
	if !s.named(r.Name) {
		return spool.StatusBadName
	}
	e, err := s.store.Lookup(ctx, r.Name)
	switch {
	case errors.Is(err, ErrNoName) && s.policy.Load().HideUsers:
		e.Identity = s.decoy // which nobody signs with
	case errors.Is(err, ErrRevoked): // again, or to erase as well
	case err != nil:
		return s.status("look up a name", err)
	}
	switch {
	case !r.Verify(s.service, e.Identity):
		return spool.StatusBadSignature
	case r.Spool != e.Spool:
		return spool.StatusWrongSpool
	}
	return s.once(sha256.Sum256(e.Identity), &r.Auth, now, func() spool.Status {
		return s.status("revoke a name", s.store.Revoke(ctx, r.Name, r.Erase, now))
	})
}
