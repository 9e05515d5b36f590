package mailbox

import (
	"errors"
	"fmt"

	"mailproxy/internal/store"
)

// DeleteAccount removes an account with all its folders and messages, or returns
// ErrNoAccount. Sessions that look at them hear that they are gone. The messages may
// be more than one transaction holds: after an interruption some are gone, and it
// may be repeated.
func (s *Store) DeleteAccount(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[name]
	if a == nil {
		return ErrNoAccount
	}
	list := a.Folders()
	for i := len(list) - 1; i >= 0; i-- { // sorted: what is below another comes after it
		if list[i].Missing || list[i].Name == Inbox {
			continue
		}
		if err := a.DeleteFolder(list[i].Name); err != nil && !errors.Is(err, ErrNoFolder) {
			return fmt.Errorf("delete account: %w", err)
		}
	}
	if err := a.forgetSent(); err != nil {
		return fmt.Errorf("delete account: %w", err)
	}
	if err := a.deleteInbox(name); err != nil {
		return fmt.Errorf("delete account: %w", err)
	}
	delete(s.accounts, name)
	return nil
}

// deleteInbox removes the last folder, and the account with it.
func (a *Account) deleteInbox(name string) error {
	a.write.Lock()
	defer a.write.Unlock()
	f, err := a.Folder(Inbox)
	if err != nil {
		return err
	}
	if _, err := f.expunge(nil, true); err != nil {
		return err
	}
	return a.change(func(tx *store.Tx) error {
		if err := a.deleteFolderTx(tx, f); err != nil {
			return err
		}
		// A mail client may still know the folders when the account is made again.
		last, err := a.lastUIDValidity(tx)
		if err != nil {
			return err
		}
		if err := tx.Set(validityKey(deletedAccounts), number(last)); err != nil {
			return err
		}
		keys := [][]byte{accountKey(name), validityKey(a.id)}
		err = tx.Iterate(store.Range{Prefix: subsKey(a.id)}, func(it store.Item) error {
			keys = append(keys, append([]byte(nil), it.Key...))
			return nil
		})
		for _, k := range keys {
			err = errors.Join(err, tx.Delete(k))
		}
		return err
	})
}
