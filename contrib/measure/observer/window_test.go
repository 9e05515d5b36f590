package main

import (
	"math"
	"slices"
	"testing"
	"time"
)

// hand is a window of ten seconds that can be worked out by hand; before it, two
// packets have gone up and one has come down.
func hand() []event {
	s := time.Second
	return []event{
		{at: 80 * s, up: true, size: 100}, {at: 90 * s, up: true, size: 100}, {at: 95 * s, size: 100},
		{at: 101 * s, up: true, size: 100, mix: 1}, {at: 102 * s, up: true, size: 100}, {at: 104 * s, up: true, size: 130},
		{at: 106 * s, size: 100, mix: 1}, {at: 109 * s, size: 90, mix: 1},
		{at: 110 * s, up: true, size: 5000}, // not of this window any more
	}
}

func TestFeatures(t *testing.T) {
	for v, want := range map[view]map[string]float64{
		link: {
			"up count": 3, "down count": 2, "up gap mean": 1.5, "up gap deviation": math.Sqrt(0.5), "up gap least": 1, "up gap most": 2,
			"down gap mean": 3, "down gap deviation": 0, "both gap mean": 2, "both gap p50": 2, "down after up mean": 3.5,
			"up size mean": 110, "up size most": 130, "down size least": 90, "up clumps": 7. / 9,
			"flight at first": 1, "flight mean": 1 + 18./10, "flight least": 1, "flight most": 4, "flight range": 3,
			"flight turns": 1, "flight longest rise": 3, "flight longest fall": 2,
		},
		gateway: {
			"up count": 3, "flight at first": 1, "flight mean": 1 + 18./10, "up mixes": 1. / 3, "down mixes": 1,
		},
	} {
		for _, scale := range []time.Duration{1, 10} { // the same faster is the same
			events := hand()
			for i := range events {
				events[i].at /= scale
			}
			got := features(v, events, 100*time.Second/scale, 10*time.Second/scale, float64(scale))
			for name, x := range want {
				i := slices.Index(names[v], name)
				if i < 0 {
					t.Fatalf("%v has no feature %q", v, name)
				}
				near(t, v.String()+", "+name, got[i], x, 1e-9)
			}
		}
	}
}

// What was in flight long ago and has not come down is lost, and no level for ever.
func TestLostPacketsAreForgotten(t *testing.T) {
	lost := []event{{at: 0, up: true}, {at: time.Second, up: true}}
	events := append(slices.Clone(lost), hand()...)
	i := slices.Index(names[link], "flight at first")
	if got := features(link, events, 100*time.Second, 10*time.Second, 1)[i]; got != 3 {
		t.Errorf("with packets that are under way, %v are in flight, want 3", got)
	}
	// Long after the first two, memory begins at the one before the window.
	for j := range events[2:] {
		events[2+j].at += time.Hour
	}
	if got := features(link, events, time.Hour+100*time.Second, 10*time.Second, 1)[i]; got != 1 {
		t.Errorf("long after two were lost, %v are in flight, want 1", got)
	}
}

// No window, not even an empty one, has a feature that a classifier cannot take.
func TestFeaturesAreNumbers(t *testing.T) {
	for n := range len(hand()) {
		for v := range views {
			got := features(v, hand()[:n], 100*time.Second, 10*time.Second, 1)
			if len(got) != len(names[v]) {
				t.Fatalf("%d features, want %d", len(got), len(names[v]))
			}
			for i, x := range got {
				if math.IsNaN(x) || math.IsInf(x, 0) {
					t.Errorf("%d events: %v, %s is %v", n, v, names[v][i], x)
				}
			}
		}
	}
}

func TestCut(t *testing.T) {
	r := &recording{tape: &tape{link: hand(), gate: hand()}, calm: 85 * time.Second, start: 90 * time.Second, end: 125 * time.Second}
	windows := cut(r, 10*time.Second, 1)
	if len(windows) != 3 {
		t.Fatalf("%d windows of 10 s in 35 s, want 3", len(windows))
	}
	var ups []float64
	for _, w := range windows {
		ups = append(ups, w[link][slices.Index(names[link], "up count")])
	}
	if want := []float64{1, 3, 1}; !slices.Equal(ups, want) {
		t.Errorf("packets up in the windows: %v, want %v", ups, want)
	}
	// What was written down late, in another order than it came, changes nothing.
	late := hand()
	slices.Reverse(late)
	r.tape = &tape{link: late, gate: slices.Clone(late)}
	for i, w := range cut(r, 10*time.Second, 1) {
		for v := range views {
			if !slices.Equal(w[v], windows[i][v]) {
				t.Errorf("window %d, %v: other features in another order", i, v)
			}
		}
	}
}

// A third of the clients is learnt from, and in each round both halves of the control
// have as many.
func TestTrains(t *testing.T) {
	var learnt, all float64
	for round := range 6 {
		for number := range 4 {
			train, half := trains(round, number)
			other, otherHalf := trains(round, number^1)
			if train != other || half == otherHalf {
				t.Errorf("round %d: clients %d and %d are no pair of the control", round, number, number^1)
			}
			all++
			if train {
				learnt++
			}
		}
	}
	near(t, "share to learn from", learnt/all, 1./3, 1e-9)
	if a, _ := trains(0, 0); !a {
		t.Error("nothing is learnt in a run of one round")
	}
	if a, _ := trains(0, 2); a {
		t.Error("nothing is held out in a run of one round")
	}
}

func TestMemory(t *testing.T) {
	var windows []window
	x := 1.0
	for i := range 2000 {
		x = math.Mod(x*1103515245+12345, 1<<31)
		w := window{client: i / 100}
		for v := range views {
			w.features[v] = make([]float64, len(names[v]))
			w.features[v][3] = math.Mod(x, 1000)
		}
		if i%2 == 1 { // each second window repeats the one before
			w.features[gateway][3] = windows[i-1].features[gateway][3]
		}
		windows = append(windows, w)
	}
	r, where := memory(windows)
	if where != "gateway, "+names[gateway][3] || r < 0.3 {
		t.Errorf("the largest correlation is %v of %q", r, where)
	}
}
