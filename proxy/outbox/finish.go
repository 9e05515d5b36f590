package outbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/report"
	"mailproxy/proxy/seal"
)

// reporter is who signs reports as their sender. Nobody can answer it.
const reporter = "postmaster@localhost"

// fail ends p with a report to the sender, unless its end has begun: several
// blocks in flight may meet the same refusal. o.mu must be held.
func (o *Outbox) fail(p *part, err error) {
	if p.fate != nil {
		return
	}
	f := &fate{reason: failedFor(err), cause: err}
	f.silent = p.job.message.Kind != seal.KindMail || !p.Notify.Failure()
	p.fate = f
	if !p.busy { // else it comes to its turn again
		o.end(p)
	}
}

// end starts to end p as p.fate says. o.mu must be held.
func (o *Outbox) end(p *part) {
	p.busy = true
	if p.recall != nil {
		p.recall() // what the sender is told has failed is not sent after all
	}
	if p.stopWork != nil {
		p.stopWork()
	}
	m, r, f := *p.job.message, p.recipient, *p.fate
	o.wg.Go(func() {
		err := o.finish(p.job.id, p.number, m, r, f)
		o.mu.Lock()
		defer o.mu.Unlock()
		p.busy = false
		if err != nil {
			// The part keeps its fate and comes to its turn again.
			o.log.Error("outbox: the end of a message could not be stored", "err", err)
			p.notBefore = o.cfg.Now().Add(o.cfg.Times.RetryFirst)
			o.stir()
			return
		}
		p.State, p.Outcome = Done, f.outcome(&r)
		o.remove(p)
		defer o.stir() // who withdraws it waits for this
		if f.reason != report.Delivered && !f.withdrawn {
			o.cfg.Observe.Tell(progress.Event{
				Kind: progress.Failed, At: o.cfg.Now(), Account: m.Account, Recipient: r.Address,
				Outbox: p.job.id.String(), Message: r.Sealed,
			})
		}
	})
}

// forgetWait bounds how long Forget waits for what is being written.
const forgetWait = 30 * time.Second

// Forget removes all mail of an account that is on its way, without reports: the
// account is taken back, and its Account is not to be had any more.
func (o *Outbox) Forget(account string) error {
	for end := time.Now().Add(forgetWait); ; time.Sleep(5 * time.Millisecond) {
		left := 0
		o.mu.Lock()
		for _, j := range o.jobs {
			if j.message.Account != account {
				continue
			}
			for _, p := range j.parts {
				left++
				p.fate = &fate{reason: report.Delivered, silent: true, forgotten: true}
				if !p.busy {
					o.end(p)
				}
			}
		}
		o.mu.Unlock()
		switch {
		case left == 0:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("remove mail on its way: %d parts of it could not be", left)
		}
	}
}

// finish puts the report into the sender's INBOX, if there is to be one, and
// removes the part in the same transaction.
func (o *Outbox) finish(id ID, number uint32, m message, r recipient, f fate) error {
	if f.silent {
		return o.cfg.Store.Update(func(tx *store.Tx) error { return o.endTx(tx, id, number, m, r, f) })
	}
	account, err := o.folders(m.Account)
	if err != nil {
		return fmt.Errorf("report to the sender: %w", err)
	}
	text, err := o.reportOn(id, m, r, f)
	if err != nil {
		return err
	}
	staged, err := o.cfg.Mailbox.Stage(text)
	if err != nil {
		return fmt.Errorf("report to the sender: %w", err)
	}
	err = o.cfg.Store.Update(func(tx *store.Tx) error {
		if _, err := account.DeliverTx(tx, "INBOX", staged, []string{mailbox.KeywordNotice}, o.cfg.Now()); err != nil {
			return err
		}
		if f.keeps() {
			return noteToldDelay(tx, key(kindRecipient, id, number))
		}
		return o.endTx(tx, id, number, m, r, f)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("report to the sender: %w", err), o.cfg.Mailbox.Discard(staged))
	}
	return nil
}

// noteToldDelay changes nothing else of what is on disk: a receipt may have come
// since the report was begun.
func noteToldDelay(tx *store.Tx, k []byte) error {
	v, err := tx.Get(k)
	if err != nil {
		return err
	}
	r, err := decodeRecipient(v)
	if err != nil {
		return err
	}
	r.ToldDelay = true
	return put(tx, k, r)
}

func (o *Outbox) reportOn(id ID, m message, r recipient, f fate) ([]byte, error) {
	original, err := o.beginning(id)
	if err != nil {
		return nil, err
	}
	about := f.reason.For(r.Address, m.submitted().Add(o.cfg.Times.Expire))
	about.Original, about.OriginalType = r.Original, r.OriginalType
	if f.cause != nil {
		about.Diagnostic = f.cause.Error()
	}
	text, err := report.Build(report.Report{
		From: reporter, To: m.Account, EnvelopeID: m.EnvelopeID, Arrival: m.submitted(),
		Recipients: []report.Recipient{about}, Original: original,
		// RFC 3461 section 4.3: of what did not fail, the header is enough.
		Whole: m.Return == ReturnFull && !m.HeaderOnly && about.Action == report.ActionFailed,
		Now:   o.cfg.Now(), Rand: rand.Reader,
	})
	if err != nil {
		return nil, fmt.Errorf("report to the sender: %w", err)
	}
	return text, nil
}

// endTx ends one recipient's part as f says, and removes all that is kept of the
// message with the last. Until then its record stays, for whoever asks.
func (o *Outbox) endTx(tx *store.Tx, id ID, number uint32, m message, r recipient, f fate) error {
	ended := r
	ended.State, ended.Outcome = Done, f.outcome(&r)
	if err := put(tx, key(kindRecipient, id, number), &ended); err != nil {
		return err
	}
	if err := o.markTx(tx, id, &m); err != nil {
		return err
	}
	if r.State != Queued && r.State != Held {
		if err := tx.Delete(sealedKey(r.Sealed)); err != nil {
			return err
		}
	}
	for _, kind := range []byte{kindBlock, kindWork} {
		if err := deletePrefix(tx, key(kind, id, number)); err != nil {
			return err
		}
	}
	live := false
	err := recipientsTx(tx, id, func(r *recipient) { live = live || r.State != Done })
	if err != nil || live {
		return err
	}
	for _, kind := range []byte{kindRecipient, kindContent} {
		if err := deletePrefix(tx, key(kind, id)); err != nil {
			return err
		}
	}
	return tx.Delete(key(kindMessage, id))
}

// inSpool notes that all blocks of p are in the recipient's spool. o.mu must be
// held.
func (o *Outbox) inSpool(p *part) {
	p.busy = true
	id, m, next := p.job.id, *p.job.message, p.recipient
	next.State, next.InSpoolAt = InSpool, o.cfg.Now().UnixMilli()
	o.wg.Go(func() {
		err := o.noteInSpool(id, p.number, m, next)
		o.mu.Lock()
		defer o.mu.Unlock()
		p.busy = false
		if err != nil {
			o.log.Error("outbox: a message's arrival in the spool could not be noted", "err", err)
			p.notBefore = o.cfg.Now().Add(o.cfg.Times.RetryFirst)
			o.stir()
			return
		}
		o.cfg.Observe.Tell(progress.Event{
			Kind: progress.InSpool, At: o.cfg.Now(), Account: m.Account, Recipient: p.Address,
			Outbox: id.String(), Message: next.Sealed, Count: next.Count,
		})
		if m.Kind != seal.KindMail {
			o.remove(p)
			return
		}
		p.gone.Store(true)
		// A receipt may have come while this was written: the store knows.
		if p.State != Confirmed {
			p.recipient = next
		}
		o.dropBody(p.job)
		o.stir()
	})
}

// noteInSpool commits what inSpool says. What nobody waits for is removed.
func (o *Outbox) noteInSpool(id ID, number uint32, m message, next recipient) error {
	return o.cfg.Store.Update(func(tx *store.Tx) error {
		if m.Kind != seal.KindMail {
			return o.endTx(tx, id, number, m, next, fate{reason: report.Delivered})
		}
		k := key(kindRecipient, id, number)
		v, err := tx.Get(k)
		if err != nil {
			return err
		}
		now, err := decodeRecipient(v)
		if err != nil {
			return err
		}
		if now.State == Confirmed {
			return nil // its receipt overtook our last acknowledgement
		}
		if err := put(tx, k, &next); err != nil {
			return err
		}
		return o.markTx(tx, id, &m)
	})
}

// dropBody removes the body of a message that is in the spools of all its
// recipients; the header stays for a report. o.mu must be held.
func (o *Outbox) dropBody(j *job) {
	for _, p := range j.parts {
		if p.State != InSpool && p.State != Confirmed {
			return
		}
	}
	if j.message.HeaderOnly {
		return
	}
	next := *j.message
	o.wg.Go(func() {
		content, err := o.beginning(j.id)
		if err == nil {
			content = content[:headerSize(content)]
			next.Size, next.HeaderOnly = int64(len(content)), true
			err = o.cfg.Store.Update(func(tx *store.Tx) error {
				if ok, err := tx.Has(key(kindMessage, j.id)); err != nil || !ok {
					return err // its end came first
				}
				if err := deletePrefix(tx, key(kindContent, j.id)); err != nil {
					return err
				}
				if err := tx.Set(key(kindContent, j.id, 0), content); err != nil {
					return err
				}
				return put(tx, key(kindMessage, j.id), &next)
			})
		}
		if err != nil {
			// It costs room until the message ends, nothing else.
			o.log.Warn("outbox: a body that is not needed any more could not be removed", "err", err)
			return
		}
		o.mu.Lock()
		j.message = &next
		o.mu.Unlock()
	})
}

// report tells the sender of something after which p goes on, once. o.mu must
// be held.
func (o *Outbox) report(p *part, f *fate) {
	if p.ToldDelay || !p.Notify.Delay() || p.busy {
		return
	}
	p.busy = true
	m, r := *p.job.message, p.recipient
	o.wg.Go(func() {
		err := o.finish(p.job.id, p.number, m, r, *f)
		o.mu.Lock()
		defer o.mu.Unlock()
		defer o.stir()
		p.busy = false
		if err != nil {
			o.log.Error("outbox: a report could not be stored", "err", err)
			return // Tend comes round again
		}
		p.ToldDelay = true
	})
}

// Tend ends what has waited too long and tells senders of delays, until ctx ends.
func (o *Outbox) Tend(ctx context.Context) {
	tick := time.NewTicker(max(o.cfg.Times.RetryFirst/2, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		o.mu.Lock()
		now := o.cfg.Now()
		for _, j := range o.jobs {
			for _, p := range j.parts {
				o.tend(p, now)
			}
		}
		o.mu.Unlock()
	}
}

func (o *Outbox) tend(p *part, now time.Time) {
	if p.busy || p.fate != nil {
		return
	}
	m := p.job.message
	age := now.Sub(m.submitted())
	switch {
	case p.State == InSpool && now.Sub(time.UnixMilli(p.InSpoolAt)) > o.cfg.Times.Confirm:
		p.fate = &fate{reason: report.NotConfirmed, silent: !p.Notify.Failure() && !p.Notify.Success()}
		o.end(p)
	case p.State == InSpool || p.State == Confirmed:
	case age > o.cfg.Times.Expire:
		o.fail(p, p.refusal)
	case p.State == Held && errors.Is(p.refusal, ErrHeld) && o.decided(p):
		// A look-up that was out when the user decided has held it after all.
		p.State = Queued
		o.stir()
	case p.State == Held:
		o.report(p, &fate{reason: delayedFor(p.refusal), cause: p.refusal})
	case age > o.cfg.Times.TellDelay && m.Kind == seal.KindMail:
		o.report(p, &fate{reason: delayedFor(p.refusal), cause: p.refusal})
	}
}
