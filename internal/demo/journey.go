package demo

import (
	"slices"
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
	Paid                       time.Time // the work for the first block was done; zero if it cost none
	InSpool, Delivered         time.Time
	Confirmed, Failed          time.Time
	Visible                    time.Time         // over IMAP; whoever watches sets it
	Before                     time.Time         // the last slot that another mail of the account had before it
	Count                      uint32            // blocks
	LookUp                     *mixclient.Timing // nil if the keys were known
	Sent, Read                 map[uint32]mixclient.Timing
}

// A Breakdown says where a message's time went. Slots, Delays, Work and Overhead add
// up to Total.
type Breakdown struct {
	Total    time.Duration // from SMTP's 250 to Visible, or to Delivered if nobody watched
	Slots    time.Duration // waits for slots: of queries, and until a read came by
	Delays   time.Duration // drawn for the mixes
	Work     time.Duration // that the recipient's provider asks of strangers
	Overhead time.Duration // all else: our own and the machine's

	// What Overhead is made of, each measured by itself.
	Sealing  time.Duration // until the queries waited for their slots: keys, sealing, disk
	Carrying time.Duration // of the packets' round trips, what was not drawn: nodes and links
	Storing  time.Duration // until the mail was in INBOX: opening, checking, disk
	Showing  time.Duration // until IMAP told of it
}

// Rest is what the parts of Overhead do not explain. It is zero but for a mistake
// in the measurement, or a packet that got lost.
func (b Breakdown) Rest() time.Duration {
	return b.Overhead - b.Sealing - b.Carrying - b.Storing - b.Showing
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
	end := j.Delivered
	if !j.Visible.IsZero() {
		end = j.Visible
	}
	b := Breakdown{Total: end.Sub(j.Submitted), Storing: j.Delivered.Sub(read.Received), Showing: end.Sub(j.Delivered)}
	from := j.Submitted
	if l := j.LookUp; l != nil {
		b.Sealing += l.Asked.Sub(from)
		b.Slots += l.Sent.Sub(l.Asked)
		b.Delays += l.Up + l.Down
		b.Carrying += l.Received.Sub(l.Sent) - l.Up - l.Down
		from = l.Received
	}
	if j.Before.After(from) {
		turn := j.Before
		if sent.Asked.Before(turn) { // it is put while the slot of the one before is given, not yet there
			turn = sent.Asked
		}
		b.Slots += turn.Sub(from)
		from = turn
	}
	b.Work = j.work(from, sent.Asked)
	b.Sealing += sent.Asked.Sub(from) - b.Work
	b.Slots += sent.Sent.Sub(sent.Asked)
	b.Delays += sent.Up + read.Down
	blockThere := sent.Sent.Add(sent.Up)
	met := blockThere
	if readThere := read.Sent.Add(read.Up); readThere.After(blockThere) {
		b.Slots += readThere.Sub(blockThere)
		met = readThere
	}
	b.Carrying += read.Received.Sub(met) - read.Down
	b.Overhead = b.Total - b.Slots - b.Delays - b.Work
	return b, true
}

// work returns how long the work for the first block took between from and to. What
// was done while other mail had the slots held up nothing.
func (j *Journey) work(from, to time.Time) time.Duration {
	if j.Paid.IsZero() {
		return 0
	}
	if j.Sealed.After(from) {
		from = j.Sealed
	}
	if j.Paid.Before(to) {
		to = j.Paid
	}
	return max(to.Sub(from), 0)
}

// A Log follows all journeys. Its Observe is a progress.Func.
type Log struct {
	// Changed, if set, is called after each event with a copy of its journey.
	Changed func(progress.Event, Journey)

	mu       sync.Mutex // guards all below
	byOutbox map[string]*Journey
	byID     map[seal.ID]*Journey
	slot     map[string]time.Time // the last that carried mail, by account
}

// Observe takes an event.
func (l *Log) Observe(e progress.Event) {
	l.mu.Lock()
	if l.byOutbox == nil {
		l.byOutbox, l.byID, l.slot = map[string]*Journey{}, map[seal.ID]*Journey{}, map[string]time.Time{}
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
		if t.Sent.After(l.slot[e.Account]) {
			l.slot[e.Account] = t.Sent
		}
	case progress.Sealed:
		j.Sealed, j.Message, j.Count = e.At, e.Message, e.Count
		l.byID[e.Message] = j
	case progress.Paid:
		if e.Index == 0 {
			j.Paid = e.At
		}
	case progress.Sent:
		if _, there := j.Read[e.Index]; !there { // a repetition that comes late explains nothing
			j.Sent[e.Index] = e.Timing
		}
		if len(j.Sent) == 1 && j.Before.IsZero() {
			j.Before = l.slot[e.Account]
		}
		l.slot[e.Account] = e.Timing.Sent
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

// Journeys returns all journeys in the order in which they were submitted.
func (l *Log) Journeys() []Journey {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Journey
	for _, j := range l.byOutbox {
		c := *j
		c.Sent, c.Read = clone(j.Sent), clone(j.Read)
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Journey) int { return a.Submitted.Compare(b.Submitted) })
	return all
}

func clone(m map[uint32]mixclient.Timing) map[uint32]mixclient.Timing {
	c := make(map[uint32]mixclient.Timing, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
