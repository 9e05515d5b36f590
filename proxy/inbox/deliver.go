package inbox

import (
	"errors"
	"fmt"
	"io"

	"mailproxy/internal/store"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
)

// maxOther bounds the content of a message that is no mail, in bytes.
const maxOther = 64 << 10

// deliver verifies a complete message and puts it where it belongs. in.mu is
// held. It returns nil when the message needs no more attention now: delivered,
// rejected for good, or held.
//
// The content is read twice: nothing that its sender says is taken in before all of
// it is verified, and it is not held in between.
func (in *Inbox) deliver(id seal.ID, p *partial) error {
	opened, err := in.open(id)
	if err != nil {
		return err
	}
	if opened == nil {
		return in.reject(id, p)
	}
	var contact *contacts.Contact
	var verdict contacts.Verdict
	err = in.cfg.Store.Update(func(tx *store.Tx) (err error) {
		contact, verdict, err = in.cfg.Account.Admit(tx, &opened.Header)
		return err
	})
	if err != nil {
		return fmt.Errorf("deliver message: %w", err)
	}
	switch {
	case contact.Blocked && opened.Kind == seal.KindMail:
		// Nobody is told: an answer would say that somebody reads here, and when.
		if err := in.finish(id, p, func(*store.Tx) error { return nil }); err != nil {
			return err
		}
		in.Counters.Blocked.Add(1)
		return nil
	case verdict == contacts.Deliver:
		return in.place(id, p, opened, contact.State)
	case verdict == contacts.Hold:
		in.Counters.Held.Add(1)
		p.held = &holding{
			kind: opened.Kind, sender: opened.Sender.Address, identity: opened.Sender.Identity, fetches: contact.Fetches,
		}
		in.shown.put(id, p)
		return nil
	}
	return in.refuse(id, p, opened.Kind, opened.Sender.Address)
}

// refuse drops a message whose key is not its sender's. in.mu is held.
func (in *Inbox) refuse(id seal.ID, p *partial, kind seal.Kind, sender string) error {
	in.log.Warn("inbox: a message was sealed with a key that is not its sender's, and was dropped")
	in.Counters.Rejected.Add(1)
	return in.finish(id, p, func(tx *store.Tx) error {
		if kind != seal.KindMail {
			return nil
		}
		return in.cfg.Account.Refused(tx, sender)
	})
}

// open puts a message together and verifies it. It returns nil and no error for one
// that does not verify.
func (in *Inbox) open(id seal.ID) (*seal.Assembly, error) {
	opened, err := seal.Begin(in.cfg.Account.Recipient(), seal.MaxContent, func(i uint32) (*seal.Part, error) { return in.part(id, i) })
	if err == nil {
		err = opened.Verify()
	}
	if errors.Is(err, errStore) {
		return nil, fmt.Errorf("put a message together: %w", err)
	}
	if err != nil {
		in.log.Warn("inbox: a message does not verify and was dropped", "err", err)
		return nil, nil
	}
	return opened, nil
}

// judge asks again what is to be done with a held message, and does it. in.mu is held.
func (in *Inbox) judge(id seal.ID, p *partial) error {
	var verdict contacts.Verdict
	err := in.cfg.Store.View(func(tx *store.Tx) (err error) {
		verdict, err = in.cfg.Account.Judge(tx, p.held.sender, p.held.identity, p.held.fetches)
		return err
	})
	if err != nil {
		return fmt.Errorf("judge held message: %w", err)
	}
	switch verdict {
	case contacts.Hold:
		return nil
	case contacts.Deliver:
		p.held = nil
		in.shown.put(id, p)
		return in.deliver(id, p)
	}
	return in.refuse(id, p, p.held.kind, p.held.sender)
}

// reject drops a complete message for good.
func (in *Inbox) reject(id seal.ID, p *partial) error {
	in.Counters.Rejected.Add(1)
	return in.finish(id, p, func(*store.Tx) error { return nil })
}

// place puts an admitted message where its kind belongs.
func (in *Inbox) place(id seal.ID, p *partial, opened *seal.Assembly, known contacts.State) error {
	switch opened.Kind {
	case seal.KindMail:
		return in.placeMail(id, p, opened, known)
	case seal.KindReceipt:
		return in.placeReceipt(id, p, opened)
	case seal.KindKey: // Admit has taken the key, which is all there is
		return in.finish(id, p, func(*store.Tx) error { return nil })
	}
	in.log.Warn("inbox: a message is of a kind that this program does not know; a newer one may", "kind", opened.Kind)
	return in.reject(id, p)
}

func (in *Inbox) placeMail(id seal.ID, p *partial, opened *seal.Assembly, known contacts.State) error {
	sender := opened.Sender.Address
	staged, received, err := in.stage(opened, sender, known)
	if err != nil {
		return fmt.Errorf("store mail: %w", err)
	}
	err = in.finish(id, p, func(tx *store.Tx) error {
		if err := in.cfg.Account.Receipt(tx, sender, id); err != nil {
			return err
		}
		if received.Note != nil {
			if err := received.Note(tx); err != nil {
				return err
			}
		}
		_, err := in.mail.DeliverTx(tx, "INBOX", staged, received.Keywords, in.cfg.Now())
		return err
	})
	if err != nil {
		return errors.Join(err, in.cfg.Mailbox.Discard(staged))
	}
	in.Counters.Delivered.Add(1)
	in.cfg.Observe.Tell(progress.Event{
		Kind: progress.Delivered, At: in.cfg.Now(), Account: in.cfg.Account.Address(),
		Message: id, Count: p.count,
	})
	return nil
}

// stage gives a mail to the mailbox as it comes out of its parts.
func (in *Inbox) stage(opened *seal.Assembly, sender string, known contacts.State) (staged *mailbox.Staged, received *Received, err error) {
	content, err := opened.Content()
	if err != nil {
		return nil, nil, err
	}
	received, err = in.cfg.Account.Receive(content, sender, known)
	if err == nil {
		staged, err = in.cfg.Mailbox.StageReader(received.Mail)
	}
	return staged, received, errors.Join(err, content.Close())
}

func (in *Inbox) placeReceipt(id seal.ID, p *partial, opened *seal.Assembly) error {
	content, err := opened.Content()
	if err != nil {
		return fmt.Errorf("read receipt: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(content, maxOther))
	if err = errors.Join(err, content.Close()); err != nil {
		return fmt.Errorf("read receipt: %w", err)
	}
	of, err := outbox.ParseReceipt(raw)
	if err != nil {
		in.log.Warn("inbox: a receipt is malformed and was dropped", "err", err)
		return in.reject(id, p)
	}
	err = in.finish(id, p, func(tx *store.Tx) error {
		return in.cfg.Account.Confirm(tx, opened.Sender.Address, of)
	})
	if err == nil {
		in.Counters.Receipts.Add(1)
	}
	return err
}

// finish runs what in a transaction that also records the message as seen and
// removes its parts.
func (in *Inbox) finish(id seal.ID, p *partial, what func(*store.Tx) error) error {
	err := in.cfg.Store.Update(func(tx *store.Tx) error {
		if err := what(tx); err != nil {
			return err
		}
		if err := in.markSeen(tx, id); err != nil {
			return err
		}
		return in.removeTx(tx, id)
	})
	if err != nil {
		return fmt.Errorf("deliver message: %w", err)
	}
	in.forgetPartial(id)
	return nil
}
