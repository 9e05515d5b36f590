package main

import (
	"testing"
	"time"

	"mailproxy/internal/demo"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []time.Duration
		want time.Duration
	}{
		{[]time.Duration{3}, 3},
		{[]time.Duration{9, 1, 5}, 5},
		{[]time.Duration{8, 2, 4, 100}, 6},
	} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.in, got, c.want)
		}
	}
}

// TestCheck checks that a breakdown that does not add up is found.
func TestCheck(t *testing.T) {
	good := mail{total: 5 * time.Second, Breakdown: demo.Breakdown{
		Total: 5 * time.Second, Slots: 2 * time.Second, Delays: 2900 * time.Millisecond, Overhead: 100 * time.Millisecond,
		Sealing: 40 * time.Millisecond, Carrying: 50 * time.Millisecond, Storing: 10 * time.Millisecond,
	}}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*mail){
		"another time by our clock": func(m *mail) { m.total += 50 * time.Millisecond },
		"a part that is missing":    func(m *mail) { m.Carrying = 0 },
		"a negative part":           func(m *mail) { m.Sealing, m.Carrying = 200*time.Millisecond, -110*time.Millisecond },
		"a negative wait":           func(m *mail) { m.Slots, m.Delays = -time.Second, 5900*time.Millisecond },
	} {
		bad := good
		change(&bad)
		if bad.check() == nil {
			t.Errorf("%s is not found", what)
		}
	}
}
