package directory

import (
	"fmt"
	"time"
)

// An Epoch counts the lives of mix keys since the Unix epoch: number n begins n
// epoch lengths after it, so that all members with right clocks agree.
type Epoch uint64

// Grace is how much longer than the largest delay of a path a node accepts a key
// after its epoch, for packets on their way and clocks that differ (section 4 of
// the design).
const Grace = 60 * time.Second

// EpochAt returns the epoch at time t.
func (p Parameters) EpochAt(t time.Time) Epoch {
	return Epoch(t.UnixNano() / int64(p.Epoch))
}

// EpochStart returns when e begins.
func (p Parameters) EpochStart(e Epoch) time.Time {
	return time.Unix(0, int64(e)*int64(p.Epoch))
}

// MaxPath is the largest sum of delays of a path.
func (p Parameters) MaxPath() time.Duration { return Layers * p.MaxDelay() }

// KeyGrace is how long after its epoch a mix key is accepted: Grace and the
// largest delay of a path; in a network whose times are scaled down, no longer
// than a quarter of an epoch beside that.
func (p Parameters) KeyGrace() time.Duration {
	return min(Grace, time.Duration(p.Epoch)/4) + p.MaxPath()
}

// KeyLinger is how long a node keeps a mix key that it accepts no more: what comes
// under it then came too late, and can be told from what does not verify. After
// that nobody can tell.
func (p Parameters) KeyLinger() time.Duration {
	return min(10*time.Second, time.Duration(p.Epoch)/40)
}

// When things happen in the epoch before the one they are for, as shares of its
// length. What has been missed at a start is done at once.
const (
	publishShare = 0.3 // from then on nodes publish their next key
	voteShare    = 0.6 // from then on directories vote
)

// PublishTime returns from when on nodes publish their key of e.
func (p Parameters) PublishTime(e Epoch) time.Time {
	return p.EpochStart(e - 1).Add(time.Duration(publishShare * float64(p.Epoch)))
}

// VoteTime returns from when on directories vote on the snapshot of e.
func (p Parameters) VoteTime(e Epoch) time.Time {
	return p.EpochStart(e - 1).Add(time.Duration(voteShare * float64(p.Epoch)))
}

// Round is the length of a round of voting: a twentieth of an epoch, half of it
// for votes and half for signatures.
func (p Parameters) Round() time.Duration { return time.Duration(p.Epoch) / 20 }

// String returns the epoch's number.
func (e Epoch) String() string { return fmt.Sprintf("epoch %d", uint64(e)) }
