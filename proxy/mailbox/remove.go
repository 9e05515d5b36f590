package mailbox

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

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
		return a.deleteTx(tx, name)
	})
}

// deleteTx removes what is left of an account whose folders are gone.
func (a *Account) deleteTx(tx *store.Tx, name string) error {
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
}

// DeleteUnused removes an account that has no more folders than it was made with, and
// in whose folders nothing was ever put, in one transaction: one that was not wanted
// after all. ErrInUse for any other, of which nothing is removed; ErrNoAccount if there
// is none.
func (s *Store) DeleteUnused(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[name]
	if a == nil {
		return ErrNoAccount
	}
	a.write.Lock()
	defer a.write.Unlock()
	a.mu.RLock()
	folders := slices.Collect(maps.Values(a.names.folders))
	a.mu.RUnlock()
	err := a.change(func(tx *store.Tx) error {
		if len(folders) > len(standardFolders) {
			return ErrInUse
		}
		for _, f := range folders {
			// Reading the counter makes this transaction and a delivery conflict.
			if next, err := getNumber(tx, uidNextKey(f.id)); err != nil {
				return err
			} else if next != 1 {
				return ErrInUse
			}
			some := false // should the counter be damaged
			if err := iterateUIDs(tx, f.id, 0, func(uint32) { some = true }); err != nil || some {
				return cmp.Or(err, ErrInUse)
			}
			if err := a.deleteFolderTx(tx, f); err != nil {
				return err
			}
		}
		for _, prefix := range sentPrefixes(a.id) {
			if err := tx.Iterate(store.Range{Prefix: prefix}, func(store.Item) error { return ErrInUse }); err != nil {
				return err
			}
		}
		return a.deleteTx(tx, name)
	})
	if err != nil {
		return fmt.Errorf("delete unused account: %w", err)
	}
	delete(s.accounts, name)
	return nil
}
