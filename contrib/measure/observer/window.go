package main

import (
	"cmp"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"
)

// A view is from where a client is watched.
type view int

const (
	link    view = iota // whoever sees its link
	gateway             // its gateway
	views               // their number
)

func (v view) String() string { return [...]string{"link", "gateway"}[v] }

// A window is a stretch of one client's traffic: what is compared.
type window struct {
	scenario scenario
	train    bool // the classifier learns from it; the others are held out
	half     int  // 0 or 1: of the control, which compares one half of a scenario's clients with the other
	client   int  // of all that were recorded
	features [views][]float64
}

// trains says whether a classifier learns from the client with that number in a
// round: from a third of the clients, two of three rounds in turn having some. half
// says on which side of the control it is. All windows of a client go the same way,
// so that nothing of a client that is held out was ever learnt.
func trains(round, number int) (train bool, half int) {
	return (round+number/2)%3 == 0, number % 2
}

// cut cuts a recording into windows of a length on this machine's clock. Times in
// features are multiplied by scale: they are those of scale 1.
func cut(r *recording, length time.Duration, scale float64) (list [][views][]float64) {
	var calm [views][]event
	for v, events := range [views][]event{link: r.tape.link, gateway: r.tape.gate} {
		// Both ways are taken down by goroutines of their own: on a machine that has
		// more to do than it can, one may look at the clock and write later.
		events = slices.Clone(events)
		slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
		calm[v] = events[firstSince(events, r.calm):]
	}
	for at := r.start; at+length <= r.end; at += length {
		var w [views][]float64
		for v := range views {
			w[v] = features(v, calm[v], at, length, scale)
		}
		list = append(list, w)
	}
	return list
}

// firstSince returns the place of the first event that is not before a time.
func firstSince(events []event, t time.Duration) int {
	i, _ := slices.BinarySearchFunc(events, t, func(e event, t time.Duration) int { return int(e.at - t) })
	return i
}

// bins is in how many parts a window is cut to see whether packets come in clumps.
const bins = 10

// names has the features of each view, in the order of what features returns.
var names = func() (n [views][]string) {
	for v := range views {
		n[v] = []string{}
		describe(v, nil, 0, time.Second, 1, func(name string, _ float64) { n[v] = append(n[v], name) })
	}
	return n
}()

// features returns what is to be seen in a window that begins at a time.
func features(v view, events []event, at, length time.Duration, scale float64) []float64 {
	list := make([]float64, 0, len(names[v]))
	describe(v, events, at, length, scale, func(_ string, x float64) { list = append(list, x) })
	return list
}

// describe works out all features of a window. What there is too little of to be
// worked out is zero; a gap that there is not is as long as the window.
func describe(v view, events []event, at, length time.Duration, scale float64, add func(name string, x float64)) {
	first, last := firstSince(events, at), firstSince(events, at+length)
	before, in := events[:first], events[first:last]
	whole := length.Seconds() * scale
	seconds := func(d time.Duration) float64 { return d.Seconds() * scale }

	var times [2][]float64 // up, down
	var sizes, mixes [2][]float64
	var binned [2][]float64
	for side := range 2 {
		binned[side] = make([]float64, bins)
	}
	for _, e := range in {
		side := sideOf(e)
		t := seconds(e.at - at)
		times[side] = append(times[side], t)
		sizes[side] = append(sizes[side], float64(e.size))
		mixes[side] = append(mixes[side], float64(e.mix))
		binned[side][min(bins-1, int(t/whole*bins))]++
	}
	for side, name := range []string{"up", "down"} {
		add(name+" count", float64(len(times[side])))
		spread(name+" gap", gaps(times[side]), whole, add)
		add(name+" gap autocorrelation", autocorrelation(gaps(times[side])))
		add(name+" clumps", dispersion(binned[side]))
		if v == link {
			add(name+" size mean", mean(sizes[side]))
			add(name+" size least", least(sizes[side]))
			add(name+" size most", most(sizes[side]))
		} else {
			add(name+" mixes", mean(mixes[side]))
		}
	}
	var all []float64
	for _, e := range in {
		all = append(all, seconds(e.at-at))
	}
	spread("both gap", gaps(all), whole, add)
	add("up with down", correlation(binned[0], binned[1]))
	add("up with later down", correlation(binned[0][:bins-1], binned[1][1:]))
	spread("down after up", since(in, at, scale), whole, add)
	flight(before, in, at, length, add)
}

// sideOf is 0 for what goes up, 1 for what comes down.
func sideOf(e event) int {
	if e.up {
		return 0
	}
	return 1
}

// memoryOf is for how many windows an observer remembers the number in flight.
const memoryOf = 15

// flight describes how many packets are in flight, and its steps.
func flight(before, in []event, at, length time.Duration, add func(string, float64)) {
	// The level that was lowest lately counts as none: it is reached every minute, and
	// what was lost, or came down without having been asked for, must not count for ever.
	level, none := 0.0, math.Inf(1)
	for _, e := range before {
		if e.at >= at-memoryOf*length {
			none = min(none, level)
		}
		level += step(e)
	}
	none = min(none, level)
	level -= none
	add("flight at first", level)
	lowest, highest := level, level
	var area, square, run, turns float64
	var longest [2]float64
	until := at
	for i, e := range in {
		dt := (e.at - until).Seconds()
		area, square, until = area+level*dt, square+level*level*dt, e.at
		level += step(e)
		lowest, highest = min(lowest, level), max(highest, level)
		if i > 0 && in[i-1].up != e.up {
			turns++
			run = 0
		}
		run++
		longest[sideOf(e)] = max(longest[sideOf(e)], run)
	}
	dt := (at + length - until).Seconds()
	area, square = (area+level*dt)/length.Seconds(), (square+level*level*dt)/length.Seconds()
	add("flight mean", area)
	add("flight deviation", math.Sqrt(max(0, square-area*area)))
	add("flight least", lowest)
	add("flight most", highest)
	add("flight range", highest-lowest)
	add("flight turns", turns)
	add("flight longest rise", longest[0])
	add("flight longest fall", longest[1])
}

func step(e event) float64 {
	if e.up {
		return 1
	}
	return -1
}

// since returns for each packet down how long before it the last one up was.
func since(in []event, at time.Duration, scale float64) (list []float64) {
	up := time.Duration(-1)
	for _, e := range in {
		switch {
		case e.up:
			up = e.at
		case up >= at:
			list = append(list, (e.at-up).Seconds()*scale)
		}
	}
	return list
}

// spread adds moments and quantiles of x, which are whole where x has nothing.
func spread(name string, x []float64, whole float64, add func(string, float64)) {
	x = slices.Sorted(slices.Values(x))
	if len(x) == 0 {
		x = []float64{whole}
	}
	m, deviation := x[0], 0.0
	if len(x) > 1 {
		m, deviation = stat.MeanStdDev(x, nil)
	}
	add(name+" mean", m)
	add(name+" deviation", deviation)
	add(name+" least", x[0])
	for _, q := range []struct {
		name string
		p    float64
	}{{" p10", 0.1}, {" p25", 0.25}, {" p50", 0.5}, {" p75", 0.75}, {" p90", 0.9}} {
		add(name+q.name, stat.Quantile(q.p, stat.Empirical, x, nil))
	}
	add(name+" most", x[len(x)-1])
}

// gaps returns the differences of times, which are in order.
func gaps(times []float64) (list []float64) {
	for i := 1; i < len(times); i++ {
		list = append(list, times[i]-times[i-1])
	}
	return list
}

// autocorrelation returns how each value goes with the next one.
func autocorrelation(x []float64) float64 {
	if len(x) < 2 {
		return 0
	}
	return correlation(x[:len(x)-1], x[1:])
}

// correlation returns Pearson's, or zero where there is none.
func correlation(x, y []float64) float64 {
	if len(x) < 2 {
		return 0
	}
	if r := stat.Correlation(x, y, nil); !math.IsNaN(r) {
		return r
	}
	return 0 // one of them is constant
}

// dispersion is the variance of counts by their mean, 1 for a Poisson process.
func dispersion(counts []float64) float64 {
	m, v := stat.MeanVariance(counts, nil)
	if m == 0 {
		return 0
	}
	return v / m
}

func mean(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	return stat.Mean(x, nil)
}

func least(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	return slices.Min(x)
}

func most(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	return slices.Max(x)
}
