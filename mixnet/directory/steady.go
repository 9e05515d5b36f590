package directory

import "time"

// waitAfterJump bounds how long a clock that has jumped ahead is given to be put
// right before what it calls over is erased.
const waitAfterJump = 10 * time.Minute

// Steady notices a clock that has jumped ahead, be it wrong or the machine asleep,
// for those who erase what time has passed: an hour's keys that a wrong clock has
// erased are gone when it is put right. The zero value has seen no time yet. It is
// not for several goroutines at once.
type Steady struct {
	last  time.Time // the last look
	until time.Time // after a jump: when it has lasted
}

// Look is told the wall clock's time every now and then, several times in half an
// epoch, and reports whether what is over by it may be erased. If since the last
// look the clock has gone on by more than half an epoch, nothing may for ten
// minutes, or a quarter of an epoch if that is less. A clock that is put right
// meanwhile ends that.
func (s *Steady) Look(now time.Time, p Parameters) bool {
	now = now.Round(0) // the wall clock: the other one may stand still in sleep
	passed := now.Sub(s.last)
	switch {
	case s.last.IsZero():
	case passed > time.Duration(p.Epoch)/2:
		s.until = now.Add(min(waitAfterJump, time.Duration(p.Epoch)/4))
	case passed < -time.Duration(p.Epoch)/4:
		s.until = time.Time{} // it was put right
	}
	s.last = now
	return !now.Before(s.until)
}
