package server

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of the buckets of a latency; a further bucket
// has what is longer. A node lets answers leave at a fixed time after their
// question, so what matters is how many miss it.
var latencyBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second,
}

// A latency is a histogram of how long answers took.
type latency struct {
	buckets [len(latencyBounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

func (l *latency) add(d time.Duration) {
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(d))
}

// load returns the cumulative buckets in seconds, the count and the sum, as
// Prometheus counts them.
func (l *latency) load() (buckets map[float64]uint64, count uint64, sum float64) {
	buckets = make(map[float64]uint64, len(latencyBounds))
	for i, bound := range latencyBounds {
		count += l.buckets[i].Load()
		buckets[bound.Seconds()] = count
	}
	count += l.buckets[len(latencyBounds)].Load()
	return buckets, count, time.Duration(l.sum.Load()).Seconds()
}

// quantile returns an upper bound of what a share of the answers in buckets took; 0
// if there are none, and twice the last bound for what is above it.
func quantile(buckets []uint64, share float64) time.Duration {
	var all, below uint64
	for _, n := range buckets {
		all += n
	}
	if all == 0 {
		return 0
	}
	for i, n := range buckets[:len(latencyBounds)] {
		if below += n; float64(below) >= share*float64(all) {
			return latencyBounds[i]
		}
	}
	return 2 * latencyBounds[len(latencyBounds)-1]
}
