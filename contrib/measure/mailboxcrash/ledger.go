package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// A ledger is what clients were told. Each message has a number, and one client that
// alone touches it; so what it was told is how the message must be.
type ledger struct {
	mu sync.Mutex // guards all

	given   map[place]int // every UID that was ever seen, and the number of its message
	acked   map[string]int
	refused []string
	broken  int // commands cut off by a kill

	missing, reused map[string]bool // in words, for the first ones are printed
	wrong           []string
	verified        int // messages compared after kills
}

// A place is where a message is: no two folders have the same UIDVALIDITY.
type place struct{ validity, uid uint32 }

func newLedger() *ledger {
	return &ledger{given: make(map[place]int), acked: make(map[string]int), missing: make(map[string]bool), reused: make(map[string]bool)}
}

// give notes that a place has message n.
func (l *ledger) give(p place, n int) {
	if old, ok := l.given[p]; ok && old != n {
		l.reused[fmt.Sprintf("UIDVALIDITY %d, UID %d is message %d, and was message %d", p.validity, p.uid, n, old)] = true
	}
	l.given[p] = n
}

// blame notes something else that is wrong.
func (l *ledger) blame(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(l.wrong, s) && len(l.wrong) < 20 {
		l.wrong = append(l.wrong, s)
	}
}

// miss notes a change that was acknowledged and is not there.
func (l *ledger) miss(format string, args ...any) { l.missing[fmt.Sprintf(format, args...)] = true }

func (l *ledger) sum() (n int) {
	for _, k := range l.acked {
		n += k
	}
	return n
}

func (l *ledger) OK() bool {
	return len(l.missing)+len(l.reused)+len(l.wrong)+len(l.refused) == 0 && l.sum() > 0
}

func (l *ledger) Line(kills int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("kills=%d acked=%d missing=%d reused=%d", kills, l.sum(), len(l.missing), len(l.reused))
}

func (l *ledger) Print(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range l.acked {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(t, "%s acknowledged\t%d\n", name, l.acked[name])
	}
	fmt.Fprintf(t, "commands cut off by a kill\t%d\n", l.broken)
	fmt.Fprintf(t, "UIDs given\t%d\n", len(l.given))
	fmt.Fprintf(t, "messages compared after kills\t%d\n", l.verified)
	t.Flush()
	first := func(what string, set map[string]bool) {
		n := 0
		for s := range set {
			if n++; n <= 20 {
				fmt.Fprintf(w, "%s: %s\n", what, s)
			}
		}
	}
	first("missing", l.missing)
	first("reused", l.reused)
	for _, s := range slices.Concat(l.refused, l.wrong) {
		fmt.Fprintln(w, "wrong:", s)
	}
}

// message returns message n, which tells its number; some are many chunks.
func message(n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: ann@north.test\r\nSubject: crash\r\nMessage-ID: <crash%d@north.test>\r\n\r\n", n)
	lines := n % 50
	if n%23 == 0 {
		lines = 40_000 // 1.5 MB
	}
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for range lines {
		fmt.Fprintf(&b, "%d: %032x\r\n", n, r.Uint64())
	}
	return b.Bytes()
}

// numberOf returns the number of a message, 0 if it is none of ours.
func numberOf(raw []byte) (n int) {
	_, after, _ := strings.Cut(string(raw[:min(len(raw), 300)]), "<crash")
	if _, err := fmt.Sscanf(after, "%d@", &n); err != nil {
		return 0
	}
	return n
}
