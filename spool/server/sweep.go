package server

import (
	"context"
	"errors"
	"time"
)

// steadyFor is how long a clock that has jumped must go on evenly, under the
// service's eyes, before what is old by it is removed.
const steadyFor = 24 * time.Hour

// A clock tells whether the time of day can be trusted. A wrong one would empty the
// store: by a clock that is weeks ahead, every block is too old. So it compares how
// far the time of day has gone with how long that took by the machine's monotonic
// clock, and with the time of the last sweep, which the Store keeps: a machine
// whose clock is wrong when it starts is found out as well.
type clock struct {
	trusted point // the time of day is right if it goes on evenly from here
	jumped  point // since then it goes on evenly, after a jump; zero: it has not jumped
}

// A point is one moment by two clocks.
type point struct {
	day  time.Time // time of day; zero: not known
	mono time.Time // by the monotonic clock: comparable with time.Since only
}

// tolerance is how far the time of day may be ahead of what it should be: a service
// that is off that long is none that a clock was changed for.
func tolerance(every time.Duration) time.Duration { return 2*every + time.Minute }

// even says whether now follows on p: not behind the time that passed by the
// monotonic clock, nor much ahead.
func (p point) even(now time.Time, ahead time.Duration) bool {
	by := p.ahead(now)
	return !p.day.IsZero() && by >= -time.Minute && by <= ahead
}

// ahead is how far the time of day is ahead of what it should be.
func (p point) ahead(now time.Time) time.Duration { return now.Sub(p.day) - time.Since(p.mono) }

// setClock begins with what the Store knows.
func (s *Server) setClock(now time.Time) error {
	last, err := s.store.LastSweep(context.Background())
	if err != nil {
		return err
	}
	mono := time.Now()
	s.clock.trusted = point{last, mono}
	if !last.IsZero() {
		return nil
	}
	st, err := s.store.Stats(context.Background())
	if err != nil {
		return err
	}
	if st.Blocks+st.Remembered+st.Invites > 0 {
		return nil // restored, or of an earlier release: there is much to lose
	}
	s.clock.trusted.day = now
	if err := s.store.SetLastSweep(context.Background(), now); err != nil {
		s.log.Error("spool: store failed", "doing", "keep the time", "err", err)
	}
	return nil
}

// right says whether what is old by the time of day may be removed, and else for
// how long not.
func (c *clock) right(now time.Time, every time.Duration) (wait time.Duration, ok bool) {
	ahead := tolerance(every)
	if c.trusted.even(now, ahead) {
		c.trusted, c.jumped = point{now, time.Now()}, point{}
		return 0, true
	}
	if !c.jumped.even(now, ahead) {
		c.jumped = point{now, time.Now()}
	}
	if steady := time.Since(c.jumped.mono); steady < steadyFor {
		return steadyFor - steady, false
	}
	c.trusted, c.jumped = point{now, time.Now()}, point{}
	return 0, true
}

func (s *Server) sweepUntil(ctx context.Context) {
	tick := time.NewTicker(s.limits.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.sweep(ctx)
		}
	}
}

// sweep removes what is too old, unless the clock cannot be trusted.
func (s *Server) sweep(ctx context.Context) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	now := s.now()
	s.guard.sweep(now)
	trusted := s.clock.trusted
	wait, ok := s.clock.right(now, s.limits.SweepEvery)
	if !ok {
		by := "unknown" // there is no earlier sweep to compare with
		if !trusted.day.IsZero() {
			by = trusted.ahead(now).Round(time.Second).String()
		}
		s.log.Warn("spool: the clock has jumped; nothing old is removed until it is right or has been steady", "by", by, "wait", wait.Round(time.Minute))
		// What was begun to be erased goes all the same.
		now = time.Unix(0, 0)
		if _, err := s.store.Sweep(ctx, now, now, now); err != nil && ctx.Err() == nil {
			s.log.Error("spool: sweep failed", "err", err)
		}
		return
	}
	if _, err := s.sweepAt(ctx, now); err != nil && ctx.Err() == nil {
		s.log.Error("spool: sweep failed", "err", err)
	}
}

// sweepAt removes what is too old at a time that is right. It needs s.sweeping.
func (s *Server) sweepAt(ctx context.Context, now time.Time) (int, error) {
	n, err := s.store.Sweep(ctx, now.Add(-s.policy.Load().MaxAge), now.Add(-s.limits.RememberIDs), now)
	s.swept.Add(uint64(n))
	return n, errors.Join(err, s.store.SetLastSweep(ctx, now))
}

// TrustClock removes at once what is too old by the clock of now, and returns how
// many blocks that were: for an operator who has seen to it that the clock is right,
// after it had jumped.
func (s *Server) TrustClock(ctx context.Context) (removed int, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	now := s.now()
	s.clock = clock{trusted: point{now, time.Now()}}
	return s.sweepAt(ctx, now)
}
