package main

import (
	"math/rand/v2"
	"slices"

	"mailproxy/mixclient/builtin"
)

// answerAfter is how long after a query its answer leaves a service node, in
// seconds (answerQuantum in mixnet/node).
const answerAfter = 0.050

// latency is how long small mails take, in seconds.
type latency struct{ known, first spread }

// spread is two percentiles.
type spread struct{ p50, p95 float64 }

// latencies draws mails.
func latencies(n network, e effort) latency {
	r := rand.New(rand.NewPCG(e.seed, streamMails))
	known, first := make([]float64, e.mails), make([]float64, e.mails)
	for i := range known {
		known[i] = n.mail(r)
		first[i] = n.slot(r) + n.path(r) + answerAfter + n.path(r) + n.mail(r)
	}
	return latency{spreadOf(known), spreadOf(first)}
}

func spreadOf(s []float64) spread {
	slices.Sort(s)
	return spread{percentile(s, 50), percentile(s, 95)}
}

// slot draws the wait for a λ_P slot. A packet is made a little before it leaves,
// and a query that comes meanwhile has to wait for the next.
func (n network) slot(r *rand.Rand) float64 {
	return builtin.Lead.Seconds() + r.ExpFloat64()/n.QueryRate
}

// path draws the delays of a way from one end to the other.
func (n network) path(r *rand.Rand) (d float64) {
	for range n.layers {
		d += n.delay(r)
	}
	return d
}

// mail draws how long a mail of one block takes to somebody whose keys are known.
// Reads reach the spool as a Poisson process too, whatever their delays are, and
// bring the block back until its reader has it: one that comes later may be back
// sooner.
func (n network) mail(r *rand.Rand) float64 {
	there := n.slot(r) + n.path(r)
	read := there + r.ExpFloat64()/n.ReadRate
	best := read + answerAfter + n.path(r)
	for {
		read += r.ExpFloat64() / n.ReadRate
		if read+answerAfter >= best {
			return best
		}
		best = min(best, read+answerAfter+n.path(r))
	}
}
