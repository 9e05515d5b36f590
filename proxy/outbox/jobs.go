package outbox

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/spool"
)

// A job is a message in memory; o.mu guards it.
type job struct {
	id      ID
	message *message
	parts   []*part // of recipients that are not done
	done    []recipient
	next    int  // whose turn is next within the job
	asked   bool // it has had a slot for a look-up
	served  bool // it has had a slot besides
}

// A part is one recipient of a job in memory; o.mu guards it.
type part struct {
	job    *job
	number uint32
	recipient

	// gone says that a block of it has left, or may have: it cannot be withdrawn. The
	// engine sets it, which is not to wait for o.mu.
	gone    atomic.Bool
	stopped bool // it is being withdrawn: nothing new of it is begun

	busy      bool          // a goroutine writes of it: sealing, a report, or an end
	unknown   bool          // it waits for a slot to look its keys up
	asking    bool          // a look-up is under way, which may take for ever while offline
	chosen    bool          // a task of it was taken, and the engine has not given it its slot yet
	recall    func()        // takes back its query that waits for a slot; nil if none does
	fate      *fate         // how it is to end; nil while it goes on
	notBefore time.Time     // of the next attempt at anything
	backoff   time.Duration // the last wait after a refusal
	refusal   error         // the last refusal that may pass

	fresh   []uint32  // blocks to be appended now
	again   []attempt // blocks to be appended once more, later
	missing int       // blocks not acknowledged, those in flight too

	lane     *contacts.Lane         // how they are appended; nil: to be asked of the account
	changes  int                    // of lane in a row that the service made
	paid     map[uint32]spool.Terms // blocks with work on disk, and what for
	stopWork context.CancelFunc     // ends the work for one of them; nil if there is none
}

// An attempt is a block that got lost, and when it may go once more.
type attempt struct {
	index uint32
	at    time.Time
}

func newPart(j *job, number uint32, r recipient) *part {
	return &part{job: j, number: number, recipient: r, paid: map[uint32]spool.Terms{}}
}

func (j *job) part(number uint32) *part {
	for _, p := range j.parts {
		if p.number == number {
			return p
		}
	}
	return nil
}

// A task is something for one slot of the network.
type task struct {
	part   *part
	lookup bool // else append block index
	index  uint32
	lane   contacts.Lane // by which
}

// A lookup is who asks for whose keys.
type lookup struct{ account, recipient string }

// take returns the next task for the engine, in turn, or the time at which there
// may be one (zero: not before something else happens). o.mu must be held.
func (o *Outbox) take(network mixclient.Network, now time.Time) (*task, time.Time) {
	var soonest time.Time
	for i, j := range o.turn {
		a, ok := o.cfg.Account(j.message.Account)
		if !ok || a.Network() != network {
			continue
		}
		for k := range j.parts {
			p := j.parts[(j.next+k)%len(j.parts)]
			t, at := o.takePart(a, p, now)
			if t != nil {
				j.next = (j.next + k + 1) % len(j.parts)
				if t.lookup && !j.asked {
					// It keeps its place: whoever writes to someone new is not to wait
					// behind all who came later.
					j.asked = true
					return t, time.Time{}
				}
				j.served = true
				o.turn = append(slices.Delete(o.turn, i, i+1), j)
				return t, time.Time{}
			}
			if !at.IsZero() && (soonest.IsZero() || at.Before(soonest)) {
				soonest = at
			}
		}
	}
	return nil, soonest
}

func (o *Outbox) takePart(a Account, p *part, now time.Time) (*task, time.Time) {
	ready, at := o.prepare(a, p, now)
	switch {
	case !ready:
		return nil, at
	case p.State == Queued:
		who := lookup{p.job.message.Account, p.Address}
		if o.asking[who] {
			return nil, time.Time{} // what comes of it serves this part too
		}
		p.asking, o.asking[who] = true, true
		return &task{part: p, lookup: true}, time.Time{}
	}
	return p.takeBlock(now)
}

// prepare begins what p needs no slot for: to be sealed, or to end. It reports
// whether there is something for a slot to carry, or else when to look again
// (zero: not before something else happens). o.mu must be held.
func (o *Outbox) prepare(a Account, p *part, now time.Time) (ready bool, at time.Time) {
	if p.busy || p.asking || p.stopped {
		return false, time.Time{}
	}
	if now.Before(p.notBefore) {
		return false, p.notBefore
	}
	switch {
	case p.fate != nil:
		o.end(p)
	case p.State == Queued && now.Before(time.UnixMilli(p.job.message.NotBefore)):
		return false, time.UnixMilli(p.job.message.NotBefore)
	case p.State == Queued:
		return o.prepareQueued(a, p), time.Time{}
	case p.State == Sealed && p.missing == 0: // a crash came before it was noted
		o.inSpool(p)
	case p.State == Sealed:
		return o.findLane(a, p), time.Time{}
	case p.State == Confirmed:
		p.fate = p.deliveredFate()
		o.end(p)
	}
	return false, time.Time{}
}

// prepareAll prepares what is new while a query of the engine waits for its
// slot: a mail that comes meanwhile is sealed when its turn comes. o.mu must be
// held.
func (o *Outbox) prepareAll(network mixclient.Network, now time.Time) {
	for _, j := range o.turn {
		a, ok := o.cfg.Account(j.message.Account)
		if !ok || a.Network() != network {
			continue
		}
		for _, p := range j.parts {
			if !p.unknown {
				o.prepare(a, p, now)
			}
		}
	}
}

// add takes up a new job. Its first turn comes before the second of any other: a
// short mail does not wait until a long one has had one slot more. o.mu must be
// held.
func (o *Outbox) add(j *job) {
	o.jobs[j.id] = j
	at := slices.IndexFunc(o.turn, func(k *job) bool { return k.served })
	if at < 0 {
		at = len(o.turn)
	}
	o.turn = slices.Insert(o.turn, at, j)
	o.stir()
}

// takeBlock takes a block that is due.
func (p *part) takeBlock(now time.Time) (*task, time.Time) {
	var soonest time.Time
	for i, a := range p.again {
		if !a.at.After(now) {
			p.again = slices.Delete(p.again, i, i+1)
			if !p.ready(a.index) { // its lane is another than when it got lost
				p.fresh = slices.Insert(p.fresh, 0, a.index)
				return p.takeBlock(now)
			}
			return &task{part: p, index: a.index, lane: *p.lane}, time.Time{}
		}
		if soonest.IsZero() || a.at.Before(soonest) {
			soonest = a.at
		}
	}
	i := slices.IndexFunc(p.fresh, p.ready)
	if i < 0 {
		return nil, soonest
	}
	index := p.fresh[i]
	p.fresh = slices.Delete(p.fresh, i, i+1)
	return &task{part: p, index: index, lane: *p.lane}, time.Time{}
}

// refused puts the part off: what refused it may pass.
func (o *Outbox) refused(p *part, err error) {
	p.refusal = err
	p.backoff = min(max(2*p.backoff, o.cfg.Times.RetryFirst), o.cfg.Times.RetryMost)
	p.notBefore = o.cfg.Now().Add(p.backoff/2 + rand.N(p.backoff))
}

// lostDelay draws the wait before a lost packet is sent once more: it must not be
// a fixed time, by which an observer could confirm a guess.
func lostDelay(network mixclient.Network) time.Duration {
	return time.Duration(rand.ExpFloat64() * float64(network.Status().RoundTrip))
}

// remove forgets a part that is done, and its job with the last one. o.mu must be
// held.
func (o *Outbox) remove(p *part) {
	j := p.job
	if p.State == Done {
		j.done = append(j.done, p.recipient)
	}
	j.parts = slices.DeleteFunc(j.parts, func(q *part) bool { return q == p })
	j.next = 0
	if len(j.parts) == 0 {
		delete(o.jobs, j.id)
		o.turn = slices.DeleteFunc(o.turn, func(k *job) bool { return k == j })
	}
}
