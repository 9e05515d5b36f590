package server

import (
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// The bucket against one that counts its tokens.
func TestBucketProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{PerSecond: float64(rapid.IntRange(1, 50).Draw(t, "rate")), Burst: rapid.IntRange(1, 20).Draw(t, "burst")}
		each := int64(float64(time.Second) / r.PerSecond)
		now, tokens := int64(time.Hour), int64(r.Burst)*each // in nanoseconds of refilling
		var b bucket
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			passed := rapid.Int64Range(0, 3*each).Draw(t, "passed")
			now += passed
			tokens = min(tokens+passed, int64(r.Burst)*each)
			want := tokens >= each
			if got := b.take(r, now); got != want {
				t.Fatalf("take = %v with %d of %d ns", got, tokens, each)
			}
			if want {
				tokens -= each
			}
		}
	})
}

func TestRates(t *testing.T) {
	began := time.Unix(1_772_366_400, 0)
	rs := newRates(began)
	r := Rate{PerSecond: 2, Burst: 3}
	take := func(kind byte, key byte, at time.Duration) bool {
		return rs.take(kind, [32]byte{key}, r, began.Add(at))
	}
	for i := range 3 {
		if !take(rateContacts, 1, 0) {
			t.Fatalf("token %d of 3 is not there", i)
		}
	}
	if take(rateContacts, 1, 0) || take(rateContacts, 1, 499*time.Millisecond) {
		t.Fatal("a fourth token")
	}
	if !take(rateStrangers, 1, 0) || !take(rateContacts, 2, 0) {
		t.Fatal("another lane, or another spool, was used up too")
	}
	if !take(rateContacts, 1, 500*time.Millisecond) || take(rateContacts, 1, 500*time.Millisecond) {
		t.Fatal("half a second does not bring back one token")
	}
	// A clock that was set back, and the rate that was lowered, end in the burst.
	if take(rateContacts, 1, -time.Hour) {
		t.Fatal("a clock that goes back gives tokens")
	}
	if !take(rateContacts, 1, -time.Hour+500*time.Millisecond) {
		t.Fatal("a clock that went back takes away more than all tokens")
	}
	if !rs.take(rateContacts, [32]byte{1}, Rate{}, began) {
		t.Fatal("no rate is a bound")
	}
}

// However many spools there are, the table is as large, and a bucket that is empty
// is not the first to go.
func TestRatesAreBounded(t *testing.T) {
	if got := unsafe.Sizeof(rates{}); got > 2<<20+4096 {
		t.Errorf("the table has %d bytes; the comment says 2 MiB", got)
	}
	var set [rateWays]bucket
	now, r := int64(time.Hour), Rate{PerSecond: 1, Burst: 5}
	for range 5 {
		find(&set, 99).take(r, now)
	}
	for tag := range uint64(50) {
		find(&set, 100+tag).take(r, now)
	}
	if find(&set, 99).take(r, now) {
		t.Error("an empty bucket was forgotten before those that are nearly full")
	}
}

func BenchmarkRates(b *testing.B) {
	now := time.Now()
	rs, r := newRates(now), Rate{PerSecond: 20, Burst: 200}
	var key [32]byte
	for i := 0; b.Loop(); i++ {
		key[0], key[1], key[2] = byte(i), byte(i>>8), byte(i>>16)
		rs.take(rateReads, key, r, now)
	}
}
