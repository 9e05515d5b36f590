package main

import (
	"context"
	"encoding/binary"
	"errors"

	"mailproxy/spool/badgerstore"
)

// Check implements torture.Target: it opens the store and compares it with the ledger.
func (t *torturer) Check(ctx context.Context) (err error) {
	st, err := badgerstore.Open(storeOptions(t.Service().Store))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	report, err := st.Verify(ctx, nil)
	if err != nil {
		return err
	}
	l := t.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.verified += int64(report.Blocks)
	for _, p := range report.Problems {
		l.blame("verify: %s", p)
	}
	for name := range l.names {
		if _, err := st.Lookup(ctx, name); err != nil {
			l.blame("name %s: %v", name, err)
		}
	}
	for i, a := range l.spools {
		if !l.names[nameOf(i)] {
			continue
		}
		present := make(map[int]bool)
		for cursor := uint64(0); ; {
			r, err := st.Read(ctx, t.users[i].spool(), cursor, 0)
			if err != nil {
				return err
			}
			if r.Seq == 0 {
				break
			}
			n := int(binary.BigEndian.Uint64(r.Block))
			if r.Seq <= a.trimmed {
				l.resurrected[n] = true
			}
			if present[n] {
				l.blame("block %d is there twice", n)
			}
			l.read(a, n, r.Seq)
			present[n], cursor = true, r.Seq
		}
		for n := range a.acked {
			seq, read := a.seqs[n]
			if present[n] {
				l.fresh++
			} else if !read || seq > a.issued {
				l.missing[n] = true
			}
		}
	}
	return nil
}
