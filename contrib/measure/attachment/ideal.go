package main

import (
	"slices"
	"time"
)

// A slot of the sender's that could have carried a block of the attachment.
type slot struct {
	sent, there time.Time // there: by the drawn delays, at the spool
}

// A visit is a read of the recipient's that could have brought one.
type visit struct {
	there, back time.Time // by the drawn delays, at the spool and back
}

// ideal returns when the last of n blocks would have been with the recipient, had
// every slot carried the next block, had every read brought the next that was
// there, and had nothing taken time but the delays that were drawn. It returns
// false if slots or reads do not suffice.
func ideal(n int, slots []slot, reads []visit) (end time.Time, ok bool) {
	if len(slots) < n {
		return end, false
	}
	slices.SortFunc(slots, func(a, b slot) int { return a.sent.Compare(b.sent) })
	blocks := make([]time.Time, n)
	for i := range blocks {
		blocks[i] = slots[i].there
	}
	slices.SortFunc(blocks, time.Time.Compare)
	slices.SortFunc(reads, func(a, b visit) int { return a.there.Compare(b.there) })
	for _, r := range reads {
		if n == 0 {
			break
		}
		if blocks[len(blocks)-n].After(r.there) {
			continue // nothing new is there
		}
		n--
		if r.back.After(end) {
			end = r.back
		}
	}
	return end, n == 0
}
