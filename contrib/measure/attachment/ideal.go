package main

import (
	"slices"
	"sort"
	"time"
)

// A visit is a read of the recipient's that could have brought a block.
type visit struct {
	there, back time.Time // by the drawn delays, at the spool and back
}

// ideal returns the earliest time at which n blocks could have been with the
// recipient, had they been spread over slots and reads with the luckiest hand and
// had nothing taken time but the delays that were drawn. blocks says when a block
// would have been in the spool, for each slot that could have carried one. It
// returns false if slots or reads do not suffice.
func ideal(n int, blocks []time.Time, reads []visit) (time.Time, bool) {
	blocks, reads = slices.Clone(blocks), slices.Clone(reads)
	slices.SortFunc(blocks, time.Time.Compare)
	slices.SortFunc(reads, func(a, b visit) int { return a.there.Compare(b.there) })
	// Of the reads that are back in time each takes the block that came first: no
	// other choice brings more.
	suffices := func(end time.Time) bool {
		fetched := 0
		for _, r := range reads {
			if fetched < min(n, len(blocks)) && !r.back.After(end) && !blocks[fetched].After(r.there) {
				fetched++
			}
		}
		return fetched == n
	}
	ends := make([]time.Time, 0, len(reads))
	for _, r := range reads {
		ends = append(ends, r.back)
	}
	slices.SortFunc(ends, time.Time.Compare)
	i := sort.Search(len(ends), func(i int) bool { return suffices(ends[i]) })
	if i == len(ends) {
		return time.Time{}, false
	}
	return ends[i], true
}
