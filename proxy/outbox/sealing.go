package outbox

import (
	"crypto/rand"
	"errors"
	"io"
	"iter"

	"mailproxy/internal/store"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/report"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
)

// seal makes the blocks of p and commits them and the message id, before any of
// them is sent.
func (o *Outbox) seal(a Account, p *part, to *spool.Bundle) {
	next, err := o.writeBlocks(a, p, to)
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.stir()
	p.busy, o.sealing = false, false
	if err != nil {
		switch {
		case errors.Is(err, seal.ErrTooLarge):
			o.fail(p, err)
			return
		case errors.Is(err, errNothing):
			p.fate = &fate{reason: report.Delivered, silent: true}
			o.end(p)
			return
		case errors.Is(err, ErrSuperseded):
			return // it comes to its turn again at once
		}
		o.log.Error("outbox: sealing failed", "err", err)
		o.refused(p, err)
		return
	}
	p.recipient = next
	p.missing = int(next.Count)
	for i := range next.Count {
		p.fresh = append(p.fresh, i)
	}
	o.cfg.Observe.Tell(progress.Event{
		Kind: progress.Sealed, At: o.cfg.Now(), Account: p.job.message.Account, Recipient: p.Address,
		Outbox: p.job.id.String(), Message: p.Sealed, Count: p.Count,
	})
}

// writeBlocks returns p's record as it then stands on disk. Only the job's
// message and p's number and record are read, which nobody changes while p is
// busy.
func (o *Outbox) writeBlocks(a Account, p *part, to *spool.Bundle) (recipient, error) {
	next := p.recipient
	if err := o.cfg.Store.Room(); err != nil {
		return next, err // later, when there is some
	}
	sender, err := a.Sender()
	if err != nil {
		return next, err
	}
	kind := p.job.message.Kind
	beside, told, err := a.Beside(kind, p.Address)
	if err != nil {
		return next, err
	}
	if kind == seal.KindKey && len(beside) == 0 {
		return next, errNothing
	}
	next.Sealed = newSealID()
	s, err := seal.New(seal.Message{
		ID: next.Sealed, Kind: kind, Extensions: beside, Size: p.job.message.Size,
		Open: func() (io.Reader, error) { return o.content(p.job.id), nil },
	}, sender, to)
	if err != nil {
		return next, err
	}
	next.Count, next.Spool, next.State = uint32(s.Count()), to.Spool, Sealed
	at := 0
	err = inBatches(s.Blocks(), func(blocks [][]byte) error {
		err := o.cfg.Store.Update(func(tx *store.Tx) error {
			for i, b := range blocks {
				if err := tx.Set(key(kindBlock, p.job.id, p.number, uint32(at+i)), b); err != nil {
					return err
				}
			}
			return nil
		})
		at += len(blocks)
		return err
	})
	if err != nil {
		return next, err
	}
	err = o.cfg.Store.Update(func(tx *store.Tx) error {
		where := key(kindRecipient, p.job.id, p.number)
		if err := tx.Set(sealedKey(next.Sealed), where[len(prefix(kindRecipient)):]); err != nil {
			return err
		}
		if told != nil {
			if err := told(tx); err != nil {
				return err
			}
		}
		return put(tx, where, &next)
	})
	return next, err
}

// blocksAtOnce is how many blocks are held, to be written in one transaction.
const blocksAtOnce = 64

// inBatches calls write for the blocks in turn.
func inBatches(blocks iter.Seq2[[]byte, error], write func([][]byte) error) error {
	batch := make([][]byte, 0, blocksAtOnce)
	for b, err := range blocks {
		if err != nil {
			return err
		}
		if batch = append(batch, b); len(batch) == blocksAtOnce {
			if err := write(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return write(batch)
}

// newSealID draws the id by which the recipient knows a message.
func newSealID() (id seal.ID) {
	rand.Read(id[:]) // never fails
	return id
}
