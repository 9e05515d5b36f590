package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

// found is a message that is in the store.
type found struct {
	folder string
	n      int
	flags  []goimap.Flag
}

// Check implements torture.Target: it opens the store and compares it with the ledger.
// Where a command was pending the ledger takes what it finds.
func (t *torturer) Check(ctx context.Context) (err error) {
	st, err := store.Open(storeOptions(t.Service().Store))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	l := t.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	// As the crash left it, and as a start makes it.
	report, err := mailbox.Check(ctx, st, mailbox.CheckOptions{})
	if err != nil {
		return err
	}
	for _, p := range report.Problems {
		l.blame("check after the kill: %s", p)
	}
	mb, err := mailbox.Open(st, mailbox.Options{})
	if err != nil {
		return err
	}
	if report, err = mb.Check(ctx, mailbox.CheckOptions{}); err != nil {
		return err
	}
	for _, p := range report.Problems {
		l.blame("check after the next start: %s", p)
	}
	if report.Leftovers > 0 {
		l.blame("%d bodies were left over after the next start", report.Leftovers)
	}
	a, err := mb.Account(account)
	if errors.Is(err, mailbox.ErrNoAccount) && l.sum() == 0 {
		return nil // killed before there was one
	}
	if err != nil {
		return err
	}
	names, have, err := t.read(a)
	if err != nil {
		return err
	}
	t.compare(names, have)
	return nil
}

// read returns the folders' UIDVALIDITYs by name, and all messages.
func (t *torturer) read(a *mailbox.Account) (map[string]uint32, map[place]found, error) {
	names, have := make(map[string]uint32), make(map[place]found)
	for _, info := range a.Folders() {
		if info.Missing {
			continue
		}
		f, err := a.Folder(info.Name)
		if err != nil {
			return nil, nil, err
		}
		names[info.Name] = f.UIDValidity()
		list, err := f.Messages()
		if err != nil {
			return nil, nil, err
		}
		for _, m := range list {
			raw, err := f.Bytes(m)
			if err != nil {
				return nil, nil, err
			}
			n := numberOf(raw)
			if n == 0 || !bytes.Equal(raw, message(n)) {
				t.ledger.blame("folder %s, UID %d: message %d has other bytes", info.Name, m.UID, n)
			}
			var flags []goimap.Flag
			for _, flag := range m.Flags {
				flags = append(flags, goimap.Flag(flag))
			}
			p := place{f.UIDValidity(), m.UID}
			have[p] = found{info.Name, n, flags}
			t.ledger.give(p, n)
			t.ledger.verified++
		}
	}
	return names, have, nil
}

func (t *torturer) compare(names map[string]uint32, have map[place]found) {
	for _, c := range t.clients {
		c.compareFolders(names)
	}
	arrived := make(map[*client][]place) // what no acknowledged command accounts for
	known := make(map[place]bool)
	for _, c := range t.clients {
		for _, i := range c.msgs {
			known[i.place()] = true
		}
	}
	for p, m := range have {
		if !known[p] {
			c := t.owner(m.n)
			arrived[c] = append(arrived[c], p)
		}
	}
	for _, c := range t.clients {
		c.compareMessages(have, arrived[c])
		if c.pending != nil {
			t.ledger.broken++
		}
		c.pending = nil
	}
}

// compareFolders finds the client's folders.
func (c *client) compareFolders(names map[string]uint32) {
	l := c.t.ledger
	p := c.pending
	for _, f := range slices.Clone(c.folders) {
		validity, ok := names[f.name]
		if f.own && p != nil && p.dest == f && !ok {
			switch p.name {
			case "DELETE":
				c.forget(f)
				continue
			case "RENAME":
				if validity, ok = names[p.to]; ok {
					f.name = p.to
				}
			}
		}
		switch {
		case !ok && f.validity == 0 && !f.own:
			// Before the first look.
		case !ok:
			l.miss("folder %s is not there", f.name)
			c.forget(f)
		case f.validity == 0:
			f.validity = validity
		case validity != f.validity:
			l.miss("folder %s has UIDVALIDITY %d, and had %d", f.name, validity, f.validity)
		}
	}
	prefix := c.prefix()
	for name, validity := range names {
		if !strings.HasPrefix(name, prefix) || slices.ContainsFunc(c.folders, func(f *folder) bool { return f.name == name }) {
			continue
		}
		if p != nil && p.name == "CREATE" && p.dest.name == name {
			p.dest.validity = validity
			c.folders = append(c.folders, p.dest)
			continue
		}
		l.miss("folder %s is there, and was deleted or renamed", name)
	}
}

// compareMessages finds the client's messages.
func (c *client) compareMessages(have map[place]found, arrived []place) {
	l := c.t.ledger
	p := c.pending
	if p == nil {
		p = &op{}
	}
	var gone []*instance
	for _, i := range c.msgs {
		m, ok := have[i.place()]
		pending := slices.Contains(p.msgs, i)
		switch {
		case !ok && (pending && (p.name == "EXPUNGE" || p.name == "MOVE") || p.name == "DELETE" && p.dest == i.folder):
			gone = append(gone, i)
		case !ok:
			l.miss("message %d is not in folder %s under UID %d", i.n, i.folder.name, i.uid)
			gone = append(gone, i)
		case m.n != i.n: // give has told of it
		case slices.Equal(m.flags, i.flags):
		case pending && p.name == "STORE" && slices.Equal(m.flags, p.flags):
			i.flags = p.flags
		default:
			l.miss("message %d in folder %s, UID %d, has the flags %v, and was given %v", i.n, i.folder.name, i.uid, m.flags, i.flags)
			i.flags = m.flags
		}
	}
	if p.name == "MOVE" && len(gone) != len(arrived) {
		l.blame("a MOVE that was cut off took %d messages out of a folder and put %d into another", len(gone), len(arrived))
	}
	if p.name == "COPY" && len(arrived) > 0 && len(arrived) != len(p.msgs) {
		l.blame("a COPY of %d messages that was cut off made %d", len(p.msgs), len(arrived))
	}
	c.drop(gone)
	for _, at := range arrived {
		m := have[at]
		of := p.name == "APPEND" && p.n == m.n
		for _, i := range p.msgs {
			of = of || (p.name == "COPY" || p.name == "MOVE") && i.n == m.n
		}
		if !of || p.dest.name != m.folder {
			l.miss("message %d is in folder %s under UID %d, and was removed from there or never put there", m.n, m.folder, at.uid)
		}
		for _, f := range c.folders {
			if f.name == m.folder {
				c.add(f, at.uid, m.n, m.flags)
			}
		}
	}
}
