package outbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// A Withdrawal says what became of the wish to withdraw a mail for one recipient.
type Withdrawal struct {
	Recipient string `json:"recipient"`
	Withdrawn bool   `json:"withdrawn"`
	// State is how far the mail has come for that recipient: withdrawn, or what it
	// was too late for, see MailRecipient.
	State string `json:"state"`
}

// withdrawable reports whether nothing of p has left, nor may have before a crash.
// o.mu must be held.
func (p *part) withdrawable() bool {
	return (p.State == Queued || p.State == Held || p.State == Sealed) && p.fate == nil && !p.gone.Load()
}

// Withdraw takes back a mail, named by its id or its Message-ID, for those recipients,
// or with none for all. It says for each what became of it: for whom a first block has
// left it goes on, since it cannot be told what the recipient has seen. When it returns
// nil, what it says is synced. ErrNoMail and ErrNotRecipient change nothing.
func (o *Outbox) Withdraw(ctx context.Context, id string, recipients []string) ([]Withdrawal, error) {
	o.mu.Lock()
	j, err := o.named(id)
	if err != nil {
		o.mu.Unlock()
		return nil, err
	}
	parts, out, err := j.chosen(recipients)
	if err != nil {
		o.mu.Unlock()
		return nil, err
	}
	for _, p := range parts {
		p.stopped = true
		if p.recall != nil {
			p.recall() // the engine knows whether it was in time
		}
	}
	o.mu.Unlock()
	err = o.await(ctx, func() bool { return !slices.ContainsFunc(parts, (*part).moving) })

	o.mu.Lock()
	var ending []*part
	for _, p := range parts {
		p.stopped = false
		if err != nil || !p.withdrawable() {
			continue
		}
		p.fate = &fate{withdrawn: true, silent: true}
		ending = append(ending, p)
		o.end(p)
	}
	o.stir()
	o.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("withdraw mail: nothing was withdrawn: %w", err)
	}
	if err := o.await(ctx, func() bool { return !slices.ContainsFunc(ending, (*part).unended) }); err != nil {
		return nil, fmt.Errorf("withdraw mail: it is not sent, but that could not be stored yet: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range parts {
		out = append(out, Withdrawal{
			Recipient: p.Address, Withdrawn: slices.Contains(ending, p), State: p.word(),
		})
	}
	slices.SortFunc(out, func(x, y Withdrawal) int { return cmp.Compare(x.Recipient, y.Recipient) })
	return out, nil
}

// chosen returns the parts of those recipients, of all for none, and what is to be
// said of those that are done.
func (j *job) chosen(recipients []string) (parts []*part, done []Withdrawal, err error) {
	wanted := map[string]bool{}
	for _, r := range recipients {
		wanted[canonical(r)] = true
	}
	all := len(wanted) == 0
	for i := range j.done {
		if r := &j.done[i]; all || wanted[r.Address] {
			delete(wanted, r.Address)
			done = append(done, Withdrawal{Recipient: r.Address, State: r.word()})
		}
	}
	for _, p := range j.parts {
		if all || wanted[p.Address] {
			delete(wanted, p.Address)
			parts = append(parts, p)
		}
	}
	for r := range wanted {
		return nil, nil, fmt.Errorf("%w: %s", ErrNotRecipient, r)
	}
	return parts, done, nil
}

// moving reports whether a goroutine writes of p, or the engine may still give its
// query a slot. o.mu must be held.
func (p *part) moving() bool { return p.busy || p.chosen }

// unended reports whether p is still to end. o.mu must be held.
func (p *part) unended() bool { return p.State != Done }

// await waits until done says so, which is called with o.mu held.
func (o *Outbox) await(ctx context.Context, done func() bool) error {
	for {
		o.mu.Lock()
		wake, ok := o.wake, done()
		o.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}
