package main

import (
	"context"
	"fmt"
	"math"
)

// A pair of scenarios, to be told apart.
type pair [2]scenario

func pairs() (list []pair) {
	for a := range scenarios {
		for b := a + 1; b < scenarios; b++ {
			list = append(list, pair{a, b})
		}
	}
	return list
}

func (p pair) String() string { return p[0].short() + ", " + p[1].short() }

// A difference is what the test of Kolmogorov and Smirnov says of one feature.
type difference struct {
	pair    pair
	view    view
	feature string
	p, holm float64
}

func (d difference) String() string {
	return fmt.Sprintf("%s: %s, %s", d.pair, d.view, d.feature)
}

// differences tests all features for all pairs, and corrects for all these tests.
func differences(windows []window, list []pair) []difference {
	var all []difference
	for _, p := range list {
		all = append(all, compare(windows, p, in(p[0]), in(p[1]))...)
	}
	correct(all)
	return all
}

// compare tests all features for two sorts of windows. Nothing is learnt for it, so
// it uses all windows.
func compare(windows []window, p pair, first, second func(*window) bool) (all []difference) {
	for v := range views {
		for f, name := range names[v] {
			x, y := values(windows, v, f, first), values(windows, v, f, second)
			all = append(all, difference{pair: p, view: v, feature: name, p: kolmogorovSmirnov(x, y)})
		}
	}
	return all
}

func correct(all []difference) {
	ps := make([]float64, len(all))
	for i, d := range all {
		ps[i] = d.p
	}
	for i, p := range holm(ps) {
		all[i].holm = p
	}
}

// smallest returns the one with the smallest p.
func smallest(all []difference) difference {
	best := all[0]
	for _, d := range all {
		if d.p < best.p {
			best = d
		}
	}
	return best
}

// in returns whether a window is of a scenario.
func in(s scenario) func(*window) bool {
	return func(w *window) bool { return w.scenario == s }
}

// idleHalf returns whether a window is of one half of the idle clients.
func idleHalf(half int) func(*window) bool {
	return func(w *window) bool { return w.scenario == idle && w.half == half }
}

func values(windows []window, v view, feature int, which func(*window) bool) (list []float64) {
	for i := range windows {
		if which(&windows[i]) {
			list = append(list, windows[i].features[v][feature])
		}
	}
	return list
}

// A success is how well a classifier has told windows apart that it has not seen.
type success struct {
	pair       pair
	view       view
	classifier string
	area
}

func (s success) String() string {
	return fmt.Sprintf("%s: %s, %s", s.pair, s.view, s.classifier)
}

// successes trains and tries all classifiers in all views, on all pairs, and with
// these on the two halves of the idle clients.
func successes(ctx context.Context, python string, windows []window, list []pair) (of, control []success, err error) {
	var tasks []task
	for _, p := range list {
		for v := range views {
			tasks = append(tasks, newTask(windows, v, in(p[0]), in(p[1])))
		}
	}
	for v := range views {
		tasks = append(tasks, newTask(windows, v, idleHalf(0), idleHalf(1)))
	}
	for _, t := range tasks {
		if t.negatives < 2 || len(t.Held) < t.negatives+2 || len(t.Train) < 4 {
			return nil, nil, fmt.Errorf("too few windows to learn from (%d) or to try on (%d): record longer", len(t.Train), len(t.Held))
		}
	}
	scores, err := classify(ctx, python, tasks)
	if err != nil {
		return nil, nil, err
	}
	for i, t := range tasks {
		for _, c := range classifiers {
			s := success{view: view(i % int(views)), classifier: c}
			x := scores[i][c]
			if p := i / int(views); p < len(list) {
				s.pair, s.area = list[p], areaUnder(x[:t.negatives], x[t.negatives:], 0.95)
				of = append(of, s)
				continue
			}
			s.area = areaUnder(x[:t.negatives], x[t.negatives:], controlConfidence)
			control = append(control, s)
		}
	}
	return of, control, nil
}

// controlConfidence is that of each interval of the control: all of them hold 0.5
// at a time with a probability of 95 % at least, if nothing tells idle from idle
// (Bonferroni).
var controlConfidence = 1 - 0.05/float64(int(views)*len(classifiers))

// best returns the success with the largest area, and the one with the largest upper
// bound.
func best(all []success) (auc, high success) {
	for _, s := range all {
		if s.auc > auc.auc {
			auc = s
		}
		if s.high > high.high {
			high = s
		}
	}
	return auc, high
}

// farthest returns the one that is farthest from chance, and whether all intervals
// hold 0.5.
func farthest(control []success) (worst success, clean bool) {
	clean = true
	worst.auc = 0.5
	for _, s := range control {
		if math.Abs(s.auc-0.5) >= math.Abs(worst.auc-0.5) {
			worst = s
		}
		if s.low > 0.5 || s.high < 0.5 {
			clean = false
		}
	}
	return worst, clean
}

// memory returns the largest correlation, over all features, of a window with the
// next one of the same client, and of which feature it is. The tests take windows
// for independent.
func memory(windows []window) (largest float64, where string) {
	for v := range views {
		for f, name := range names[v] {
			var x, y []float64
			for i := 1; i < len(windows); i++ {
				if windows[i].client == windows[i-1].client {
					x, y = append(x, windows[i-1].features[v][f]), append(y, windows[i].features[v][f])
				}
			}
			if r := correlation(x, y); math.Abs(r) > math.Abs(largest) {
				largest, where = r, v.String()+", "+name
			}
		}
	}
	return largest, where
}
