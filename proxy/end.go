package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/inbox"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/spool"
)

// endWait bounds how long ending an account waits for its provider.
const endWait = 2 * time.Minute

// EndAccount is the body of a request to take an account back, for good.
type EndAccount struct {
	Address string `json:"address"`
	// Delete erases the account at the provider, and the keys here. Without it the
	// identity alone is revoked: nobody finds the account any more or can write to
	// it anew, and what has arrived can still be read.
	Delete bool `json:"delete,omitempty"`
	// Mail removes the mail that is kept here as well. It goes with Delete.
	Mail bool `json:"mail,omitempty"`
	// Alias says that Address may be an alias, to be deleted now and not at a random time:
	// the user gives up all there is.
	Alias bool `json:"alias,omitempty"`
	// Check says to do nothing, and only to refuse what cannot be: before the user is
	// asked.
	Check bool `json:"check,omitempty"`
}

// End takes an account back. What is erased here is erased after the provider has
// acknowledged its part; an End that was interrupted may be repeated, and so may one
// that revoked, to delete.
func (d *Daemon) End(ctx context.Context, in EndAccount) error {
	doing := "revoke"
	if in.Delete {
		doing = "delete"
	}
	canonical, err := address.Canonical(in.Address)
	if err == nil && d.account(canonical) == nil {
		err = noAccount(canonical)
	}
	if err != nil {
		return fmt.Errorf("%s account: %w", doing, err)
	}
	d.ending.Lock()
	defer d.ending.Unlock()
	a := d.account(canonical)
	switch {
	case a == nil: // another was faster
		return nil
	case a.owner != "" && !(in.Alias && in.Delete):
		return fmt.Errorf("%s account %s: it is an alias of %s; \"mailproxy alias retire %s\" takes it back", doing, canonical, a.owner, canonical)
	case len(d.liveAliases(canonical)) > 0:
		return fmt.Errorf("%s account %s: it has aliases, whose mail comes into its mailbox; retire them first (\"mailproxy alias list\"): %s",
			doing, canonical, strings.Join(d.liveAliases(canonical), ", "))
	case a.ending() == Deleted && !in.Mail:
		return fmt.Errorf("%s account %s: it was deleted before; to remove its mail too, say so with --mail", doing, canonical)
	case in.Check:
		return nil
	case a.ending() != Deleted:
		if err := d.endAtProvider(ctx, a, in.Delete); err != nil {
			return fmt.Errorf("%s account %s: %w", doing, canonical, err)
		}
	}
	if !in.Delete {
		return nil
	}
	if err := d.eraseAccount(a, in.Mail); err != nil {
		return fmt.Errorf("delete account %s: it is deleted at its provider, but not all is erased here; do it again: %w", canonical, err)
	}
	return nil
}

// endAtProvider has the provider revoke the identity, or erase all, and keeps that
// it has. An account that was not registered yet goes on registering if that fails.
// d.ending is held.
func (d *Daemon) endAtProvider(ctx context.Context, a *account, erase bool) error {
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	name, domain := address.Split(a.keys.Address())
	a.setLeaving(true)
	defer a.setLeaving(false) // its record says it then, or nothing was done
	registered, ended := true, false
	select {
	case <-a.registered:
	default:
		registered = false
		d.starting.Lock()
		a.halt() // it is not to register after all
		d.starting.Unlock()
		defer func() { d.resume(a, ended) }()
	}
	var err error
	for {
		var service mixclient.Service
		if service, err = spoolOf(ctx, a.network, domain); err == nil {
			err = a.clientOf(service).Revoke(ctx, a.keys.IdentityKey(), name, a.keys.Spool(), erase)
		}
		if !errors.Is(err, mixclient.ErrLost) || ctx.Err() != nil {
			break
		}
	}
	switch {
	case err == nil:
	case !registered && (errors.Is(err, spool.StatusNoUser) || errors.Is(err, spool.StatusBadSignature) || errors.Is(err, spool.StatusInvite)):
		// It never came to be; a provider that hides its users says that the
		// signature is not the user's.
	case ctx.Err() != nil:
		return &refusedError{text: a.unanswered() + ". Nothing is erased here; try again later", err: err}
	default:
		return fmt.Errorf("%w; nothing is erased here", explain(err, a.keys.Address()))
	}
	ended = true
	if err := a.changeRecord(func(r *accountRecord) { r.Ending = max(r.Ending, Revoked) }); err != nil {
		return fmt.Errorf("note what the provider has done: %w", err)
	}
	return nil
}

func (a *account) setLeaving(leaving bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaving = leaving
}

// eraseAccount erases the keys of an account that its provider has erased, and what
// is of no use without them. Its mail stays, unless that is to go too.
func (d *Daemon) eraseAccount(a *account, mail bool) error {
	d.starting.Lock()
	defer d.starting.Unlock()
	a.halt()
	a.mu.Lock()
	record := *a.record
	a.mu.Unlock()
	if record.Ending != Deleted {
		record.Ending = Deleted
		err := d.store.Update(func(tx *store.Tx) error {
			if err := keys.Delete(tx, record.Address); err != nil && !errors.Is(err, keys.ErrNoAccount) {
				return err
			}
			return record.put(tx)
		})
		if err != nil {
			return err
		}
		a.setRecord(&record)
	}
	if err := d.eraseRest(record.Address); err != nil || !mail {
		return err
	}
	if err := d.mail.DeleteAccount(record.Address); err != nil && !errors.Is(err, mailbox.ErrNoAccount) {
		return err
	}
	if err := d.forgetAliases(record.Address); err != nil {
		return err
	}
	if err := d.store.Update(func(tx *store.Tx) error { return tx.Delete(accountKey(record.Address)) }); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.accounts, record.Address)
	return nil
}

// eraseRest removes what is kept for an account that has no keys any more, but its
// mail. It may be repeated.
func (d *Daemon) eraseRest(addr string) error {
	if err := d.outbox.Forget(addr); err != nil {
		return err
	}
	for _, prefix := range [][]byte{contacts.Prefix(addr), inbox.Prefix(addr)} {
		if err := erasePrefix(d.store, prefix); err != nil {
			return err
		}
	}
	err := d.store.Update(func(tx *store.Tx) error { return errors.Join(tx.Delete(leaksKey(addr)), tx.Delete(refusedKey(addr))) })
	if err != nil {
		return fmt.Errorf("erase what is kept for an account: %w", err)
	}
	return nil
}

// erasedAtOnce is how many keys one transaction removes.
const erasedAtOnce = 1000

// erasePrefix removes all keys with a prefix.
func erasePrefix(st *store.Store, prefix []byte) error {
	for {
		var found [][]byte
		err := st.Update(func(tx *store.Tx) error {
			found = nil
			err := tx.Iterate(store.Range{Prefix: prefix}, func(i store.Item) error {
				found = append(found, append([]byte(nil), i.Key...))
				if len(found) == erasedAtOnce {
					return store.ErrStop
				}
				return nil
			})
			for _, k := range found {
				err = errors.Join(err, tx.Delete(k))
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("erase what is kept for an account: %w", err)
		}
		if len(found) < erasedAtOnce {
			return nil
		}
	}
}

// forget removes an account that its provider never took, unless the user has ended it
// meanwhile. Of what is in its mailbox nothing is lost: one in which there is, or was,
// anything stays.
func (d *Daemon) forget(a *account) error {
	d.ending.Lock() // an End would write the record again
	defer d.ending.Unlock()
	d.starting.Lock()
	defer d.starting.Unlock()
	addr := a.keys.Address()
	if d.account(addr) != a || a.ending() != Active {
		return nil
	}
	a.halt()
	err := d.store.Update(func(tx *store.Tx) error {
		return errors.Join(tx.Delete(accountKey(addr)), keys.Delete(tx, addr))
	})
	if err != nil {
		return fmt.Errorf("remove account: %w", err)
	}
	d.mu.Lock()
	delete(d.accounts, addr)
	d.mu.Unlock()
	if err := d.eraseRest(addr); err != nil {
		return fmt.Errorf("remove account: %w", err)
	}
	// Last: nothing writes there any more, and a mailbox without an account does no harm.
	err = d.mail.DeleteUnused(addr)
	if err != nil && !errors.Is(err, mailbox.ErrInUse) && !errors.Is(err, mailbox.ErrNoAccount) {
		return fmt.Errorf("remove account: %w", err)
	}
	return nil
}
