package contacts

import (
	"bytes"
	"crypto/ed25519"

	"mailproxy/internal/store"
)

// Told notes that the user has been told of the key that waits for a decision. It fails
// with ErrDecision if that is not identity any more, or if the provider has published
// it since, published being what the user was told.
func (b *Book) Told(tx *store.Tx, addr string, identity ed25519.PublicKey, published bool) error {
	_, err := b.change(tx, addr, "note what the user was told", func(r *record) error {
		if r.pending == nil || !r.pending.Identity.Equal(identity) || r.Published != published {
			return ErrDecision
		}
		r.Told, r.ToldPublished = bytes.Clone(identity), published
		return nil
	})
	return err
}

// Drop counts a mail under the contact's address that is dropped, because the key that
// sealed it is not the contact's.
func (b *Book) Drop(tx *store.Tx, addr string) error {
	_, err := b.change(tx, addr, "count dropped mail", func(r *record) error {
		r.Dropped++
		return nil
	})
	return err
}

// ToldDropped notes that the user has been told of the first n mails that were dropped.
func (b *Book) ToldDropped(tx *store.Tx, addr string, n uint64) error {
	_, err := b.change(tx, addr, "note what the user was told", func(r *record) error {
		r.DroppedTold, r.DroppedAt = max(r.DroppedTold, n), b.now().Unix()
		return nil
	})
	return err
}
