package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// Names of the folders that every account begins with. Inbox is the only one
// that can be neither deleted nor missing.
const (
	Inbox   = "INBOX"
	Sent    = "Sent"
	Drafts  = "Drafts"
	Archive = "Archive"
	Junk    = "Junk"
	Trash   = "Trash"
)

// Special uses (RFC 6154 section 2).
const (
	UseAll     = `\All`
	UseArchive = `\Archive`
	UseDrafts  = `\Drafts`
	UseFlagged = `\Flagged`
	UseJunk    = `\Junk`
	UseSent    = `\Sent`
	UseTrash   = `\Trash`
)

var standardFolders = []struct{ name, use string }{
	{Inbox, ""}, {Sent, UseSent}, {Drafts, UseDrafts},
	{Archive, UseArchive}, {Junk, UseJunk}, {Trash, UseTrash},
}

// Delimiter separates the levels of a folder name.
const Delimiter = "/"

const (
	maxName    = 512  // bytes of a folder or account name
	maxFolders = 1000 // of one account: all of them are renamed or listed at once
	// maxBatch is how many keys one transaction changes, within store's bounds.
	maxBatch = 5000
)

// An Account is one user's folders.
type Account struct {
	s    *Store
	name string
	id   uint32

	// write serializes what changes folders and messages here, except DeliverTx,
	// which is in its caller's transaction. It is held across transactions.
	write sync.Mutex

	// mu guards what follows and the fields of each folder that say so. It is
	// held for moments, never across a transaction that writes. mu is taken after
	// write, never before.
	mu    sync.RWMutex
	names names
}

func (s *Store) newAccount(name string, id uint32) *Account {
	return &Account{s: s, name: name, id: id}
}

// Name returns the account's name, an address.
func (a *Account) Name() string { return a.name }

// names is what memory knows of an account's folders.
type names struct {
	folders    map[uint64]*Folder
	byName     map[string]*Folder
	subscribed map[string]bool
}

// loadFolders reads the names of all folders; their messages are read when they
// are first asked for. A folder that memory knew already stays the same *Folder.
func (a *Account) loadFolders(tx *store.Tx) error {
	n := names{make(map[uint64]*Folder), make(map[string]*Folder), make(map[string]bool)}
	prefix := foldersKey(a.id)
	err := tx.Iterate(store.Range{Prefix: prefix, Values: true}, func(it store.Item) error {
		v, err := it.Value()
		if err != nil {
			return err
		}
		var rec folderRecord
		if err := codec.Unmarshal(v, &rec); err != nil {
			return fmt.Errorf("folder record: %w", err)
		}
		id := binary.BigEndian.Uint64(it.Key[len(prefix):])
		n.folders[id] = &Folder{
			a: a, id: id, uidValidity: rec.UIDValidity, name: rec.Name, use: rec.Use,
			selections: make(map[*Selection]struct{}),
		}
		return nil
	})
	if err != nil {
		return err
	}
	prefix = subsKey(a.id)
	err = tx.Iterate(store.Range{Prefix: prefix}, func(it store.Item) error {
		n.subscribed[string(it.Key[len(prefix):])] = true
		return nil
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, f := range a.names.folders {
		fresh := n.folders[id]
		if fresh == nil || fresh.uidValidity != f.uidValidity { // deleted, or another by Repair
			f.gone, f.messages = true, nil
			f.changed()
			continue
		}
		f.name, f.use = fresh.name, fresh.use
		n.folders[id] = f
	}
	for _, f := range n.folders {
		n.byName[f.name] = f
	}
	a.names = n
	return nil
}

// FolderName returns name as it is kept: INBOX whatever its case (RFC 9051
// section 5.1), without a delimiter at its end. It fails with ErrName for one
// that cannot be used.
func FolderName(name string) (string, error) {
	name = strings.TrimSuffix(name, Delimiter)
	first, rest, nested := strings.Cut(name, Delimiter)
	if strings.EqualFold(first, Inbox) {
		name = Inbox
		if nested {
			name += Delimiter + rest
		}
	}
	switch {
	case name == "" || strings.HasPrefix(name, Delimiter) || strings.Contains(name, Delimiter+Delimiter):
		return "", fmt.Errorf("%w: a folder name has no empty level", ErrName)
	case len(name) > maxName:
		return "", fmt.Errorf("%w: a folder name has at most %d bytes", ErrName, maxName)
	case !printable(name):
		return "", fmt.Errorf("%w: a folder name has no control characters", ErrName)
	case strings.ContainsAny(name, "*%"):
		return "", fmt.Errorf("%w: a folder name has no * or %%", ErrName)
	}
	return name, nil
}

// FolderInfo describes a folder in a list.
type FolderInfo struct {
	Name       string
	Use        string // special use, or ""
	Subscribed bool
	// Missing is set for a name that is only subscribed: the folder was deleted.
	Missing bool
}

// Folders lists all folders and all subscribed names, sorted by name.
func (a *Account) Folders() []FolderInfo {
	a.mu.RLock()
	defer a.mu.RUnlock()
	list := make([]FolderInfo, 0, len(a.names.byName))
	for name, f := range a.names.byName {
		list = append(list, FolderInfo{Name: name, Use: f.use, Subscribed: a.names.subscribed[name]})
	}
	for name := range a.names.subscribed {
		if a.names.byName[name] == nil {
			list = append(list, FolderInfo{Name: name, Subscribed: true, Missing: true})
		}
	}
	slices.SortFunc(list, func(x, y FolderInfo) int { return strings.Compare(x.Name, y.Name) })
	return list
}

// Folder returns the folder of that name, or ErrNoFolder.
func (a *Account) Folder(name string) (*Folder, error) {
	name, err := FolderName(name)
	if err != nil {
		return nil, ErrNoFolder // a name that cannot be has no folder
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	f := a.names.byName[name]
	if f == nil {
		return nil, ErrNoFolder
	}
	return f, nil
}

// FolderByUse returns the folder with the special use, or ErrNoFolder.
func (a *Account) FolderByUse(use string) (*Folder, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, f := range a.names.folders {
		if use != "" && f.use == use {
			return f, nil
		}
	}
	return nil, ErrNoFolder
}

// HasMessageID reports whether any folder holds a message with that Message-ID;
// angle brackets around it do not matter.
func (a *Account) HasMessageID(id string) (bool, error) {
	hash := hashID(NormalMessageID(id))
	if hash == nil {
		return false, nil
	}
	found := false
	err := a.s.st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: idsKey(a.id, hash)}, func(store.Item) error {
			found = true
			return store.ErrStop
		})
	})
	if err != nil {
		return false, fmt.Errorf("look up message id: %w", err)
	}
	return found, nil
}

// nextUIDValidity returns a value that no folder of the account had before, nor of an
// account that was deleted, which may have been of the same name: the time, or one more
// than the last where the clock has not moved on.
func (a *Account) nextUIDValidity(tx *store.Tx) (uint32, error) {
	last, err := a.lastUIDValidity(tx)
	if err != nil {
		return 0, err
	}
	next := max(last+1, uint64(max(a.s.now().Unix(), 1)))
	if next > 1<<32-1 {
		// A clock beyond 2106; the counter alone has room for as many folders.
		if next = last + 1; next > 1<<32-1 {
			return 0, errors.New("no UIDVALIDITY left")
		}
	}
	return uint32(next), tx.Set(validityKey(a.id), number(next))
}

// lastUIDValidity returns the highest value of the account's folders so far, and of
// those of accounts that were deleted.
func (a *Account) lastUIDValidity(tx *store.Tx) (last uint64, err error) {
	for _, acct := range []uint32{a.id, deletedAccounts} {
		n, err := getNumber(tx, validityKey(acct))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return 0, err
		}
		last = max(last, n)
	}
	return last, nil
}
