package proxy

import (
	"errors"
	"fmt"
	"io"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/headers"
	"mailproxy/proxy/inbox"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// sending is an account as the outbox sees it.
type sending struct{ *account }

var _ outbox.Account = sending{}

// outboxAccount finds an account for the outbox.
func (d *Daemon) outboxAccount(addr string) (outbox.Account, bool) {
	if a := d.account(addr); a != nil && a.ending() == Active {
		return sending{a}, true
	}
	return nil, false
}

func (s sending) Address() string            { return s.keys.Address() }
func (s sending) Owns(addr string) bool      { return address.Same(addr, s.keys.Address()) }
func (s sending) Network() mixclient.Network { return s.network }
func (s sending) Sender() (seal.Sender, error) {
	return s.keys.Sender(), nil
}

func (s sending) Clean(message io.Reader, to *outbox.Submission) (*outbox.Cleaned, error) {
	s.mu.Lock()
	name := s.record.DisplayName
	s.mu.Unlock()
	mail, err := s.d.mail.Account(s.home())
	if err != nil {
		return nil, err
	}
	known := s.threads(mail)
	result, rewritten, err := headers.Rewrite(message, headers.Policy{
		Sender: headers.Mailbox{Address: s.keys.Address(), Name: name},
		Seen:   known.seen,
		SentAs: known.sentAs,
		Now:    s.d.opt.Now,

		KeepAutocrypt: s.d.opt.KeepAutocrypt && s.owner == "",
	})
	if err != nil {
		return nil, err
	}
	if err := s.unlinked(result, to, known); err != nil {
		return nil, err
	}
	return &outbox.Cleaned{
		Message: rewritten, OriginalID: result.OriginalMessageID,
		Note: func(tx *store.Tx) error { return s.noteThread(tx, result.MessageID) },
		Accepted: func() {
			if result.Leaks == 0 {
				return
			}
			// The mail is sent whether or not this can be told.
			if err := s.tellLeaks(result.Leaks); err != nil {
				s.d.log.Error("proxy: a warning could not be stored", "err", err)
			}
		},
	}, nil
}

// otherID makes of a look-up in the mailbox one of the header policy, which has no
// use for its errors: a mail that cannot be threaded is a mail still.
func (a *account) otherID(lookUp func(id string) (string, bool, error)) func(string) (string, bool) {
	return func(id string) (string, bool) {
		other, ok, err := lookUp(id)
		if err != nil {
			a.d.log.Error("proxy: message ids cannot be read", "err", err)
		}
		return other, ok
	}
}

func (s sending) Bundle(addr string) (bundle *spool.Bundle, err error) {
	if s.d.logs.Doubted(addr) {
		return nil, outbox.ErrUnlogged
	}
	err = s.d.store.View(func(tx *store.Tx) (err error) {
		bundle, err = s.book.ForSealing(tx, addr)
		return err
	})
	switch {
	case errors.Is(err, contacts.ErrFetch):
		return nil, outbox.ErrUnknown
	case errors.Is(err, contacts.ErrHeld):
		return nil, outbox.ErrHeld
	}
	if err == nil && s.d.logs.Superseded(addr, bundle.Identity) {
		return nil, outbox.ErrUnknown
	}
	return bundle, err
}

func (s sending) Learn(addr string, found *client.Found) error {
	var c *contacts.Contact
	err := s.d.store.Update(func(tx *store.Tx) (err error) {
		if c, err = s.book.Fetched(tx, addr, found.Signed); err != nil {
			return err
		}
		return s.book.SetTerms(tx, addr, found.Terms)
	})
	switch {
	case errors.Is(err, contacts.ErrRejected):
		return fmt.Errorf("%w: %w", outbox.ErrRejected, err)
	case err != nil:
		return err
	case c.State == contacts.StateChanged:
		s.keysChanged()
		return outbox.ErrHeld
	}
	// What was held for a claim in a mail may be refuted, and is judged at the inbox's
	// next turn.
	return nil
}

func (s sending) Lane(addr string) (l contacts.Lane, err error) {
	err = s.d.store.View(func(tx *store.Tx) error {
		c, err := s.book.Get(tx, addr)
		if err == nil {
			l = c.Lane
		}
		return err
	})
	if errors.Is(err, contacts.ErrUnknown) {
		return l, nil // forgotten since it was sealed: the service says what it takes
	}
	return l, err
}

func (s sending) LaneRefused(addr string, tried contacts.Lane, terms spool.Terms) error {
	err := s.d.store.Update(func(tx *store.Tx) error { return s.book.RefusedLane(tx, addr, tried, terms) })
	if errors.Is(err, contacts.ErrUnknown) {
		return nil
	}
	return err
}

// Beside gives the account's append key: in mail to everybody who is not blocked,
// since the user who writes wants an answer; in what no user wrote to those who
// were given one before, and not to strangers who have paid once.
func (s sending) Beside(kind seal.Kind, addr string) (map[uint64][]byte, func(*store.Tx) error, error) {
	var c *contacts.Contact
	var key keys.AppendKey
	// Both in one transaction: to block somebody makes another key, which they must
	// not be given for one who is not blocked yet.
	err := s.d.store.View(func(tx *store.Tx) (err error) {
		if c, err = s.book.Get(tx, addr); err != nil {
			return err
		}
		key, err = s.keys.AppendKeyTx(tx)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	switch {
	case c.Blocked, kind != seal.KindMail && c.Given == 0, kind == seal.KindKey && c.Given >= key.Version:
		return nil, nil, nil
	}
	told := func(tx *store.Tx) error {
		// Whoever is given a key that was replaced meanwhile is not among those to
		// whom the new one was sent.
		now, err := s.keys.AppendKeyTx(tx)
		if err != nil {
			return err
		}
		if now.Version != key.Version {
			return outbox.ErrSuperseded
		}
		return s.book.Gave(tx, addr, key.Version)
	}
	return map[uint64][]byte{seal.ExtensionAppendKey: seal.AppendKeyExtension(key.Key, key.Version)}, told, nil
}

// receiving is an account as its inbox sees it.
type receiving struct{ *account }

var _ inbox.Account = receiving{}

func (r receiving) Address() string           { return r.keys.Address() }
func (r receiving) Recipient() seal.Recipient { return r.keys.Recipient() }

func (r receiving) Admit(tx *store.Tx, said *seal.Header) (*contacts.Contact, contacts.Verdict, error) {
	c, verdict, err := r.book.Received(tx, said.Bundle)
	if err == nil && verdict == contacts.Hold {
		tx.OnCommit(r.keysChanged)
	}
	if err != nil || verdict != contacts.Deliver {
		return c, verdict, err
	}
	if r.doubts(c) {
		return c, contacts.Hold, nil
	}
	key, version, err := said.AppendKey()
	if err != nil {
		r.d.log.Warn("proxy: a contact's append key cannot be read, and is passed over", "err", err)
		return c, verdict, nil
	}
	if key == nil {
		return c, verdict, nil
	}
	changed, err := r.book.TakeAppendKey(tx, c.Address, key, version)
	if changed {
		tx.OnCommit(func() { r.d.outbox.LaneChanged(r.keys.Address(), c.Address) })
	}
	return c, verdict, err
}

func (r receiving) Judge(tx *store.Tx, sender string, identity []byte, fetches uint64) (contacts.Verdict, error) {
	verdict, err := r.book.Judge(tx, sender, identity, fetches)
	if err != nil || verdict != contacts.Deliver {
		return verdict, err
	}
	c, err := r.book.Get(tx, sender)
	if errors.Is(err, contacts.ErrUnknown) {
		return verdict, nil // forgotten since: it is met as for the first time
	}
	if err == nil && r.doubts(c) {
		verdict = contacts.Hold
	}
	return verdict, err
}

// doubts reports whether a contact's mail waits, since the provider has shown keys
// for it that are not in its log: the one that is pinned may be such a key. One that
// the user has verified is not.
func (r receiving) doubts(c *contacts.Contact) bool {
	return c.State != contacts.StateVerified && r.d.logs.Doubted(c.Address)
}

func (r receiving) Refused(tx *store.Tx, sender string) error {
	tx.OnCommit(r.keysChanged)
	return r.book.Drop(tx, sender)
}

// senderKeywords are those of mail in the Inbox, by how well its sender's key is known.
var senderKeywords = map[contacts.State]string{
	contacts.StateNew: mailbox.KeywordNew, contacts.StatePinned: mailbox.KeywordPinned,
	contacts.StateVerified: mailbox.KeywordVerified, contacts.StateChanged: mailbox.KeywordChanged,
}

func (r receiving) Receive(content io.Reader, sender string, known contacts.State) (*inbox.Received, error) {
	by := headers.Seal{Address: sender, State: headers.State(known.String())}
	if mail, err := r.d.mail.Account(r.home()); err == nil { // else there is no mail to answer
		by.SentFrom = r.otherID(mail.SentFrom)
	}
	if r.owner != "" {
		by.DeliveredTo = r.keys.Address()
	}
	arrived, mail, err := headers.Arrive(content, by)
	if err != nil {
		return nil, err
	}
	keyword := senderKeywords[known]
	if !arrived.FromMatches {
		// A list of mails shows From: it is not to look as if that were vouched for.
		keyword = mailbox.KeywordOther
	}
	return &inbox.Received{
		Mail: mail, Keywords: []string{keyword},
		Note: func(tx *store.Tx) error { return r.noteThread(tx, arrived.MessageID) },
	}, nil
}

func (r receiving) Confirm(tx *store.Tx, from string, id seal.ID) error {
	return r.d.outbox.ConfirmTx(tx, r.keys.Address(), from, id)
}

func (r receiving) Receipt(tx *store.Tx, to string, id seal.ID) error {
	if !r.d.opt.Receipts || r.ending() != Active {
		return nil
	}
	return r.d.outbox.ReceiptTx(tx, r.keys.Address(), to, id)
}
