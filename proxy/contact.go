package proxy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/proxy/contacts"
)

// ContactStatus describes a contact of an account.
type ContactStatus struct {
	Account string    `json:"account"`
	Address string    `json:"address"`
	State   string    `json:"state"` // of the key: new, pinned, verified or changed
	Since   time.Time `json:"since"` // when the key was first seen
	Blocked bool      `json:"blocked"`
	// Verified says that the user has compared safety numbers for the key, also while
	// State is changed.
	Verified bool `json:"verified"`
	// Other is another key under their address, on which the user is to decide.
	Other *OtherKey `json:"other,omitempty"`
	// HeldTo and HeldFrom are how many mails to and from them wait for that, or for
	// their provider to show keys that are in its log.
	HeldTo   int `json:"held_to"`
	HeldFrom int `json:"held_from"`
	// Dropped counts mails under their address that were dropped, because they were
	// sealed with a key that is not theirs.
	Dropped uint64 `json:"dropped"`
	// PaysWork says that mail to them costs computing time: no append key of
	// theirs is known.
	PaysWork bool `json:"pays_work"`
}

// BlockContact is the body of a request to block a contact, or to take that back.
type BlockContact struct {
	Account string `json:"account,omitempty"` // empty: the only one there is
	Address string `json:"address"`
	Unblock bool   `json:"unblock,omitempty"`
}

// BlockedContact is the answer to it.
type BlockedContact struct {
	Account string `json:"account"`
	Address string `json:"address"`
	Blocked bool   `json:"blocked"`
	Changed bool   `json:"changed"` // false: it was so already
	// Rekeyed is how many others are sent the new append key.
	Rekeyed int `json:"rekeyed"`
}

// contactStatus describes a contact, of and to whom so much mail is held.
func (a *account) contactStatus(c *contacts.Contact, from, to map[string]int) ContactStatus {
	s := ContactStatus{
		Account: a.keys.Address(), Address: c.Address, State: c.State.String(), Since: c.Since.UTC(),
		Blocked: c.Blocked, PaysWork: c.Lane.Key == nil,
		Verified: c.Verified, HeldTo: to[c.Address], HeldFrom: from[c.Address], Dropped: c.Dropped,
	}
	if c.Pending != nil {
		s.Other = &OtherKey{
			Key: hex.EncodeToString(c.Pending), Since: c.PendingSince.UTC(), Published: c.State == contacts.StateChanged,
		}
	}
	return s
}

// theAccount returns the account of that name, or the only one for an empty name.
func (d *Daemon) theAccount(name string) (*account, error) {
	if name == "" {
		var found *account
		for _, a := range d.list() {
			if a.ending() == Deleted || a.owner != "" {
				continue
			}
			if found != nil {
				return nil, fmt.Errorf("there are several accounts; say which one with --account")
			}
			found = a
		}
		if found == nil {
			return nil, errors.New("there is no account here yet; an invitation (mailproxy join) or \"mailproxy account add\" makes one")
		}
		return found, nil
	}
	canonical, err := address.Canonical(name)
	if err != nil {
		return nil, err
	}
	a := d.account(canonical)
	if a == nil {
		return nil, noAccount(canonical)
	}
	if a.ending() == Deleted {
		return nil, fmt.Errorf("account %s was deleted", canonical)
	}
	return a, nil
}

// noAccount is the error where a command names an account that is not here.
func noAccount(addr string) error {
	return fmt.Errorf("there is no account %s here; \"mailproxy account list\" says which there are", addr)
}

// Contacts lists whom an account knows; an empty account stands for the only one.
func (d *Daemon) Contacts(account string) ([]ContactStatus, error) {
	a, err := d.theAccount(account)
	if err != nil {
		return nil, fmt.Errorf("list contacts: %w", err)
	}
	list := []ContactStatus{}
	from, to := a.heldFrom(), d.outbox.HeldTo(a.keys.Address())
	err = d.store.View(func(tx *store.Tx) error {
		all, err := a.book.List(tx)
		for _, c := range all {
			list = append(list, a.contactStatus(c, from, to))
		}
		return err
	})
	return list, err
}

// Block has all further mail from a contact dropped, and shuts them out of the
// contacts' lane of the account's spool: a new append key is published at once, and
// sent to the others who had the old one, each at a random later time. Until it has
// reached them, their mail is paid for with computing time. All is on disk when
// Block returns.
func (d *Daemon) Block(in BlockContact) (out BlockedContact, err error) {
	doing := "block"
	if in.Unblock {
		doing = "unblock"
	}
	a, err := d.theAccount(in.Account)
	if err != nil {
		return out, explainContact(doing, in.Address, err)
	}
	own := a.keys.Address()
	err = d.store.Update(func(tx *store.Tx) error {
		out = BlockedContact{Account: own, Blocked: !in.Unblock} // Update may run this again
		c, err := a.book.Get(tx, in.Address)
		if err != nil {
			return err
		}
		out.Address, out.Changed = c.Address, c.Blocked == in.Unblock
		switch {
		case !out.Changed:
			return nil
		case in.Unblock:
			_, err := a.book.Unblock(tx, c.Address)
			return err
		}
		if _, err := a.book.Block(tx, c.Address); err != nil {
			return err
		}
		// Also if they were never given the key: an earlier identity of theirs may
		// have been.
		if err := a.keys.RotateAppend(tx); err != nil {
			return err
		}
		all, err := a.book.List(tx)
		if err != nil {
			return err
		}
		for _, other := range all {
			if other.Blocked || other.Given == 0 {
				continue
			}
			if err := d.outbox.KeyTx(tx, own, other.Address); err != nil {
				return err
			}
			out.Rekeyed++
		}
		return nil
	})
	if err != nil {
		return out, explainContact(doing, in.Address, err)
	}
	if out.Changed && out.Blocked {
		a.rekey()
	}
	return out, nil
}
