package demo

import (
	"sync"
	"time"

	"mailproxy/mixclient"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
)

// A Journey is the way of one message to one recipient, from both sides: that is
// possible only where one process holds both.
type Journey struct {
	Account, Recipient, Outbox string
	Message                    seal.ID
	Submitted, Sealed          time.Time
	InSpool, Delivered         time.Time
	Confirmed, Failed          time.Time
	Count                      uint32            // blocks
	LookUp                     *mixclient.Timing // nil if the keys were known
	Sent, Read                 map[uint32]mixclient.Timing
}

// A Breakdown says where a message's time went. The parts add up to Total.
type Breakdown struct {
	Total    time.Duration
	Slots    time.Duration // waits for slots: of queries, and until a read came by
	Delays   time.Duration // drawn for the mixes
	Overhead time.Duration // all else: our own work and the machine's
}

// Breakdown returns where the time of a delivered message of one block went. It
// returns false for any other. The block and the read that fetched it travel at
// the same time; what the block had to wait for is the read's arrival at the
// spool.
func (j *Journey) Breakdown() (Breakdown, bool) {
	sent, ok1 := j.Sent[0]
	read, ok2 := j.Read[0]
	if !ok1 || !ok2 || j.Count != 1 || j.Delivered.IsZero() {
		return Breakdown{}, false
	}
	b := Breakdown{Total: j.Delivered.Sub(j.Submitted)}
	if l := j.LookUp; l != nil {
		b.Slots += l.Sent.Sub(l.Asked)
		b.Delays += l.Up + l.Down
	}
	b.Slots += sent.Sent.Sub(sent.Asked)
	b.Delays += sent.Up + read.Down
	blockThere := sent.Sent.Add(sent.Up)
	readThere := read.Sent.Add(read.Up)
	b.Slots += max(readThere.Sub(blockThere), 0)
	b.Overhead = b.Total - b.Slots - b.Delays
	return b, true
}

// A Log follows all journeys. Its Observe is a progress.Func.
type Log struct {
	// Changed, if set, is called after each event with a copy of its journey.
	Changed func(progress.Event, Journey)

	mu       sync.Mutex // guards all below
	byOutbox map[string]*Journey
	byID     map[seal.ID]*Journey
}

// Observe takes an event.
func (l *Log) Observe(e progress.Event) {
	l.mu.Lock()
	if l.byOutbox == nil {
		l.byOutbox, l.byID = map[string]*Journey{}, map[seal.ID]*Journey{}
	}
	var j *Journey
	if e.Outbox != "" {
		key := e.Outbox + " " + e.Recipient
		j = l.byOutbox[key]
		if j == nil {
			j = &Journey{
				Account: e.Account, Recipient: e.Recipient, Outbox: e.Outbox,
				Sent: map[uint32]mixclient.Timing{}, Read: map[uint32]mixclient.Timing{},
			}
			l.byOutbox[key] = j
		}
	} else if j = l.byID[e.Message]; j == nil {
		// A message from before a restart: the other side's events are gone.
		j = &Journey{Message: e.Message, Sent: map[uint32]mixclient.Timing{}, Read: map[uint32]mixclient.Timing{}}
		l.byID[e.Message] = j
	}
	switch e.Kind {
	case progress.Submitted:
		j.Submitted = e.At
	case progress.LookedUp:
		t := e.Timing
		j.LookUp = &t
	case progress.Sealed:
		j.Sealed, j.Message, j.Count = e.At, e.Message, e.Count
		l.byID[e.Message] = j
	case progress.Sent:
		j.Sent[e.Index] = e.Timing
	case progress.Read:
		if _, have := j.Read[e.Index]; !have { // a repeated read brings nothing
			j.Read[e.Index] = e.Timing
		}
	case progress.InSpool:
		j.InSpool = e.At
	case progress.Delivered:
		j.Delivered = e.At
	case progress.Confirmed:
		j.Confirmed = e.At
	case progress.Failed:
		j.Failed = e.At
	}
	c := *j
	changed := l.Changed
	if changed != nil {
		c.Sent, c.Read = clone(j.Sent), clone(j.Read)
	}
	l.mu.Unlock()
	if changed != nil {
		changed(e, c)
	}
}

func clone(m map[uint32]mixclient.Timing) map[uint32]mixclient.Timing {
	c := make(map[uint32]mixclient.Timing, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
