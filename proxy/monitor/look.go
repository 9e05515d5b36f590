package monitor

import (
	"math/rand/v2"
	"time"
)

// When addresses are looked up: each at a time of its own, so that those which are
// looked up do not show by it that they belong together.
const (
	lookAgain = 24 * time.Hour // mean, until a known own address is compared again
	// lookSlots is the mean wait, in slots for queries, of an own address that is
	// not known any more, or of any that is tried again: half an hour at the usual
	// rate.
	lookSlots = 1000
	// lookLate and lateSlots are how late a look-up may be. If the daemon was off or
	// asleep for longer, it gets another time: several could be late by now.
	lookLate, lateSlots = 10 * time.Minute, 10 * everySlots
)

// A look is when an address is to be looked up, for as long as this is what is known
// of it.
type look struct {
	at     time.Time
	known  bool
	failed int64
}

// random returns a wait of this mean. The waits have no memory: it does no harm that
// they begin anew with the daemon.
func random(mean time.Duration) time.Duration {
	return time.Duration(rand.ExpFloat64() * float64(mean))
}

// due returns an address of a provider that is to be looked up now. slot is the mean
// time between two slots for queries. m.mu is held.
func (m *Monitor) due(p *provider, own map[string][32]byte, now time.Time, slot time.Duration) (addr string, ok bool) {
	if !p.asks() {
		return "", false
	}
	for a := range own {
		n, seen := p.names[a]
		mean := lookSlots * slot
		switch {
		case n.Failed != 0:
			continue // it is among those below
		case n.Known:
			mean = lookAgain
		case !seen:
			mean = spreadOver * slot
		}
		if m.at(a, n, now, mean, slot) {
			addr = a
		}
	}
	for a, n := range p.names {
		if n.Failed != 0 && m.at(a, n, now, lookSlots*slot, slot) {
			addr = a
		}
	}
	return addr, addr != ""
}

// at reports whether it is time to look an address up, and sets that time if there
// is none.
func (m *Monitor) at(addr string, n nameRecord, now time.Time, mean, slot time.Duration) bool {
	l, ok := m.looks[addr]
	if !ok || l.known != n.Known || l.failed != n.Failed || now.Sub(l.at) > max(lookLate, lateSlots*slot) {
		l = look{at: now, known: n.Known, failed: n.Failed}
		if first := time.Unix(n.Failed, 0).Add(retryFailed); n.Failed != 0 && first.After(now) {
			l.at = first
		}
		l.at = l.at.Add(m.random(mean))
		m.looks[addr] = l
	}
	return !now.Before(l.at)
}
