// Package loss keeps the share of a member's own loops that did not come back: an
// attack in which others' packets are dropped (n-1), or a broken node, shows there
// first. It is a leaf; mixnet/node and mixclient/builtin import it.
package loss

import (
	"sync"
	"time"
)

const (
	window  = 100 // the last loops that count
	enough  = 20  // of them, before anything is said
	tooMany = 0.1 // share of them lost, above which a warning is due
)

// A Monitor counts loops. The zero value is ready; its methods may be called from
// any goroutine.
type Monitor struct {
	mu         sync.Mutex // guards all below
	sent, back uint64
	lost       [window]bool // of the last loops that ended, a ring
	ended      int
	alarmed    bool
}

// Sent notes a loop that left.
func (m *Monitor) Sent() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent++
}

// Ended notes what became of a loop. It returns changed when it is time to warn,
// with alarm, or to say that all is well again.
func (m *Monitor) Ended(back bool) (alarm, changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if back {
		m.back++
	}
	m.lost[m.ended%window] = !back
	m.ended++
	alarm = m.ended >= enough && m.share() > tooMany
	changed = alarm != m.alarmed
	m.alarmed = alarm
	return alarm, changed
}

// Void notes that a loop that left says nothing: this machine slept, or had no
// connection, while it was under way.
func (m *Monitor) Void() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent--
}

// sleepSlack is how much longer than planned a wait must have taken before the
// machine counts as having slept: longer than a busy machine is late.
const sleepSlack = 5 * time.Second

// Slept reports whether the machine slept in a wait that was planned to end d after
// began, and has ended now; both are readings of the wall clock. Where timers stand
// still in sleep, as on Linux, they end late by that clock; where they do not, they
// end late when it wakes. A clock that was set forward looks the same, which costs
// no more than what the wait was for.
func Slept(began, now time.Time, d time.Duration) bool {
	return now.Round(0).Sub(began.Round(0)) > d+sleepSlack
}

// share returns the share of the last loops that were lost. m.mu is held.
func (m *Monitor) share() float64 {
	n := min(m.ended, window)
	if n == 0 {
		return 0
	}
	lost := 0
	for _, l := range m.lost[:n] {
		if l {
			lost++
		}
	}
	return float64(lost) / float64(n)
}

// A Report says how a member's loops fare.
type Report struct {
	Sent, Back uint64  // since the start
	Lost       float64 // share of the last hundred that ended
	Alarm      bool    // so many that something is wrong
}

// Report returns how the loops fare.
func (m *Monitor) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Report{Sent: m.sent, Back: m.back, Lost: m.share(), Alarm: m.alarmed}
}
