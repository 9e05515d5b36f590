package outbox

import (
	"errors"

	"mailproxy/proxy/seal"
)

// hold keeps p until Release, for ErrHeld or ErrUnlogged. o.mu must be held.
func (o *Outbox) hold(p *part, err error) {
	if p.fate != nil {
		return
	}
	p.State, p.refusal = Held, err // on disk it is queued: whether it is held is for the contacts to say
	if p.job.message.Kind != seal.KindMail {
		return // a receipt just waits, and expires
	}
	o.report(p, &fate{reason: delayedFor(err), cause: err})
}

// Release lets mail to the recipient go on, after the user decided, or for the
// recipient to be looked up again.
func (o *Outbox) Release(account, recipient string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, j := range o.jobs {
		for _, p := range j.parts {
			if j.message.Account == account && p.Address == recipient && p.State == Held {
				p.State = Queued
			}
		}
	}
	o.stir()
}

// HeldTo returns how many mails of an account are held for each recipient for whom any
// is.
func (o *Outbox) HeldTo(account string) map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := map[string]int{}
	for _, j := range o.jobs {
		for _, p := range j.parts {
			if j.message.Account == account && j.message.Kind == seal.KindMail && p.State == Held {
				n[p.Address]++
			}
		}
	}
	return n
}

// decided reports whether nothing about the recipient's keys waits for the user any
// more. o.mu must be held.
func (o *Outbox) decided(p *part) bool {
	a, ok := o.cfg.Account(p.job.message.Account)
	if !ok {
		return false
	}
	_, err := a.Bundle(p.Address)
	return err == nil || errors.Is(err, ErrUnknown)
}
