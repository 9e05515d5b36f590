package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
)

// A ledger is what clients were told.
type ledger struct {
	mu     sync.Mutex // guards all
	spools []*account
	names  map[string]bool // registered, as was acknowledged

	appends, known, refused, broken, reads int // answers
	fresh                                  int // acknowledged blocks that were there after the next kill
	verified                               int64

	missing, resurrected map[int]bool // block numbers
	wrong                []string
}

// An account is what is known of one spool.
type account struct {
	acked   map[int]bool   // blocks whose append was acknowledged
	seqs    map[int]uint64 // of the blocks that were read
	issued  uint64         // highest cursor that was sent
	trimmed uint64         // highest cursor whose read was answered
}

func newLedger(spools int) *ledger {
	l := &ledger{names: make(map[string]bool), missing: make(map[int]bool), resurrected: make(map[int]bool)}
	for range spools {
		l.spools = append(l.spools, &account{acked: make(map[int]bool), seqs: make(map[int]uint64)})
	}
	return l
}

func (l *ledger) acked() (n int) {
	for _, a := range l.spools {
		n += len(a.acked)
	}
	return n
}

func (l *ledger) OK() bool {
	return len(l.missing)+len(l.resurrected)+len(l.wrong) == 0 && l.acked() > 0
}

// blame notes something that is wrong. l.mu is held.
func (l *ledger) blame(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(l.wrong, s) && len(l.wrong) < 20 {
		l.wrong = append(l.wrong, s)
	}
}

func (l *ledger) Line(kills int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("kills=%d acked=%d missing=%d resurrected=%d", kills, l.acked(), len(l.missing), len(l.resurrected))
}

func (l *ledger) Print(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	trimmed := 0
	for _, a := range l.spools {
		for _, seq := range a.seqs {
			if seq <= a.trimmed {
				trimmed++
			}
		}
	}
	fmt.Fprintf(t, "appends stored\t%d\n", l.appends)
	fmt.Fprintf(t, "appends that were known\t%d\n", l.known)
	fmt.Fprintf(t, "appends cut off by a kill\t%d\n", l.broken)
	fmt.Fprintf(t, "requests refused\t%d\n", l.refused)
	fmt.Fprintf(t, "blocks acknowledged\t%d\n", l.acked())
	fmt.Fprintf(t, "  found after a kill\t%d\n", l.fresh)
	fmt.Fprintf(t, "  read and trimmed\t%d\n", trimmed)
	fmt.Fprintf(t, "reads answered\t%d\n", l.reads)
	fmt.Fprintf(t, "names registered\t%d\n", len(l.names))
	fmt.Fprintf(t, "blocks verified\t%d\n", l.verified)
	t.Flush()
	for _, s := range l.wrong {
		fmt.Fprintln(w, "wrong:", s)
	}
}
