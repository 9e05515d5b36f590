package node

import (
	"testing"
	"time"
)

// Replies leave at multiples of one time, which grows until few miss it and goes
// back when it need not be so long.
func TestMoment(t *testing.T) {
	now := time.Unix(1_772_366_400, 0)
	var m moment
	replies := func(n int, took time.Duration, late bool) {
		t.Helper()
		for range n {
			quantum := m.quantum
			wait, after, missed := m.after(took, now)
			if missed != late {
				t.Fatalf("a reply that took %v is late: %v, with %v", took, missed, quantum)
			}
			if left := took + wait; wait <= 0 || wait > m.quantum || left%m.quantum != 0 || after != m.quantum {
				t.Fatalf("a reply that took %v leaves after %v, with %v", took, left, m.quantum)
			}
		}
	}
	quantum := func(want time.Duration) {
		t.Helper()
		if m.quantum != want {
			t.Fatalf("replies leave after %v, want %v", m.quantum, want)
		}
	}
	minute := func() { now = now.Add(momentWindow) }
	replies(1000, time.Millisecond, false)
	replies(2, 60*time.Millisecond, true)
	quantum(50 * time.Millisecond)
	minute() // two in each of many minutes do no harm
	for range 10 {
		replies(2, 60*time.Millisecond, true)
		minute()
	}
	quantum(50 * time.Millisecond)
	replies(3, 120*time.Millisecond, true)
	quantum(100 * time.Millisecond)
	replies(3, 120*time.Millisecond, true)
	quantum(200 * time.Millisecond)
	replies(100, 120*time.Millisecond, false)
	for range 20 { // still needed
		minute()
		replies(100, 120*time.Millisecond, false)
	}
	quantum(200 * time.Millisecond)
	minute()
	for range calmWindows {
		replies(100, 80*time.Millisecond, false)
		minute()
	}
	replies(1, 0, false)
	quantum(100 * time.Millisecond)
	now = now.Add(time.Hour) // nobody asked
	replies(1, 0, false)
	quantum(50 * time.Millisecond)
	replies(100, time.Second, true) // never beyond the most
	quantum(mostQuantum)
}
