package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s: %v, want %v within %v", what, got, want, within)
	}
}

// The distribution is SciPy's kstwobign.
func TestKolmogorov(t *testing.T) {
	for l, want := range map[float64]float64{
		0: 1, 0.5: 0.9639452436648751, 0.8: 0.5441424115741981, 1: 0.26999967167735456,
		1.3581: 0.0499996304316674, 1.6276: 0.010001537333060776, 2: 0.0006709252557796953,
	} {
		near(t, "kolmogorov", kolmogorov(l), want, 1e-12)
	}
}

// The exact p-values are those of SciPy's ks_2samp.
func TestKolmogorovSmirnov(t *testing.T) {
	line := func(n int, f func(float64) float64) (x []float64) {
		for i := range n {
			x = append(x, f(float64(i)/float64(n)))
		}
		rand.Shuffle(n, func(i, j int) { x[i], x[j] = x[j], x[i] })
		return x
	}
	counts := func(n ...int) (x []float64) {
		for value, times := range n {
			x = append(x, slices.Repeat([]float64{float64(value)}, times)...)
		}
		return x
	}
	same := func(x float64) float64 { return x }
	for _, c := range []struct {
		what   string
		x, y   []float64
		p, off float64
	}{
		{"alike", line(100, same), line(150, func(x float64) float64 { return x + 0.1 }), 0.44109188207356986, 0.01},
		{"larger", line(1000, same), line(1500, func(x float64) float64 { return math.Pow(x, 1.1) }), 0.42332600265340514, 0.01},
		{"counts", counts(50, 30, 20), counts(40, 30, 50), 0.010067362857122111, 0.001},
		{"equal", counts(50, 30, 20), counts(50, 30, 20), 1, 0},
		{"all the same", counts(0, 100), counts(0, 70), 1, 0},
		{"apart", line(100, same), line(100, func(x float64) float64 { return x + 2 }), 0, 1e-12},
	} {
		near(t, c.what, kolmogorovSmirnov(c.x, c.y), c.p, c.off)
		near(t, c.what+", the other way round", kolmogorovSmirnov(c.y, c.x), c.p, c.off)
	}
}

// Of samples from one distribution, one in twenty has a p below 0.05; of counts, no
// more.
func TestKolmogorovSmirnovLevel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const tries = 2000
	for _, c := range []struct {
		what        string
		draw        func() float64
		least, most float64
	}{
		{"exponential", r.ExpFloat64, 0.035, 0.065},
		{"counts", func() float64 { return math.Floor(5 * r.Float64()) }, 0, 0.05},
	} {
		low := 0
		for range tries {
			var x, y []float64
			for range 100 {
				x, y = append(x, c.draw()), append(y, c.draw())
			}
			if kolmogorovSmirnov(x, y) < 0.05 {
				low++
			}
		}
		if share := float64(low) / tries; share < c.least || share > c.most {
			t.Errorf("%s: %.3f of p-values are below 0.05, want %v to %v", c.what, share, c.least, c.most)
		}
	}
}

func TestHolm(t *testing.T) {
	for _, c := range []struct{ in, want []float64 }{
		{[]float64{0.01, 0.04, 0.03, 0.005}, []float64{0.03, 0.06, 0.06, 0.02}},
		{[]float64{0.5, 0.9, 0.001}, []float64{1, 1, 0.003}},
		{[]float64{0.2}, []float64{0.2}},
		{nil, nil},
	} {
		got := holm(c.in)
		for i := range c.want {
			near(t, "holm", got[i], c.want[i], 1e-12)
		}
	}
}

// The components and the variance were worked out in NumPy, pair by pair.
func TestAreaUnder(t *testing.T) {
	a := areaUnder([]float64{1, 2, 3, 4, 2.5}, []float64{2.5, 3.5, 4.5, 5, 3, 6}, 0.95)
	near(t, "area", a.auc, 0.8333333333333334, 1e-12)
	near(t, "low", a.low, 0.5843416123715265, 1e-6)
	near(t, "high", a.high, 1, 0)
	apart := areaUnder([]float64{1, 2, 3}, []float64{4, 5, 6, 7}, 0.95)
	if apart.auc != 1 || apart.low >= 1 || apart.high != 1 {
		t.Errorf("perfect separation of seven: %v", apart)
	}
	same := areaUnder([]float64{1, 1, 1}, []float64{1, 1}, 0.95)
	near(t, "no score differs", same.auc, 0.5, 0)
}

// The interval holds the true area as often as it says.
func TestAreaUnderCoverage(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const tries = 1000
	for _, shift := range []float64{0, 1} {
		truth := 0.5 * math.Erfc(-shift/2) // of two normal distributions
		held := 0
		for range tries {
			var x, y []float64
			for range 150 {
				x, y = append(x, r.NormFloat64()), append(y, r.NormFloat64()+shift)
			}
			if a := areaUnder(x, y, 0.95); a.low <= truth && truth <= a.high {
				held++
			}
		}
		near(t, "coverage", float64(held)/tries, 0.95, 0.025)
	}
}
