package main

import "testing"

// TestClockWords: the direction is that of this computer's clock.
func TestClockWords(t *testing.T) {
	for off, want := range map[float64]string{
		184.4:  "this computer's clock is 184 s behind the network's",
		-90:    "this computer's clock is 90 s ahead of the network's",
		3:      "a node is broken, or packets are dropped on purpose",
		-19.99: "a node is broken, or packets are dropped on purpose",
	} {
		if got := lossReason(off); got != want {
			t.Errorf("off by %v: %q, want %q", off, got, want)
		}
	}
}
