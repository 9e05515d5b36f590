package inbox

import (
	"slices"
	"sync"
	"time"

	"mailproxy/proxy/seal"
)

// An Arrival is a message of which not all is here yet. Who it is from is in its
// first block, and not believed before the last.
type Arrival struct {
	Since  time.Time `json:"since"`  // its first block
	Here   int       `json:"here"`   // blocks
	Blocks int       `json:"blocks"` // of the message
}

// maxArrivals is how many messages Arriving returns: anybody can send first blocks.
const maxArrivals = 100

// shown is what others see of the messages that are not delivered.
type shown struct {
	mu   sync.Mutex // guards what follows; nothing is called while it is held
	list map[seal.ID]shownMessage
}

type shownMessage struct {
	Arrival
	held     bool
	heldFrom string // of a mail that is held, under which address it came
	heldWith string // and the identity key that sealed it
}

func (s *shown) put(id seal.ID, p *partial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = map[seal.ID]shownMessage{}
	}
	m := shownMessage{Arrival: Arrival{Since: p.first, Here: len(p.have), Blocks: int(p.count)}, held: p.held != nil}
	if m.held && p.held.kind == seal.KindMail {
		m.heldFrom, m.heldWith = p.held.sender, string(p.held.identity)
	}
	s.list[id] = m
}

func (s *shown) remove(id seal.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, id)
}

// forgetPartial takes a message that is done with out of memory. in.mu is held.
func (in *Inbox) forgetPartial(id seal.ID) {
	in.parts -= len(in.partial[id].have)
	delete(in.partial, id)
	in.shown.remove(id)
}

// Waiting returns how many messages are incomplete and how many are held.
func (in *Inbox) Waiting() (incomplete, held int) {
	in.shown.mu.Lock()
	defer in.shown.mu.Unlock()
	for _, m := range in.shown.list {
		if m.held {
			held++
		} else {
			incomplete++
		}
	}
	return incomplete, held
}

// HeldFrom returns how many mails are held of each sender of whom any is.
func (in *Inbox) HeldFrom() map[string]int {
	in.shown.mu.Lock()
	defer in.shown.mu.Unlock()
	n := map[string]int{}
	for _, m := range in.shown.list {
		if m.heldFrom != "" {
			n[m.heldFrom]++
		}
	}
	return n
}

// HeldWith returns how many mails of a sender are held that were sealed with a key.
func (in *Inbox) HeldWith(sender string, identity []byte) (n int) {
	in.shown.mu.Lock()
	defer in.shown.mu.Unlock()
	for _, m := range in.shown.list {
		if m.heldFrom == sender && m.heldWith == string(identity) {
			n++
		}
	}
	return n
}

// Arriving returns the messages that are not complete, or are being delivered, the
// oldest first, and no more than maxArrivals.
func (in *Inbox) Arriving() []Arrival {
	in.shown.mu.Lock()
	var list []Arrival
	for _, m := range in.shown.list {
		if !m.held {
			list = append(list, m.Arrival)
		}
	}
	in.shown.mu.Unlock()
	slices.SortFunc(list, func(a, b Arrival) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return b.Here - a.Here
	})
	return list[:min(len(list), maxArrivals)]
}
