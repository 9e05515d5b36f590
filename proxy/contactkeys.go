package proxy

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mailproxy/internal/control"
	"mailproxy/internal/store"
	"mailproxy/proxy/contacts"
)

const (
	pathContact  = "/v1/contacts/one"
	pathAccept   = "/v1/contacts/accept"
	pathReject   = "/v1/contacts/reject"
	pathVerify   = "/v1/contacts/verify"
	pathUnverify = "/v1/contacts/unverify"
	pathForget   = "/v1/contacts/forget"
)

// OtherKey is an identity key that waits for the user's decision.
type OtherKey struct {
	Key   string    `json:"key"` // in hexadecimal
	Since time.Time `json:"since"`
	// Published says that the contact's provider shows this key: mail waits both ways.
	// Else it was claimed in a mail, which waits alone.
	Published bool `json:"published"`
	// SafetyNumber and QR are as in ContactKeys, as they are if this key is theirs;
	// empty in lists.
	SafetyNumber string `json:"safety_number,omitempty"`
	QR           string `json:"qr,omitempty"`
}

// ContactKeys describes a contact with what is compared to verify their key.
type ContactKeys struct {
	ContactStatus
	Key string `json:"key"` // the pinned identity key, in hexadecimal
	// SafetyNumber is the 60 digits that both sides see if each has the other's key.
	SafetyNumber string `json:"safety_number"`
	// QR is the content of the QR code that the account shows to the contact, who has
	// their own mailproxy check it.
	QR string `json:"qr"`
}

// ContactName names a contact in a request.
type ContactName struct {
	Account string `json:"account,omitempty"` // empty: the only one there is
	Address string `json:"address"`
}

// DecideKey is the body of a request to accept or to reject the other key of a contact.
type DecideKey struct {
	ContactName
	Key string `json:"key"` // as it was shown: if another one waits by now, nothing is done
	// LoseVerified says that the user knows that the key before was verified, and
	// accepts one that is not.
	LoseVerified bool `json:"lose_verified,omitempty"`
}

// VerifyContact is the body of a request to compare what the contact's side shows with
// the keys that are known here: one of the two.
type VerifyContact struct {
	ContactName
	Number string `json:"number,omitempty"` // the safety number, with spaces or without
	QR     string `json:"qr,omitempty"`     // the content of the QR code
}

// DecidedKey says what a contact is now, and what became of the mail that was held.
type DecidedKey struct {
	Account string `json:"account"`
	Address string `json:"address"`
	State   string `json:"state"`
	Changed bool   `json:"changed"` // false: it was so already
	// Accepted says that the other key is the contact's from now on.
	Accepted bool `json:"accepted"`
	// Released are the mails to the contact that were held, and go on or end with a
	// report.
	Released int `json:"released"`
	// Delivered are the mails of the contact that were held for the key and come into
	// the Inbox now, Dropped those that were sealed with a key that is not theirs.
	Delivered int `json:"delivered"`
	Dropped   int `json:"dropped"`
}

// errKeyMoved is the answer to a decision on a key that is not the one that waits.
var errKeyMoved = errors.New("there is no such key to decide on any more; look again with \"mailproxy contact show\"")

// explainContact gives an error about a contact a hint. What was being done may be empty.
func explainContact(doing, addr string, err error) error {
	switch {
	case errors.Is(err, contacts.ErrUnknown):
		err = fmt.Errorf("%w: no key of theirs is known here; \"mailproxy contact list\" shows whom the account knows", contacts.ErrUnknown)
	case errors.Is(err, contacts.ErrDecision):
		err = errKeyMoved
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace(doing+" "+addr), err)
}

// ContactKeys describes one contact. It takes some ten milliseconds.
func (d *Daemon) ContactKeys(in ContactName) (out ContactKeys, err error) {
	a, c, err := d.contact(in)
	if err != nil {
		return out, explainContact("", in.Address, err) // other commands ask too
	}
	own, ownKey := a.self()
	out.ContactStatus = a.contactStatus(c, a.heldFrom(), d.outbox.HeldTo(own))
	out.Key = hex.EncodeToString(c.Identity)
	out.SafetyNumber = contacts.SafetyNumber(own, ownKey, c.Address, c.Identity)
	out.QR = contacts.Code(own, ownKey, c.Address, c.Identity)
	if o := out.Other; o != nil {
		o.SafetyNumber = contacts.SafetyNumber(own, ownKey, c.Address, c.Pending)
		o.QR = contacts.Code(own, ownKey, c.Address, c.Pending)
	}
	return out, nil
}

func (d *Daemon) contact(in ContactName) (*account, *contacts.Contact, error) {
	a, err := d.theAccount(in.Account)
	if err != nil {
		return nil, nil, err
	}
	var c *contacts.Contact
	err = d.store.View(func(tx *store.Tx) error {
		c, err = a.book.Get(tx, in.Address)
		return err
	})
	return a, c, err
}

// self returns the account's address and identity key.
func (a *account) self() (string, ed25519.PublicKey) {
	return a.keys.Address(), a.keys.IdentityKey().Public().(ed25519.PublicKey)
}

// AcceptKey makes the other key that a contact has by now theirs. What is held for it
// goes on: mail to the contact in slots as they come, mail from them at once. All is on
// disk when it returns.
func (d *Daemon) AcceptKey(in DecideKey) (DecidedKey, error) {
	return d.decide("accept the key of", in, func(tx *store.Tx, a *account, key ed25519.PublicKey) (*contacts.Contact, error) {
		c, err := a.book.Get(tx, in.Address)
		if err == nil && c.Verified && !in.LoseVerified {
			return nil, fmt.Errorf("you have verified the key that they had before, and nobody has verified the new one: "+
				"compare safety numbers first (\"mailproxy contact verify %s\"), which accepts it if they agree", c.Address)
		}
		if err != nil {
			return nil, err
		}
		return a.book.Accept(tx, in.Address, key)
	})
}

// RejectKey keeps the key that a contact had. Mail sealed with the other is dropped, and
// the user told of it; mail to the contact goes on if their provider shows the key that
// they had, and else ends with a report.
func (d *Daemon) RejectKey(in DecideKey) (DecidedKey, error) {
	return d.decide("reject the key of", in, func(tx *store.Tx, a *account, key ed25519.PublicKey) (*contacts.Contact, error) {
		return a.book.Reject(tx, in.Address, key)
	})
}

func (d *Daemon) decide(doing string, in DecideKey, fn func(*store.Tx, *account, ed25519.PublicKey) (*contacts.Contact, error)) (out DecidedKey, err error) {
	a, before, err := d.contact(in.ContactName)
	if err != nil {
		return out, explainContact(doing, in.Address, err)
	}
	key, err := hex.DecodeString(in.Key)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return out, explainContact(doing, before.Address, errors.New("the request does not name the key that was shown"))
	}
	out, err = d.change(a, before, func(tx *store.Tx) (*contacts.Contact, error) { return fn(tx, a, key) })
	if err != nil {
		return out, explainContact(doing, before.Address, err)
	}
	return out, nil
}

// change changes a contact by fn, has what was held judged again, and says what comes of
// it. Once fn's change is on disk it is decided: should the process die then, the next
// start does the rest.
func (d *Daemon) change(a *account, before *contacts.Contact, fn func(*store.Tx) (*contacts.Contact, error)) (out DecidedKey, err error) {
	own, in := a.keys.Address(), a.arrivals()
	// Counted before: others may see the decision, and act by it, as soon as it is there.
	to, from := d.outbox.HeldTo(own)[before.Address], 0
	if in != nil && before.Pending != nil {
		from = in.HeldWith(before.Address, before.Pending)
	}
	var after *contacts.Contact
	err = d.store.Update(func(tx *store.Tx) (err error) {
		after, err = fn(tx)
		return err
	})
	if err != nil {
		return out, err
	}
	settled := before.Pending != nil && after.Pending == nil
	out = DecidedKey{
		Account: own, Address: after.Address, State: after.State.String(), Accepted: !before.Identity.Equal(after.Identity),
		Changed: settled || before.State != after.State || before.Verified != after.Verified,
	}
	switch {
	case out.Accepted:
		out.Released, out.Delivered = to, from
	case settled:
		out.Released, out.Dropped = to, from
	}
	d.outbox.Release(own, out.Address)
	if in != nil { // else it is judged when that is opened
		if err := in.Decided(out.Address); err != nil {
			d.log.Error("proxy: mail that was held could not be delivered yet; trying again soon", "err", err)
		}
	}
	a.keysChanged()
	return out, nil
}

// VerifyContact compares a safety number, or the content of a QR code, with the keys
// that are known of a contact. If it is that of their key, the key is verified; if it is
// that of the other key that waits for a decision, that is accepted and verified. Else
// nothing is changed, and the error says what is different.
func (d *Daemon) VerifyContact(in VerifyContact) (out DecidedKey, err error) {
	const doing = "verify"
	a, before, err := d.contact(in.ContactName)
	if err != nil {
		return out, explainContact(doing, in.Address, err)
	}
	other, err := a.compare(in, before)
	if err != nil {
		return out, explainContact(doing, before.Address, err)
	}
	out, err = d.change(a, before, func(tx *store.Tx) (*contacts.Contact, error) {
		key := before.Identity
		if other {
			key = before.Pending
			if _, err := a.book.Accept(tx, before.Address, key); err != nil {
				return nil, err
			}
		}
		return a.book.SetVerified(tx, before.Address, key, true)
	})
	if err != nil {
		return out, explainContact(doing, before.Address, err)
	}
	return out, nil
}

// compare says whether what the user brings is that of the contact's key, or of the
// other that waits.
func (a *account) compare(in VerifyContact, c *contacts.Contact) (other bool, err error) {
	own, ownKey := a.self()
	const danger = "nothing was changed. If it is what their mailproxy shows now, somebody may stand between you: " +
		"write nothing to this address that others must not read, and find out by another way"
	if (in.Number == "") == (in.QR == "") {
		return false, errors.New("give the safety number that the other person's mailproxy shows, or the content of its QR code")
	}
	if in.QR != "" {
		err := contacts.CheckCode(in.QR, own, ownKey, c.Address, c.Identity)
		if errors.Is(err, contacts.ErrOtherCode) && c.Pending != nil {
			if second := contacts.CheckCode(in.QR, own, ownKey, c.Address, c.Pending); !errors.Is(second, contacts.ErrOtherCode) {
				other, err = true, second
			}
		}
		if errors.Is(err, contacts.ErrOtherCode) || errors.Is(err, contacts.ErrOurKey) {
			err = fmt.Errorf("%w; %s", err, danger)
		}
		return other, err
	}
	number, err := contacts.ParseNumber(in.Number)
	if err != nil {
		return false, err
	}
	switch {
	case number == contacts.SafetyNumber(own, ownKey, c.Address, c.Identity):
		return false, nil
	case c.Pending != nil && number == contacts.SafetyNumber(own, ownKey, c.Address, c.Pending):
		return true, nil
	}
	return false, fmt.Errorf("this is not the safety number of %s and %s; compare it once more, and see that it is the one for this account; %s", own, c.Address, danger)
}

// UnverifyContact takes back that a contact's key was verified.
func (d *Daemon) UnverifyContact(in ContactName) (out DecidedKey, err error) {
	a, before, err := d.contact(in)
	if err == nil {
		out, err = d.change(a, before, func(tx *store.Tx) (*contacts.Contact, error) {
			return a.book.SetVerified(tx, before.Address, before.Identity, false)
		})
	}
	if err != nil {
		return out, explainContact("unverify", in.Address, err)
	}
	return out, nil
}

// ForgetContact removes all that an account knows of a contact, also which keys were
// rejected: the next key that their provider or a mail shows is trusted again.
func (d *Daemon) ForgetContact(in ContactName) error {
	a, _, err := d.contact(in)
	if err == nil {
		err = d.store.Update(func(tx *store.Tx) error {
			c, err := a.book.Get(tx, in.Address)
			switch {
			case err != nil:
				return err
			case c.Pending != nil:
				return fmt.Errorf("another key of theirs waits for your decision: accept or reject it first (\"mailproxy contact show %s\")", c.Address)
			case c.Blocked:
				return fmt.Errorf("they are blocked, which would be forgotten too: unblock them first (\"mailproxy contact unblock %s\")", c.Address)
			}
			return a.book.Forget(tx, c.Address)
		})
	}
	if err != nil {
		return explainContact("forget", in.Address, err)
	}
	return nil
}

func (d *Daemon) handleContacts(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathContact, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		out, err := d.ContactKeys(ContactName{Account: q.Get("account"), Address: q.Get("address")})
		d.answer(w, out, err)
	})
	control.Handle(mux, d.log, pathAccept, atOnce(d.AcceptKey))
	control.Handle(mux, d.log, pathReject, atOnce(d.RejectKey))
	control.Handle(mux, d.log, pathVerify, atOnce(d.VerifyContact))
	control.Handle(mux, d.log, pathUnverify, atOnce(d.UnverifyContact))
	control.Handle(mux, d.log, pathForget, atOnce(func(in ContactName) (struct{}, error) { return struct{}{}, d.ForgetContact(in) }))
}

// ContactKeys asks for one contact.
func (c *Controller) ContactKeys(ctx context.Context, in ContactName) (out ContactKeys, err error) {
	q := url.Values{"account": {in.Account}, "address": {in.Address}}
	err = c.do(ctx, http.MethodGet, pathContact+"?"+q.Encode(), nil, &out)
	return out, err
}

// AcceptKey accepts the other key of a contact.
func (c *Controller) AcceptKey(ctx context.Context, in DecideKey) (out DecidedKey, err error) {
	err = c.do(ctx, http.MethodPost, pathAccept, in, &out)
	return out, err
}

// RejectKey rejects the other key of a contact.
func (c *Controller) RejectKey(ctx context.Context, in DecideKey) (out DecidedKey, err error) {
	err = c.do(ctx, http.MethodPost, pathReject, in, &out)
	return out, err
}

// VerifyContact verifies a contact's key.
func (c *Controller) VerifyContact(ctx context.Context, in VerifyContact) (out DecidedKey, err error) {
	err = c.do(ctx, http.MethodPost, pathVerify, in, &out)
	return out, err
}

// UnverifyContact takes that back.
func (c *Controller) UnverifyContact(ctx context.Context, in ContactName) (out DecidedKey, err error) {
	err = c.do(ctx, http.MethodPost, pathUnverify, in, &out)
	return out, err
}

// ForgetContact removes a contact.
func (c *Controller) ForgetContact(ctx context.Context, in ContactName) error {
	return c.do(ctx, http.MethodPost, pathForget, in, &struct{}{})
}
