package directory

import (
	"testing"
	"time"
)

// TestSteady has a clock jump ahead, and stay there or be put right.
func TestSteady(t *testing.T) {
	p := DefaultParameters()
	start := p.EpochStart(1000)
	for _, test := range []struct {
		name  string
		looks []time.Duration // after start, by the clock
		want  []bool
	}{
		{"goes on", []time.Duration{0, time.Second, time.Minute, 20 * time.Minute}, []bool{true, true, true, true}},
		{"jumps and stays", []time.Duration{0, 5 * time.Hour, 5*time.Hour + 9*time.Minute, 5*time.Hour + 10*time.Minute}, []bool{true, false, false, true}},
		{"jumps and is put right", []time.Duration{0, 5 * time.Hour, time.Minute, 2 * time.Minute}, []bool{true, false, true, true}},
		{"jumps twice", []time.Duration{0, 5 * time.Hour, 10 * time.Hour, 10*time.Hour + 5*time.Minute}, []bool{true, false, false, false}},
		{"is put back by a second while it waits", []time.Duration{0, 5 * time.Hour, 5*time.Hour - time.Second, 5*time.Hour + time.Minute}, []bool{true, false, false, false}},
	} {
		var s Steady
		for i, at := range test.looks {
			if got := s.Look(start.Add(at), p); got != test.want[i] {
				t.Errorf("a clock that %s, look %d: %v, want %v", test.name, i, got, test.want[i])
			}
		}
	}
}
