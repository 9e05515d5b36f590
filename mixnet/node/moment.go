package node

import (
	"sync"
	"time"
)

// answerQuantum is when a reply leaves, after its query came, or, where the machine
// was slower, a multiple of it. An append waits for the disk, a read does not, and a
// loop does nothing: the time of a reply must not tell which it was. Synced appends
// took 1 ms in the median and 15 in the 99th percentile where a solid-state disk was
// a spool's alone, and 0.4 % of them more than 20 ms; beside other programs that
// sync, every tenth took more than 50 (BenchmarkFlood in spool/server). So on a
// machine that is slow the time is doubled until few replies miss it, and halved
// when it is no longer needed. That tells how busy the machine is, which is no
// query's secret. A mail waits for two such times, at most.
const (
	answerQuantum = 50 * time.Millisecond
	mostQuantum   = 400 * time.Millisecond

	// lateReplies within momentWindow double the time; calmWindows in which fewer
	// took longer than half of it halve it.
	lateReplies  = 3
	momentWindow = time.Minute
	calmWindows  = 5
)

// A moment decides when replies leave.
type moment struct {
	mu      sync.Mutex // guards all below
	quantum time.Duration
	window  time.Time // when the one began that is being counted
	late    int       // replies in it that took longer than quantum
	slow    int       // replies in it that took longer than half of quantum
	calm    int       // windows
}

// after returns how long a reply that took so long has still to wait, after which
// time replies leave now, and whether this one missed it.
func (m *moment) after(took time.Duration, now time.Time) (wait, quantum time.Duration, late bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.quantum == 0 {
		m.quantum, m.window = answerQuantum, now
	}
	if passed := now.Sub(m.window); passed >= momentWindow {
		if m.slow < lateReplies {
			m.calm += int(passed / momentWindow)
		} else {
			m.calm = 0
		}
		m.window, m.late, m.slow = now, 0, 0
		for m.calm >= calmWindows && m.quantum > answerQuantum {
			m.quantum /= 2
			m.calm -= calmWindows
		}
		m.calm = min(m.calm, calmWindows)
	}
	if took >= m.quantum/2 {
		m.slow++
	}
	if late = took >= m.quantum; late {
		if m.late++; m.late >= lateReplies && m.quantum < mostQuantum {
			m.quantum *= 2
			m.window, m.late, m.slow, m.calm = now, 0, 0, 0
		}
	}
	return m.quantum - took%m.quantum, m.quantum, late
}
