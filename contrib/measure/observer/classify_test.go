package main

import (
	"math/rand/v2"
	"testing"
)

// made makes windows of which only up's differ, in one feature, by shift.
func made(n int, shift float64) []window {
	r := rand.New(rand.NewPCG(5, 6))
	var list []window
	for s := range scenarios {
		for i := range n {
			w := window{scenario: s, train: i%3 == 0, half: i % 2, client: i / 10}
			for v := range views {
				for range names[v] {
					w.features[v] = append(w.features[v], r.NormFloat64())
				}
				if s == up {
					w.features[v][7] += shift
				}
			}
			list = append(list, w)
		}
	}
	return list
}

func TestAnalysis(t *testing.T) {
	interpreter, err := python(t.Context(), "python3", "/usr/bin/python3")
	if err != nil {
		t.Skip(err)
	}
	list := []pair{{idle, sends}, {idle, up}}
	windows := made(150, 3)
	of, control, err := successes(t.Context(), interpreter, windows, list)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(list) * int(views) * len(classifiers); len(of) != want || len(control) != int(views)*len(classifiers) {
		t.Fatalf("%d results and %d of the control, want %d", len(of), len(control), want)
	}
	for _, s := range of {
		if s.pair[1] == up && s.auc < 0.85 {
			t.Errorf("%v: %v, and the windows differ", s, s.area)
		}
		if s.pair[1] != up && (s.auc < 0.35 || s.auc > 0.65) {
			t.Errorf("%v: %v, and the windows do not differ", s, s.area)
		}
	}
	if worst, _ := farthest(control); worst.auc < 0.3 || worst.auc > 0.7 {
		t.Errorf("control: %v", worst)
	}
	auc, high := best(of)
	if auc.pair[1] != up || high.pair[1] != up {
		t.Errorf("the best are %v and %v", auc, high)
	}
}

func TestDifferences(t *testing.T) {
	windows := made(150, 3)
	all := differences(windows, []pair{{idle, sends}, {idle, up}})
	d := smallest(all)
	if d.pair[1] != up || d.feature != names[d.view][7] || d.holm > 1e-6 {
		t.Errorf("the smallest p is %v of %v", d.holm, d)
	}
	for _, d := range all {
		if d.pair[1] != up && d.holm < 0.01 {
			t.Errorf("%v: Holm %v, and the windows do not differ", d, d.holm)
		}
	}
}

func TestPythonThatIsMissing(t *testing.T) {
	if _, err := python(t.Context(), "no-such-python"); err == nil {
		t.Error("a Python that is not there is found")
	}
}

func TestJudge(t *testing.T) {
	good := findings{ks: 0.5, auc: 0.52, upper: 0.54, control: 0.51, clean: true, coverOff: 0.96, heldReads: 0.99}
	if err := good.judge(true); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*findings){
		"a feature that differs":  func(f *findings) { f.ks = 0.005 },
		"an upper bound too high": func(f *findings) { f.upper = 0.56 },
		"a control that differs":  func(f *findings) { f.clean = false },
		"cover off not caught":    func(f *findings) { f.coverOff = 0.8 },
		"held reads not caught":   func(f *findings) { f.heldReads = 0.8 },
	} {
		bad := good
		change(&bad)
		if bad.judge(true) == nil {
			t.Errorf("%s passes", what)
		}
	}
}
