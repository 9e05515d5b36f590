package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/progress"
	"mailproxy/spool"
	"mailproxy/spool/work"
)

// paidAhead is how many blocks of a message have their work done before their slots
// come. More would be in vain where an append key arrives meanwhile, and would take
// the computer's time all at once: slots are 1.7 s apart, the work a third of that.
const paidAhead = 4

// laneChanges bounds how often in a row a service may send a part to another lane,
// before that waits as other refusals do.
const laneChanges = 2

// dear reports whether blocks cost work by that lane.
func dear(l contacts.Lane) bool { return l.Key == nil && l.Terms != (spool.Terms{}) }

// sameLane reports whether both ask the service for the same.
func sameLane(a, b contacts.Lane) bool {
	if a.Key != nil || b.Key != nil {
		return a.Key != nil && b.Key != nil && a.Key.Equal(b.Key)
	}
	return a.Terms == b.Terms
}

// ready reports whether a block can be appended by the part's lane at once.
func (p *part) ready(index uint32) bool {
	switch {
	case p.lane == nil:
		return false
	case !dear(*p.lane):
		return true
	}
	t, ok := p.paid[index]
	want := p.lane.Terms
	return ok && t.Memory == want.Memory && t.Time == want.Time && t.Bits >= want.Bits
}

// unpaid returns the first block of p that has to be paid for, and how many before
// it are ready.
func (p *part) unpaid() (index uint32, ahead int, found bool) {
	for _, i := range p.fresh {
		if !p.ready(i) {
			return i, ahead, true
		}
		ahead++
	}
	return 0, ahead, false
}

// findLane asks the account how to append to p's recipient. It returns false if
// that cannot be read. o.mu must be held.
func (o *Outbox) findLane(a Account, p *part) bool {
	if p.lane != nil {
		return true
	}
	l, err := a.Lane(p.Address)
	if err != nil {
		o.log.Error("outbox: contacts cannot be read", "err", err)
		o.refused(p, err)
		return false
	}
	o.setLane(p, l)
	return true
}

// setLane decides how p's blocks are appended from now on. o.mu must be held.
func (o *Outbox) setLane(p *part, l contacts.Lane) {
	p.lane = &l
	if p.stopWork != nil {
		p.stopWork() // for the lane before
	}
	o.stir()
}

// LaneChanged looks anew how account appends to the recipient's spool: an append
// key has come.
func (o *Outbox) LaneChanged(account, recipient string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, j := range o.jobs {
		for _, p := range j.parts {
			if j.message.Account != account || p.Address != recipient {
				continue
			}
			p.lane, p.changes = nil, 0
			if p.stopWork != nil {
				p.stopWork()
			}
			if errors.Is(p.refusal, work.ErrDear) || errors.Is(p.refusal, work.ErrTerms) {
				p.notBefore, p.backoff, p.refusal = time.Time{}, 0, nil
			}
		}
	}
	o.stir()
}

// offeredTerms returns the terms that a refusal of a lane brings, and false for any
// other error.
func offeredTerms(err error) (t spool.Terms, ok bool) {
	var refused *spool.Refused
	if !errors.As(err, &refused) {
		return t, false
	}
	switch refused.Status {
	case spool.StatusLane, spool.StatusAppendKey, spool.StatusWork:
	default:
		return t, false
	}
	if refused.Terms != nil {
		t = *refused.Terms
	}
	return t, true
}

// laneRefused sends p to the strangers' lane, by the terms that the refusal brought.
// What was refused is in p.fresh again. o.mu must be held.
func (o *Outbox) laneRefused(p *part, tried contacts.Lane, terms spool.Terms, err error) {
	if p.lane == nil || !sameLane(*p.lane, tried) {
		return // another block was refused first, or a key has come
	}
	next := contacts.Lane{Terms: terms}
	p.changes++
	if sameLane(tried, next) {
		clear(p.paid) // it was not good work
	}
	if sameLane(tried, next) || p.changes > laneChanges {
		o.refused(p, err)
	}
	o.setLane(p, next)
}

// laneProof returns what shows a service the right to append a block, nil for the
// open lane. paid is the block's work, where it costs any.
func laneProof(l contacts.Lane, service spool.ServiceID, id spool.ID, block, paid []byte) *spool.LaneProof {
	switch {
	case l.Key != nil:
		return spool.SignContact(l.Key, service, id, spool.BlockIDOf(block))
	case dear(l):
		return &spool.LaneProof{Lane: spool.LaneStrangers, Proof: paid}
	}
	return nil
}

// A bill is the work for one block.
type bill struct {
	part  *part
	index uint32
	terms spool.Terms
	ctx   context.Context // ends when the work is for nothing
}

// bill returns what is to be worked for next, in turn, or nil. o.mu must be held.
func (o *Outbox) bill(ctx context.Context) *bill {
	for _, j := range o.turn {
		for _, p := range j.parts {
			if p.State != Sealed || p.lane == nil || !dear(*p.lane) || p.fate != nil || o.cfg.Now().Before(p.notBefore) {
				continue
			}
			if index, ahead, ok := p.unpaid(); ok && ahead < paidAhead {
				b := &bill{part: p, index: index, terms: p.lane.Terms}
				b.ctx, p.stopWork = context.WithCancel(ctx)
				return b
			}
		}
	}
	return nil
}

// Work pays for blocks to strangers with computing time until ctx ends: one at a
// time, on one core, half of the time at most once the first of a message are
// ready. It is done before the blocks ask for their slots, so that what leaves the
// machine does not depend on it.
func (o *Outbox) Work(ctx context.Context) {
	for ctx.Err() == nil {
		o.mu.Lock()
		b := o.bill(ctx)
		wake := o.wake
		o.mu.Unlock()
		if b == nil {
			select {
			case <-ctx.Done():
			case <-wake:
			case <-time.After(o.cfg.Times.RetryFirst): // what was put off may be due
			}
			continue
		}
		began := time.Now()
		err := o.pay(b)
		took := time.Since(began)
		o.mu.Lock()
		if b.part.stopWork != nil {
			b.part.stopWork()
			b.part.stopWork = nil
		}
		_, ahead, _ := b.part.unpaid()
		switch {
		case err == nil:
			b.part.paid[b.index] = b.terms
			o.tellPaid(b)
			ahead++
		case errors.Is(err, context.Canceled), b.part.fate != nil: // it is not wanted any more
		case errors.Is(err, work.ErrDear), errors.Is(err, work.ErrTerms):
			// The open lane is tried later: its refusal brings the terms of then.
			o.refused(b.part, err)
			b.part.lane = &contacts.Lane{}
		default:
			o.log.Error("outbox: the work for a block could not be stored", "err", err)
			o.refused(b.part, err)
		}
		o.stir()
		o.mu.Unlock()
		if ahead > 1 {
			select {
			case <-ctx.Done():
			case <-time.After(took):
			}
		}
	}
}

// tellPaid tells that a block is paid for. o.mu must be held.
func (o *Outbox) tellPaid(b *bill) {
	p := b.part
	o.cfg.Observe.Tell(progress.Event{
		Kind: progress.Paid, At: o.cfg.Now(), Account: p.job.message.Account, Recipient: p.Address,
		Outbox: p.job.id.String(), Message: p.Sealed, Index: b.index, Count: p.Count,
	})
}

// pay makes the proof for a block and puts it beside the block, where it is found
// after a restart.
func (o *Outbox) pay(b *bill) error {
	o.mu.Lock()
	id, number, r := b.part.job.id, b.part.number, b.part.recipient
	o.mu.Unlock()
	blockKey, workKey := key(kindBlock, id, number, b.index), key(kindWork, id, number, b.index)
	var block []byte
	err := o.cfg.Store.View(func(tx *store.Tx) (err error) {
		block, err = tx.Get(blockKey)
		return err
	})
	if err != nil {
		return fmt.Errorf("read sealed block: %w", err)
	}
	_, domain, err := parseAddress(r.Address)
	if err != nil {
		return err
	}
	input := spool.AppendInput(spool.LaneStrangers, spool.ServiceOf(domain), r.Spool, spool.BlockIDOf(block))
	proof, err := work.Solve(b.ctx, input, b.terms)
	if err != nil {
		return err
	}
	return o.cfg.Store.Update(func(tx *store.Tx) error {
		if ok, err := tx.Has(blockKey); err != nil || !ok {
			return err // its end came first
		}
		return tx.Set(workKey, proof)
	})
}

// loadWork reads which blocks of p are paid for.
func (o *Outbox) loadWork(tx *store.Tx, p *part) error {
	return tx.Iterate(store.Range{Prefix: key(kindWork, p.job.id, p.number), Values: true}, func(i store.Item) error {
		proof, err := i.Value()
		if err != nil {
			return err
		}
		if terms, ok := work.Claimed(proof); ok { // else of another version: it is made again
			p.paid[number(i.Key)] = terms
		}
		return nil
	})
}

// A Payment is a message to a new recipient that is paid for with computing time.
type Payment struct {
	Account   string `json:"account"`
	Recipient string `json:"recipient"`
	Paid      int    `json:"paid"`   // blocks
	Blocks    int    `json:"blocks"` // of the message
}

// Payments returns the messages to new recipients that are being paid for, by age.
func (o *Outbox) Payments() []Payment {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []Payment
	jobs := slices.Clone(o.turn)
	slices.SortFunc(jobs, func(a, b *job) int { return slices.Compare(a.id[:], b.id[:]) })
	for _, j := range jobs {
		for _, p := range j.parts {
			if p.State != Sealed || p.lane == nil || !dear(*p.lane) {
				continue
			}
			owed := 0
			for _, i := range p.fresh {
				if !p.ready(i) {
					owed++
				}
			}
			if owed > 0 {
				all = append(all, Payment{Account: j.message.Account, Recipient: p.Address, Paid: int(p.Count) - owed, Blocks: int(p.Count)})
			}
		}
	}
	return all
}
