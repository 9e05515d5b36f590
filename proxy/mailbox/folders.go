package mailbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailproxy/internal/store"
)

// createTx writes a folder with that name, which is valid and not taken, and
// subscribes it.
func (a *Account) createTx(tx *store.Tx, name, use string) (uint64, error) {
	if ok, err := tx.Has(nameKey(a.id, name)); err != nil {
		return 0, err
	} else if ok {
		return 0, ErrExists
	}
	id, err := a.s.nextNumber(tx, nextFolderKey)
	if err != nil {
		return 0, err
	}
	validity, err := a.nextUIDValidity(tx)
	if err != nil {
		return 0, err
	}
	rec := folderRecord{Format: FormatVersion, Name: name, Use: use, UIDValidity: validity}
	if err := putRecord(tx, folderKey(a.id, id), rec); err != nil {
		return 0, err
	}
	if err := tx.Set(nameKey(a.id, name), number(id)); err != nil {
		return 0, err
	}
	if err := tx.Set(uidNextKey(id), number(1)); err != nil {
		return 0, err
	}
	return id, tx.Set(subKey(a.id, name), nil)
}

// parents returns the names above name, the topmost first.
func parents(name string) []string {
	var up []string
	for i := range len(name) {
		if name[i] == Delimiter[0] {
			up = append(up, name[:i])
		}
	}
	return up
}

// CreateFolder makes a folder, and those above it that are missing, and
// subscribes what it makes. use is a special use or empty; one that another
// folder has is ErrExists, one that is none ErrUse.
func (a *Account) CreateFolder(name, use string) error {
	name, err := FolderName(name)
	if err != nil {
		return fmt.Errorf("create folder: %w", err)
	}
	switch use {
	case "", UseAll, UseArchive, UseDrafts, UseFlagged, UseJunk, UseSent, UseTrash:
	default:
		return fmt.Errorf("create folder: %w", ErrUse)
	}
	a.write.Lock()
	defer a.write.Unlock()
	if _, err := a.Folder(name); err == nil {
		return fmt.Errorf("create folder: %w", ErrExists)
	}
	if _, err := a.FolderByUse(use); err == nil {
		return fmt.Errorf("create folder: special use: %w", ErrExists)
	}
	if err := a.room(name); err != nil {
		return fmt.Errorf("create folder: %w", err)
	}
	if err := a.change(func(tx *store.Tx) error { return a.createAllTx(tx, name, use) }); err != nil {
		return fmt.Errorf("create folder: %w", err)
	}
	return nil
}

// freeUse returns the use that a new account's folder of that name has, if no other
// folder has it now: who deletes Sent and makes it again finds sent mail there again.
func (a *Account) freeUse(name string) string {
	for _, f := range standardFolders {
		if f.name == name {
			if _, err := a.FolderByUse(f.use); err != nil {
				return f.use
			}
		}
	}
	return ""
}

// room fails when name and the names above it would be too many folders.
func (a *Account) room(name string) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if len(a.names.folders)+1+len(parents(name)) > maxFolders {
		return fmt.Errorf("%w: an account has at most %d folders", ErrName, maxFolders)
	}
	return nil
}

// createAllTx creates name, with a use or "" for that which its name has, and what is
// missing above it.
func (a *Account) createAllTx(tx *store.Tx, name, use string) error {
	if err := a.createAboveTx(tx, name, use); err != nil {
		return err
	}
	if use == "" {
		use = a.freeUse(name)
	}
	_, err := a.createTx(tx, name, use)
	return err
}

// createAboveTx creates what is missing above name, which is to have a use or "".
func (a *Account) createAboveTx(tx *store.Tx, name, taken string) error {
	for _, up := range parents(name) {
		use := a.freeUse(up)
		if use == taken {
			use = ""
		}
		if _, err := a.createTx(tx, up, use); err != nil && !errors.Is(err, ErrExists) {
			return err
		}
	}
	return nil
}

// change runs fn in a transaction and then reads the folders' names again.
// Callers hold a.write.
func (a *Account) change(fn func(tx *store.Tx) error) error {
	if err := a.s.st.Update(fn); err != nil {
		return err
	}
	if err := a.s.st.View(a.loadFolders); err != nil {
		return fmt.Errorf("read folders: %w", err)
	}
	return nil
}

// An inboxError is ErrName with a text of its own, which mail programs show.
type inboxError string

func (e inboxError) Error() string { return string(e) }
func (e inboxError) Unwrap() error { return ErrName }

const errInbox = inboxError("INBOX always exists, and cannot be deleted")

// DeleteFolder removes a folder and its messages. Inbox stays (ErrName), and so
// does a folder that has others below it (ErrHasChildren). Sessions that look at
// it hear that it is gone. The name stays subscribed (RFC 9051 section 6.3.8).
func (a *Account) DeleteFolder(name string) error {
	a.write.Lock()
	defer a.write.Unlock()
	f, err := a.Folder(name)
	if err != nil {
		return fmt.Errorf("delete folder: %w", err)
	}
	if f.Name() == Inbox {
		return errInbox
	}
	if len(a.below(f.Name())) > 0 {
		return fmt.Errorf("delete folder: %w", ErrHasChildren)
	}
	// The messages may be more than one transaction holds. They go first, so that
	// an interruption leaves a folder with fewer of them, and nothing that no
	// folder leads to.
	if _, err := f.expunge(nil, true); err != nil {
		return fmt.Errorf("delete folder: %w", err)
	}
	if err := a.change(func(tx *store.Tx) error { return a.deleteFolderTx(tx, f) }); err != nil {
		return fmt.Errorf("delete folder: %w", err)
	}
	return nil
}

// deleteFolderTx removes a folder whose messages are gone, or nearly all.
func (a *Account) deleteFolderTx(tx *store.Tx, f *Folder) error {
	// A message may have been delivered meanwhile; reading the counter makes a
	// later delivery conflict with this transaction.
	var left []uint32
	if _, err := getNumber(tx, uidNextKey(f.id)); err != nil {
		return err
	}
	if err := iterateUIDs(tx, f.id, 0, func(uid uint32) { left = append(left, uid) }); err != nil {
		return err
	}
	for _, uid := range left {
		if _, err := a.removeTx(tx, f.id, uid); err != nil {
			return err
		}
	}
	for _, k := range [][]byte{folderKey(a.id, f.id), nameKey(a.id, f.Name()), uidNextKey(f.id)} {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// below returns the names of the folders below name.
func (a *Account) below(name string) []string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var names []string
	for n := range a.names.byName {
		if strings.HasPrefix(n, name+Delimiter) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// RenameFolder gives a folder, and those below it, a new name; what is missing
// above the new name is made. Sessions that look at it go on. The messages of
// Inbox, which cannot lose its name, move to a new folder (RFC 9051 section
// 6.3.6).
func (a *Account) RenameFolder(from, to string) error {
	to, err := FolderName(to)
	if err != nil {
		return fmt.Errorf("rename folder: %w", err)
	}
	a.write.Lock()
	defer a.write.Unlock()
	f, err := a.Folder(from)
	if err != nil {
		return fmt.Errorf("rename folder: %w", err)
	}
	if _, err := a.Folder(to); err == nil {
		return fmt.Errorf("rename folder: %w", ErrExists)
	}
	if err := a.room(to); err != nil {
		return fmt.Errorf("rename folder: %w", err)
	}
	old := f.Name()
	if old == Inbox {
		if err := a.change(func(tx *store.Tx) error { return a.createAllTx(tx, to, "") }); err != nil {
			return fmt.Errorf("rename folder: %w", err)
		}
		if _, err := f.transfer(nil, to, true); err != nil {
			return fmt.Errorf("rename folder: %w", err)
		}
		return nil
	}
	if strings.HasPrefix(to, old+Delimiter) {
		return fmt.Errorf("rename folder: %w: a folder cannot be put below itself", ErrName)
	}
	moves := append([]string{old}, a.below(old)...)
	for _, n := range moves {
		if len(to)+len(n)-len(old) > maxName {
			return fmt.Errorf("rename folder: %w: a folder name has at most %d bytes", ErrName, maxName)
		}
	}
	err = a.change(func(tx *store.Tx) error {
		if err := a.createAboveTx(tx, to, ""); err != nil {
			return err
		}
		for _, n := range moves {
			if err := a.renameTx(tx, n, to+strings.TrimPrefix(n, old)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rename folder: %w", err)
	}
	return nil
}

// renameTx renames one folder; its subscription goes with it, or a client that
// shows only subscribed folders would lose it.
func (a *Account) renameTx(tx *store.Tx, from, to string) error {
	id, err := getNumber(tx, nameKey(a.id, from))
	if err != nil {
		return err
	}
	if ok, err := tx.Has(nameKey(a.id, to)); err != nil {
		return err
	} else if ok {
		return ErrExists
	}
	var rec folderRecord
	if err := getRecord(tx, folderKey(a.id, id), &rec); err != nil {
		return err
	}
	rec.Name = to
	if rec.Use == "" {
		rec.Use = a.freeUse(to)
	}
	if err := putRecord(tx, folderKey(a.id, id), rec); err != nil {
		return err
	}
	if err := tx.Delete(nameKey(a.id, from)); err != nil {
		return err
	}
	if err := tx.Set(nameKey(a.id, to), number(id)); err != nil {
		return err
	}
	ok, err := tx.Has(subKey(a.id, from))
	if err != nil || !ok {
		return err
	}
	if err := tx.Delete(subKey(a.id, from)); err != nil {
		return err
	}
	return tx.Set(subKey(a.id, to), nil)
}

// Subscribe puts an existing folder on the list of those a client shows.
func (a *Account) Subscribe(name string) error {
	a.write.Lock()
	defer a.write.Unlock()
	f, err := a.Folder(name)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return a.change(func(tx *store.Tx) error { return tx.Set(subKey(a.id, f.Name()), nil) })
}

// Unsubscribe takes a name off that list; it need not be there.
func (a *Account) Unsubscribe(name string) error {
	name, err := FolderName(name)
	if err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	a.write.Lock()
	defer a.write.Unlock()
	return a.change(func(tx *store.Tx) error { return tx.Delete(subKey(a.id, name)) })
}
