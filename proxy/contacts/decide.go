package contacts

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
)

// Accept makes the pending identity the contact's. The user has seen identity: if
// another one waits by now, Accept fails with ErrDecision. The contact is no longer
// verified. If the key was only claimed in a mail, the contact is StateNew until
// the provider is asked.
func (b *Book) Accept(tx *store.Tx, addr string, identity ed25519.PublicKey) (*Contact, error) {
	return b.change(tx, addr, "accept changed key", func(r *record) error {
		if r.pending == nil || !r.pending.Identity.Equal(identity) {
			return ErrDecision
		}
		published := r.Published
		r.Bundle, r.bundle, r.Since = r.Pending, r.pending, b.now().Unix()
		r.Pending, r.pending, r.PendingAt, r.Published = nil, nil, 0, false
		r.Verified = false
		// The answer of the provider that brought it may be days old: fetch again.
		r.Fetched, r.Confirmed = 0, 0
		// What the old identity gave and was given is nothing to the new one.
		r.Given, r.AppendSeed, r.AppendVersion, r.AppendRefused = 0, nil, 0, false
		if published {
			r.Confirmed = r.bundle.Version
		}
		return nil
	})
}

// Reject keeps the pinned identity and remembers that the pending one is not the
// contact's: mail sealed with it is refused, and so is a bundle that the provider
// publishes with it. It fails with ErrDecision as Accept does.
func (b *Book) Reject(tx *store.Tx, addr string, identity ed25519.PublicKey) (*Contact, error) {
	return b.change(tx, addr, "reject changed key", func(r *record) error {
		if r.pending == nil || !r.pending.Identity.Equal(identity) {
			return ErrDecision
		}
		r.Rejected = append(r.Rejected, bytes.Clone(identity))
		if n := len(r.Rejected) - maxRejected; n > 0 {
			r.Rejected = r.Rejected[n:]
		}
		r.Pending, r.pending, r.PendingAt, r.Published = nil, nil, 0, false
		return nil
	})
}

// SetVerified records whether the user has compared safety numbers for identity,
// which must be the pinned one, else it fails with ErrDecision.
func (b *Book) SetVerified(tx *store.Tx, addr string, identity ed25519.PublicKey, verified bool) (*Contact, error) {
	return b.change(tx, addr, "verify contact", func(r *record) error {
		if !r.bundle.Identity.Equal(identity) {
			return ErrDecision
		}
		r.Verified = verified
		return nil
	})
}

// Forget removes all that is known of a contact; the next key is trusted again.
func (b *Book) Forget(tx *store.Tx, addr string) error {
	addr, err := address.Canonical(addr)
	if err != nil {
		return fmt.Errorf("forget contact: %w", err)
	}
	there, err := tx.Has(b.key(addr))
	if err == nil && !there {
		err = ErrUnknown
	}
	if err == nil {
		err = tx.Delete(b.key(addr))
	}
	if err != nil {
		return fmt.Errorf("forget contact: %w", err)
	}
	return nil
}

func (b *Book) change(tx *store.Tx, addr, what string, fn func(r *record) error) (*Contact, error) {
	addr, err := address.Canonical(addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	r, err := b.load(tx, addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := fn(r); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	c, err := b.save(tx, addr, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return c, nil
}
