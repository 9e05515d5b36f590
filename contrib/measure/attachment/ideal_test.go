package main

import (
	"testing"
	"time"
)

func TestIdeal(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	slots := []slot{{at(3), at(5)}, {at(1), at(9)}, {at(2), at(4)}, {at(4), at(4)}}
	reads := []visit{
		{at(3), at(30)},  // too early
		{at(5), at(12)},  // brings the block of 4
		{at(6), at(7)},   // brings the block of 5
		{at(8), at(10)},  // nothing new is there
		{at(10), at(11)}, // brings the block of 9
		{at(11), at(99)}, // not needed
	}
	for _, c := range []struct {
		n, slots, reads int
		want            int // zero: it does not suffice
	}{
		// The first two slots in the order of sending bring blocks at 9 and 4.
		{1, 4, 6, 11}, // the first slot's block comes last
		{2, 4, 6, 12},
		{3, 4, 6, 12},
		{3, 4, 4, 0},
		{3, 2, 6, 0},
	} {
		end, ok := ideal(c.n, append([]slot(nil), slots[:c.slots]...), append([]visit(nil), reads[:c.reads]...))
		if ok != (c.want != 0) || ok && !end.Equal(at(c.want)) {
			t.Errorf("%d blocks, %d slots, %d reads: %v, %t; want %d", c.n, c.slots, c.reads, end.Unix(), ok, c.want)
		}
	}
}
