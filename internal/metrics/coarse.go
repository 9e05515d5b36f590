package metrics

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Period is how long figures that anybody may get stand still. Packets take seconds
// through a network, so that in a minute those of all who use it are mixed.
const Period = time.Minute

// Hold returns a collector that shows what c says once in each period, however often
// it is asked: what is asked often tells no more than what is asked once.
func Hold(c prometheus.Collector, period time.Duration, now func() time.Time) prometheus.Collector {
	return &held{Collector: c, period: period, now: now}
}

type held struct {
	prometheus.Collector
	period time.Duration
	now    func() time.Time

	mu      sync.Mutex // guards all below
	at      time.Time  // the beginning of the period of metrics
	metrics []prometheus.Metric
}

// Collect implements prometheus.Collector. What c sends must not change afterwards.
func (h *held) Collect(ch chan<- prometheus.Metric) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// Periods of the clock, not from the last question: who asks does not choose them.
	if at := h.now().Truncate(h.period); h.metrics == nil || !at.Equal(h.at) {
		h.at, h.metrics = at, nil
		fresh := make(chan prometheus.Metric)
		go func() {
			defer close(fresh)
			h.Collector.Collect(fresh)
		}()
		for m := range fresh {
			h.metrics = append(h.metrics, m)
		}
	}
	for _, m := range h.metrics {
		ch <- m
	}
}

// A Blur shows a count in steps, which it takes at random places, on average as far
// apart as a step is high. It is right in the long run, and one event more, or a
// hundred that somebody adds on purpose, does not show for certain: who alters a
// packet must not learn from the figures where it ended.
type Blur struct {
	step uint64

	mu          sync.Mutex // guards all below
	shown, next uint64
}

// NewBlur returns a Blur with steps of that height, which must not be 0.
func NewBlur(step uint64) *Blur { return &Blur{step: step, next: gap(step)} }

// Of returns what to show for a count of n, which never falls.
func (b *Blur) Of(n uint64) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n >= b.next {
		b.shown += b.step
		b.next += gap(b.step)
	}
	return b.shown
}

// gap is 1 to 2*step-1, evenly. The generator is the runtime's, which the system
// seeds.
func gap(step uint64) uint64 { return 1 + rand.Uint64N(2*step-1) }

// Coarse returns how full something is, rounded up to twentieths: 0 is empty, and
// anything else is not 0.
func Coarse(n, limit int) float64 {
	return math.Ceil(20*float64(n)/float64(limit)) / 20
}
