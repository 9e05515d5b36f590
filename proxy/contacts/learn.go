package contacts

import (
	"bytes"
	"errors"
	"fmt"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/spool"
)

// open checks a bundle and that it is for addr, or for any canonical address if
// addr is empty.
func open(sb *spool.SignedBundle, addr string) (*spool.Bundle, error) {
	if sb == nil {
		return nil, fmt.Errorf("%w: there is none", spool.ErrBundle)
	}
	bundle, err := sb.Open()
	if err != nil {
		return nil, err
	}
	if addr == "" && !address.IsCanonical(bundle.Address) || addr != "" && bundle.Address != addr {
		return nil, ErrAddress
	}
	return bundle, nil
}

// Fetched takes in a bundle that the provider of addr publishes now. A first one
// pins its identity. A later one of the same identity takes the place of the one
// before; it is refused, and nothing changed, with ErrRollback or ErrConflict if
// it cannot follow it. One of another identity puts the contact into StateChanged,
// which is no error, unless the user has rejected that identity (ErrRejected).
// Where mail has brought a later bundle than the provider has, that one stays.
func (b *Book) Fetched(tx *store.Tx, addr string, sb *spool.SignedBundle) (*Contact, error) {
	c, err := b.fetched(tx, addr, sb)
	if err != nil {
		return nil, fmt.Errorf("take in fetched key bundle: %w", err)
	}
	return c, nil
}

func (b *Book) fetched(tx *store.Tx, addr string, sb *spool.SignedBundle) (*Contact, error) {
	addr, err := address.Canonical(addr)
	if err != nil {
		return nil, err
	}
	bundle, err := open(sb, addr)
	if err != nil {
		return nil, err
	}
	now := b.now().Unix()
	r, err := b.load(tx, addr)
	if errors.Is(err, ErrUnknown) {
		r = &record{Bundle: sb, bundle: bundle, Since: now, Fetched: now, Fetches: 1, Confirmed: bundle.Version}
		return b.save(tx, addr, r)
	}
	if err != nil {
		return nil, err
	}
	if bundle.Identity.Equal(r.bundle.Identity) {
		// Of a version that came in mail the provider may know nothing yet.
		ahead := bundle.Version < r.bundle.Version && bundle.Version >= r.Confirmed
		if !ahead {
			if err := follows(sb, bundle, r.Bundle, r.bundle); err != nil {
				return nil, err
			}
			r.Bundle, r.bundle = sb, bundle
		}
		// The provider stands by the pinned key: what was claimed in mail, or was
		// published for a while, is refuted. Should it publish that again, the user is
		// told again.
		if r.Published {
			r.Told, r.ToldPublished = nil, false
		}
		r.Fetched, r.Confirmed = now, bundle.Version
		r.Fetches++
		r.Pending, r.pending, r.PendingAt, r.Published = nil, nil, 0, false
		return b.save(tx, addr, r)
	}
	if r.rejected(bundle.Identity) {
		return nil, ErrRejected
	}
	if r.pending != nil && r.pending.Identity.Equal(bundle.Identity) {
		if err := follows(sb, bundle, r.Pending, r.pending); err != nil {
			return nil, err
		}
	} else {
		r.PendingAt = now
	}
	r.Pending, r.pending, r.Published = sb, bundle, true
	r.Fetches++
	return b.save(tx, addr, r)
}

// follows reports whether next may take the place of last, of the same identity.
func follows(nextSigned *spool.SignedBundle, next *spool.Bundle, lastSigned *spool.SignedBundle, last *spool.Bundle) error {
	switch {
	case next.Version < last.Version:
		return fmt.Errorf("%w: version %d, seen was %d", ErrRollback, next.Version, last.Version)
	case next.Version == last.Version && !bytes.Equal(nextSigned.Body, lastSigned.Body):
		return fmt.Errorf("%w: version %d", ErrConflict, next.Version)
	}
	return nil
}

// Received takes in the bundle of a mail that proxy/seal has authenticated, and
// says what to do with the mail. Its errors are of the store, or say that the
// bundle is none.
//
// A first bundle pins its identity, in StateNew. A later version of the pinned
// identity's is kept, but does not count as fetched: the provider may have a newer
// one. An older one, or another of the same version, is passed over without an
// error, since mail may arrive out of order and its sender is authentic. Another
// identity is remembered as Contact.Pending, so that the user or the provider can
// decide, and the mail is to be held.
func (b *Book) Received(tx *store.Tx, sb *spool.SignedBundle) (*Contact, Verdict, error) {
	c, v, err := b.received(tx, sb)
	if err != nil {
		return nil, 0, fmt.Errorf("take in key bundle of mail: %w", err)
	}
	return c, v, nil
}

func (b *Book) received(tx *store.Tx, sb *spool.SignedBundle) (*Contact, Verdict, error) {
	bundle, err := open(sb, "")
	if err != nil {
		return nil, 0, err
	}
	now := b.now().Unix()
	r, err := b.load(tx, bundle.Address)
	if errors.Is(err, ErrUnknown) {
		c, err := b.save(tx, bundle.Address, &record{Bundle: sb, bundle: bundle, Since: now})
		return c, Deliver, err
	}
	if err != nil {
		return nil, 0, err
	}
	switch {
	case bundle.Identity.Equal(r.bundle.Identity):
		if bundle.Version <= r.bundle.Version {
			return r.contact(), Deliver, nil
		}
		r.Bundle, r.bundle = sb, bundle
		c, err := b.save(tx, bundle.Address, r)
		return c, Deliver, err
	case r.rejected(bundle.Identity):
		return r.contact(), Refuse, nil
	case r.pending == nil:
		// The first claim stays until it is decided; others would push it out.
		r.Pending, r.pending, r.PendingAt, r.Published = sb, bundle, now, false
		c, err := b.save(tx, bundle.Address, r)
		return c, Hold, err
	}
	return r.contact(), Hold, nil
}

// Judge says what to do now with a mail that was held, from the identity that
// sealed it and Contact.Fetches as it was when the mail was held. If Hold is still
// the answer, ask the provider, at a time that has nothing to do with the mail, or
// wait for the user. Mail of a contact that was forgotten since is to be taken in anew,
// by Received.
func (b *Book) Judge(tx *store.Tx, addr string, identity []byte, fetches uint64) (Verdict, error) {
	addr, err := address.Canonical(addr)
	if err != nil {
		return 0, fmt.Errorf("judge held mail: %w", err)
	}
	r, err := b.load(tx, addr)
	if errors.Is(err, ErrUnknown) {
		return Deliver, nil
	}
	if err != nil {
		return 0, fmt.Errorf("judge held mail: %w", err)
	}
	switch {
	case bytes.Equal(identity, r.bundle.Identity):
		return Deliver, nil
	case r.rejected(identity):
		return Refuse, nil
	case r.pending != nil && bytes.Equal(identity, r.pending.Identity):
		return Hold, nil
	case r.Fetches > fetches:
		return Refuse, nil // the provider was asked since, and did not name this key
	}
	return Hold, nil
}
