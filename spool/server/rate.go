package server

import (
	"hash/maphash"
	"sync"
	"time"
)

// Bounds of the table of rates: 131,072 buckets of 16 bytes, 2 MiB however many
// spools there are. A bucket is needed only while it is not full, some seconds
// after a spool was used; where more are needed than a set has, the one that is
// fullest is forgotten, and so full.
const (
	rateWays    = 8
	rateSets    = 1 << 14
	rateStripes = 64
)

// What a bucket counts.
const (
	rateOpen      byte = iota // the lanes, in their order
	rateContacts              //
	rateStrangers             //
	rateReads                 // of a spool
	rateChanges               // of a key
	rateLookups               // of the service
	rateLog                   // of the service
	rateNew                   // of the service
	rateChecks                // of the service
)

// rates are token buckets by the generic cell rate algorithm (ITU-T I.371): of
// each only the time is kept at which it will be full again.
type rates struct {
	seed  maphash.Seed // so that nobody can aim at another's set
	began time.Time    // times are since then
	locks [rateStripes]sync.Mutex
	sets  [rateSets][rateWays]bucket // each guarded by one of locks
}

type bucket struct {
	tag  uint64
	full int64 // nanoseconds since began
}

func newRates(now time.Time) *rates { return &rates{seed: maphash.MakeSeed(), began: now} }

// take takes a token of a kind and a key (zero for the service's own), or says
// that there is none.
func (t *rates) take(kind byte, key [32]byte, r Rate, now time.Time) bool {
	if r.PerSecond <= 0 {
		return true
	}
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.WriteByte(kind)
	h.Write(key[:])
	tag := h.Sum64()
	i := tag % rateSets
	lock := &t.locks[i%rateStripes]
	lock.Lock()
	defer lock.Unlock()
	return find(&t.sets[i], tag).take(r, int64(now.Sub(t.began)))
}

// find returns the bucket with a tag, or the fullest, which becomes it.
func find(set *[rateWays]bucket, tag uint64) *bucket {
	fullest := &set[0]
	for i := range set {
		b := &set[i]
		if b.tag == tag {
			return b
		}
		if b.full < fullest.full {
			fullest = b
		}
	}
	*fullest = bucket{tag: tag}
	return fullest
}

func (b *bucket) take(r Rate, now int64) bool {
	each := max(int64(float64(time.Second)/r.PerSecond), 1)
	room := each * int64(r.Burst)
	// Not further ahead than an empty bucket is: after a change of the rate, or of
	// the clock.
	full := min(max(b.full, now), now+room)
	if full+each > now+room {
		b.full = full
		return false
	}
	b.full = full + each
	return true
}
