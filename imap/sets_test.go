package imap

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestUIDList compares lists of ranges with sets of numbers.
func TestUIDList(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const most = 40
	random := func() (uidList, map[uint32]bool) {
		var l uidList
		in := make(map[uint32]bool)
		for range r.IntN(6) {
			lo := uint32(1 + r.IntN(most))
			hi := min(lo+uint32(r.IntN(8)), most)
			l = append(l, uidRange{lo, hi})
			for uid := lo; uid <= hi; uid++ {
				in[uid] = true
			}
		}
		return l.merged(), in
	}
	for range 2000 {
		a, inA := random()
		b, inB := random()
		both := a.and(b)
		for uid := uint32(0); uid <= most+1; uid++ {
			if a.has(uid) != inA[uid] || both.has(uid) != (inA[uid] && inB[uid]) {
				t.Fatalf("%v and %v are %v, which is wrong for %d", a, b, both, uid)
			}
		}
		for i := 1; i < len(a); i++ {
			if a[i].lo <= a[i-1].hi+1 {
				t.Fatalf("%v is not merged", a)
			}
		}
	}
	top := uidList{{1 << 31, 1<<32 - 1}, {1<<32 - 1, 1<<32 - 1}}.merged()
	if len(top) != 1 || !top.has(1<<32-1) || top.has(1) {
		t.Errorf("the highest UIDs became %v", top)
	}
}

// TestSetsOfALine: a line has room for thousands of ranges, each of the whole folder.
// They cost no memory for each message, and above a number the search is refused.
func TestSetsOfALine(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.deliver("INBOX", letter(i))
	}
	f, err := w.account.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Remove([]uint32{3}); err != nil {
		t.Fatal(err)
	}
	l := w.login()
	l.ok("SELECT INBOX")
	many := func(n int, part, between string) string {
		return strings.TrimSuffix(strings.Repeat(part+between, n), between)
	}
	for command, want := range map[string]string{
		"SEARCH " + many(900, "1:*", " "):                "* SEARCH 1 2 3 4",
		"SEARCH " + many(900, "UID 1:*", " ") + " 2:3":   "* SEARCH 2 3",
		"SEARCH UID 4,2,4,1:2,5:9 2:*":                   "* SEARCH 2 3 4",
		"SEARCH NOT UID 4:5 NOT 1":                       "* SEARCH 2",
		"UID SEARCH 2:3 UID *:4":                         "* SEARCH 4",
		"UID FETCH " + many(5000, "1:*", ",") + " (UID)": "* 4 FETCH (UID 5)",
	} {
		if answer := l.ok(command); !slices.Contains(strings.Split(answer, "\n"), want) {
			t.Errorf("%.60s: no %q in\n%.300s", command, want, answer)
		}
	}
	l.ok("SEARCH " + many(4000, "UID 1:*", " "))
	l.status("SEARCH "+many(maxKeys+1, "UID 1:*", " "), "NO [LIMIT]")
	l.status("SEARCH "+many(maxKeys/2+1, "OR SEEN", " ")+" ALL", "NO [LIMIT]")
	l.ok("SEARCH " + many(900, "NOT", " ") + " SEEN")
	l.status("SEARCH "+many(maxKeys, "NOT", " ")+" SEEN", "NO [LIMIT]")
	l.ok("SEARCH RETURN (SAVE) 1:2")
	l.status("SEARCH RETURN (SAVE) "+many(maxKeys+1, "SEEN", " "), "NO [LIMIT]")
	if answer := l.ok("SEARCH $"); !strings.Contains(answer, "* SEARCH\n") {
		t.Errorf("what was saved outlives a search that was refused:\n%s", answer)
	}
}
