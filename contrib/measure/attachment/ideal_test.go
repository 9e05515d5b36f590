package main

import (
	"testing"
	"time"
)

func TestIdeal(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	blocks := []time.Time{at(5), at(9), at(4), at(20)}
	reads := []visit{
		{at(3), at(30)},  // too early
		{at(5), at(12)},  // may bring the block of 4
		{at(6), at(7)},   // that, or the block of 5
		{at(8), at(10)},  // one of the two
		{at(10), at(11)}, // may bring the block of 9
		{at(11), at(99)}, // likewise
		{at(21), at(22)}, // may bring the block of 20
	}
	for _, c := range []struct {
		n, blocks, reads int
		want             int // zero: it does not suffice
	}{
		{1, 4, 7, 7},
		{2, 4, 7, 10}, // not 12: the read of 5 is not needed
		{3, 4, 7, 11},
		{4, 4, 7, 22},
		{4, 4, 6, 0}, // nothing brings the block of 20
		{4, 3, 7, 0}, // there are three blocks
		{3, 3, 4, 0}, // three blocks, but the block of 9 is not brought
		{1, 4, 0, 0},
	} {
		end, ok := ideal(c.n, blocks[:c.blocks], reads[:c.reads])
		if ok != (c.want != 0) || ok && !end.Equal(at(c.want)) {
			t.Errorf("%d blocks, %d slots, %d reads: %v, %t; want %d", c.n, c.blocks, c.reads, end.Unix(), ok, c.want)
		}
	}
}
