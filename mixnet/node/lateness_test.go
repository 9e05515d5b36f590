package node

import (
	"testing"
	"time"
)

func TestLateness(t *testing.T) {
	if bound(4) != time.Millisecond || bound(buckets-2) != 4096*time.Millisecond {
		t.Errorf("bounds are %v and %v", bound(4), bound(buckets-2))
	}
	for i := range buckets - 1 { // a bucket holds its bound, and the next what is more
		var l Lateness
		l.add(bound(i))
		l.add(bound(i) + 1)
		if c := l.load(); c[i] != 1 || c[i+1] != 1 {
			t.Errorf("%v and a little more: %v", bound(i), c)
		}
	}
	var l Lateness
	if q := l.load().quantile(0.99); q != 0 {
		t.Errorf("of nothing: %v", q)
	}
	for range 98 {
		l.add(0)
	}
	before := l.load()
	l.add(700 * time.Microsecond)
	l.add(time.Hour)
	for q, want := range map[float64]time.Duration{0.5: finest, 0.98: finest, 0.99: time.Millisecond, 1: bound(buckets - 1)} {
		if got := l.load().quantile(q); got != want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if got := l.load().since(before).quantile(0.5); got != time.Millisecond {
		t.Errorf("of the last two the half: %v, want 1ms", got)
	}
}
