package imap

import (
	"slices"
	"sort"

	goimap "github.com/emersion/go-imap/v2"
)

// A uidRange is the UIDs from lo to hi, both included.
type uidRange struct{ lo, hi uint32 }

// A uidList is ranges by ascending UID that neither overlap nor touch. A client may
// write a range thousands of times in one line, each of the whole folder: as a list of
// ranges they are one, and nothing is made of them for each message.
type uidList []uidRange

// ranges resolves a client's set: the list holds those messages of its view that the
// set names, and perhaps UIDs that are not in the view. Callers hold ss.mu and have a
// selection.
func (ss *session) ranges(set goimap.NumSet) uidList {
	var list uidList
	n := ss.sel.Len()
	switch set := set.(type) {
	case goimap.SeqSet:
		for _, r := range set {
			// 0 stands for *, the last message.
			from, to := starRange(r.Start, r.Stop, uint32(n))
			if from, to = max(from, 1), min(to, uint32(n)); from <= to {
				list = append(list, uidRange{ss.sel.UID(int(from)), ss.sel.UID(int(to))})
			}
		}
	case goimap.UIDSet:
		if goimap.IsSearchRes(set) {
			for _, uid := range ss.saved {
				list = append(list, uidRange{uid, uid})
			}
			break
		}
		last := uint32(0)
		if n > 0 {
			last = ss.sel.UID(n)
		}
		for _, r := range set {
			from, to := starRange(uint32(r.Start), uint32(r.Stop), last)
			list = append(list, uidRange{from, to})
		}
	}
	return list.merged()
}

// merged puts ranges in order.
func (l uidList) merged() uidList {
	slices.SortFunc(l, func(a, b uidRange) int { return int(int64(a.lo) - int64(b.lo)) })
	out := l[:0]
	for _, r := range l {
		if n := len(out); n > 0 && int64(r.lo) <= int64(out[n-1].hi)+1 {
			out[n-1].hi = max(out[n-1].hi, r.hi)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// and returns what is in both lists.
func (l uidList) and(other uidList) uidList {
	var out uidList
	for len(l) > 0 && len(other) > 0 {
		if lo, hi := max(l[0].lo, other[0].lo), min(l[0].hi, other[0].hi); lo <= hi {
			out = append(out, uidRange{lo, hi})
		}
		if l[0].hi < other[0].hi {
			l = l[1:]
		} else {
			other = other[1:]
		}
	}
	return out
}

func (l uidList) has(uid uint32) bool {
	i := sort.Search(len(l), func(i int) bool { return l[i].hi >= uid })
	return i < len(l) && l[i].lo <= uid
}

// pick returns the UIDs of a client's set that are in its view, ascending.
// Callers hold ss.mu and have a selection.
func (ss *session) pick(set goimap.NumSet) []uint32 {
	var uids []uint32
	n := ss.sel.Len()
	for _, r := range ss.ranges(set) {
		for seq := ss.firstFrom(r.lo); seq <= n && ss.sel.UID(seq) <= r.hi; seq++ {
			uids = append(uids, ss.sel.UID(seq))
		}
	}
	return uids
}

// starRange puts last in the place of *, and the ends in order: a range n:* names
// the last message even where n lies beyond it.
func starRange(from, to, last uint32) (uint32, uint32) {
	if from == 0 {
		from = last
	}
	if to == 0 {
		to = last
	}
	return min(from, to), max(from, to)
}

// firstFrom returns the sequence number of the first message with a UID of at
// least uid, or one more than there are messages.
func (ss *session) firstFrom(uid uint32) int {
	return 1 + sort.Search(ss.sel.Len(), func(i int) bool { return ss.sel.UID(i+1) >= uid })
}
