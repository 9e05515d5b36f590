package node

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Lateness is how late packets leave after their delays, as a histogram whose
// buckets double: the first ends at finest, the last has no end.
type Lateness struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

const (
	finest  = 62500 * time.Nanosecond // so that 1 ms is a bound, and a million of them
	buckets = 18                      // the last but one ends at 4 s
)

// bound returns where a bucket ends.
func bound(i int) time.Duration { return finest << i }

// add notes that a packet left so late.
func (l *Lateness) add(d time.Duration) {
	i := bits.Len64(uint64(max(d-1, 0) / finest))
	l.counts[min(i, buckets-1)].Add(1)
	l.sum.Add(int64(d))
}

// lateCounts is a histogram at one moment.
type lateCounts [buckets]uint64

func (l *Lateness) load() (c lateCounts) {
	for i := range c {
		c[i] = l.counts[i].Load()
	}
	return c
}

// since returns what came after an earlier moment.
func (c lateCounts) since(earlier lateCounts) lateCounts {
	for i := range c {
		c[i] -= earlier[i]
	}
	return c
}

// quantile returns the end of the bucket in which the share q of all packets is
// reached, or 0 if there were none.
func (c lateCounts) quantile(q float64) time.Duration {
	var all, so uint64
	for _, n := range c {
		all += n
	}
	if all == 0 {
		return 0
	}
	for i, n := range c {
		if so += n; float64(so) >= q*float64(all) {
			return bound(i)
		}
	}
	return bound(buckets - 1)
}
