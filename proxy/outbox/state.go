package outbox

import (
	"errors"
	"net/mail"
	"slices"
	"strings"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/report"
	"mailproxy/proxy/seal"
)

// An Outcome says how mail to one recipient has ended.
type Outcome uint8

// The outcomes.
const (
	Delivered   Outcome = 1 // a receipt came
	Unconfirmed Outcome = 2 // it was in the spool, and no receipt came in time
	Failed      Outcome = 3 // it was given up
	Withdrawn   Outcome = 4 // by the user, before any of it left
)

// outcome says what f makes of r.
func (f *fate) outcome(r *recipient) Outcome {
	switch {
	case f.withdrawn:
		return Withdrawn
	case f.forgotten:
		switch {
		case r.State == Confirmed:
			return Delivered
		case r.State == InSpool:
			return Unconfirmed
		case r.Left:
			return Failed
		}
		return Withdrawn
	case f.reason == report.Delivered:
		return Delivered
	case f.reason == report.NotConfirmed:
		return Unconfirmed
	}
	return Failed
}

// The words by which programs are told of a part's state.
const (
	stateQueued      = "queued"
	stateHeld        = "held"
	stateSending     = "sending"
	stateSpooled     = "spooled"
	stateDelivered   = "delivered"
	stateUnconfirmed = "unconfirmed"
	stateFailed      = "failed"
	stateWithdrawn   = "withdrawn"
)

// word says in a word how far r is.
func (r *recipient) word() string {
	switch {
	case r.State == Held:
		return stateHeld
	case r.State == Sealed && r.Left:
		return stateSending
	case r.State == InSpool:
		return stateSpooled
	case r.State == Confirmed, r.State == Done && r.Outcome == Delivered:
		return stateDelivered
	case r.State == Done && r.Outcome == Unconfirmed:
		return stateUnconfirmed
	case r.State == Done && r.Outcome == Withdrawn:
		return stateWithdrawn
	case r.State == Done:
		return stateFailed
	}
	return stateQueued
}

// keywords are those of the message in Sent.
var keywords = map[string]string{
	stateQueued: mailbox.KeywordQueued, stateHeld: mailbox.KeywordQueued,
	stateSending: mailbox.KeywordSent, stateSpooled: mailbox.KeywordSpooled,
	stateDelivered: mailbox.KeywordDelivered, stateUnconfirmed: mailbox.KeywordUnconfirmed,
	stateFailed: mailbox.KeywordFailed, stateWithdrawn: mailbox.KeywordWithdrawn,
}

// recipientsTx calls fn for each recipient of a message, those that are done too.
func recipientsTx(tx *store.Tx, id ID, fn func(r *recipient)) error {
	return tx.Iterate(store.Range{Prefix: key(kindRecipient, id), Values: true}, func(i store.Item) error {
		v, err := i.Value()
		if err != nil {
			return err
		}
		r, err := decodeRecipient(v)
		if err != nil {
			return err
		}
		fn(r)
		return nil
	})
}

// markTx shows in Sent how far the message is, as the records say in tx: what a
// person sees is what is on disk.
func (o *Outbox) markTx(tx *store.Tx, id ID, m *message) error {
	if m.Kind != seal.KindMail || m.MessageID == "" {
		return nil
	}
	account, err := o.folders(m.Account)
	if errors.Is(err, mailbox.ErrNoAccount) {
		return nil // taken back, and its mail with it
	}
	if err != nil {
		return err
	}
	var list []string
	err = recipientsTx(tx, id, func(r *recipient) {
		if k := keywords[r.word()]; !slices.Contains(list, k) {
			list = append(list, k)
		}
	})
	if err != nil {
		return err
	}
	return account.MarkTx(tx, m.MessageID, list)
}

// left has it noted, and shown, that the first block of p has left, if one has. o.mu
// must be held.
func (o *Outbox) left(p *part) {
	m := *p.job.message
	if p.Left || !p.gone.Load() || m.Kind != seal.KindMail {
		return
	}
	p.Left = true
	id, k := p.job.id, key(kindRecipient, p.job.id, p.number)
	o.wg.Go(func() {
		err := o.cfg.Store.Update(func(tx *store.Tx) error {
			v, err := tx.Get(k)
			if errors.Is(err, store.ErrNotFound) {
				return nil // it has ended
			}
			if err != nil {
				return err
			}
			r, err := decodeRecipient(v)
			if err != nil || r.State == Done {
				return err
			}
			r.Left = true
			if err := put(tx, k, r); err != nil {
				return err
			}
			return o.markTx(tx, id, &m)
		})
		if err != nil {
			// What is noted next of it says so as well.
			o.log.Warn("outbox: it could not be noted that a message has begun to leave", "err", err)
		}
	})
}

// putSent calls update with what shows the mail in Sent, if it is to be shown.
func (o *Outbox) putSent(account string, sent *mailbox.SentMail, update func(show func(tx *store.Tx) error) error) error {
	nothing := func(*store.Tx) error { return nil }
	if sent == nil {
		return update(nothing)
	}
	a, err := o.folders(account)
	if errors.Is(err, mailbox.ErrNoAccount) {
		return update(nothing)
	}
	if err != nil {
		return err
	}
	return a.PutSent(*sent, update)
}

// bccFor returns a Bcc field for those recipients of a mail that no other field of it
// names, or nothing: only the copy in Sent says who they were.
func bccFor(clean []byte, recipients []string) []byte {
	named := map[string]bool{}
	end := len(clean)
	if i := strings.Index(string(clean[:min(len(clean), maxBccHeader)]), "\r\n\r\n"); i >= 0 {
		end = i + 2
	}
	for _, f := range mailbox.Fields(clean[:min(end, maxBccHeader)]) {
		if !strings.EqualFold(f.Name, "To") && !strings.EqualFold(f.Name, "Cc") {
			continue
		}
		list, err := mail.ParseAddressList(f.Value)
		if err != nil {
			continue // then all are named once more
		}
		for _, a := range list {
			named[canonical(a.Address)] = true
		}
	}
	var bcc []string
	for _, r := range recipients {
		if c := canonical(r); !named[c] {
			named[c] = true
			bcc = append(bcc, c)
		}
	}
	if len(bcc) == 0 {
		return nil
	}
	return []byte("Bcc: " + strings.Join(bcc, ",\r\n ") + "\r\n")
}

// maxBccHeader is as much of a header as is searched for recipients; the header
// policy lets no longer one out, but for what it adds itself.
const maxBccHeader = 512 << 10

func canonical(a string) string {
	if c, err := address.Canonical(a); err == nil {
		return c
	}
	return strings.ToLower(a)
}
