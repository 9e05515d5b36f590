package main

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// kolmogorovSmirnov tests whether two samples come from one distribution: it returns
// the p-value of the two-sample test (Smirnov 1948), by Kolmogorov's distribution
// with the correction for finite samples of Stephens (1970). Where values repeat, as
// counts do, the true p is larger than what it returns: the test is conservative.
func kolmogorovSmirnov(x, y []float64) float64 {
	x, y = slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))
	d := stat.KolmogorovSmirnov(x, nil, y, nil)
	n := math.Sqrt(float64(len(x)) * float64(len(y)) / float64(len(x)+len(y)))
	return kolmogorov((n + 0.12 + 0.11/n) * d)
}

// kolmogorov returns the probability that Kolmogorov's distribution exceeds l.
func kolmogorov(l float64) float64 {
	if l < 0.2 {
		return 1 // to within 1e-12
	}
	var sum float64
	for k := 1.0; ; k++ {
		term := math.Exp(-2 * k * k * l * l)
		if int(k)%2 == 0 {
			term = -term
		}
		sum += term
		if math.Abs(term) < 1e-16 {
			return min(1, max(0, 2*sum))
		}
	}
}

// holm returns p corrected for so many tests, each at its place (Holm 1979).
func holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case p[a] < p[b]:
			return -1
		case p[a] > p[b]:
			return 1
		}
		return 0
	})
	out := make([]float64, len(p))
	var highest float64
	for rank, i := range order {
		highest = max(highest, min(1, float64(len(p)-rank)*p[i]))
		out[i] = highest
	}
	return out
}

// An area is that under a ROC curve, with an interval.
type area struct{ auc, low, high float64 }

// areaUnder returns the area for the scores that a classifier has given to the
// negatives and the positives, with the two-sided interval of that confidence by
// the method of DeLong, DeLong and Clarke-Pearson (1988); where its variance is
// zero, as for perfect separation, the interval is that of the rule of three.
func areaUnder(negative, positive []float64, confidence float64) area {
	n, m := float64(len(negative)), float64(len(positive))
	// The components: for each score, the share of the others that it is on the
	// right side of, a tie counting half.
	share := func(x, others []float64) []float64 {
		sorted := slices.Sorted(slices.Values(others))
		list := make([]float64, len(x))
		for i, s := range x {
			below, _ := slices.BinarySearch(sorted, s)
			upTo, _ := slices.BinarySearch(sorted, math.Nextafter(s, math.Inf(1)))
			list[i] = (float64(below) + float64(upTo)) / 2 / float64(len(others))
		}
		return list
	}
	above, varianceAbove := stat.MeanVariance(share(positive, negative), nil)
	_, varianceBelow := stat.MeanVariance(share(negative, positive), nil)
	z := distuv.UnitNormal.Quantile(1 - (1-confidence)/2)
	half := z * math.Sqrt(varianceAbove/m+varianceBelow/n)
	if half == 0 {
		half = 3 / min(n, m)
	}
	return area{above, max(0, above-half), min(1, above+half)}
}
