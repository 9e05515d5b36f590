package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// This file checks accounts, folders, their names and their counters.

// number reads a counter: 0 and a reason if it is not a number, 0 alone if it is not
// there.
func (c *checker) number(k []byte) (uint64, string, error) {
	v, err := c.tx.Get(k)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, "", nil
	case err != nil:
		return 0, "", err
	case len(v) != 8:
		return 0, fmt.Sprintf("has %d bytes, and not 8", len(v)), nil
	}
	return binary.BigEndian.Uint64(v), "", nil
}

func (c *checker) checkAccounts() error {
	highest := uint64(0)
	err := c.each("a", 0, true, func(rest []byte, it store.Item) error {
		name := string(rest)
		var rec accountRecord
		v, err := it.Value()
		if err != nil {
			return err
		}
		if err := codec.Unmarshal(v, &rec); err != nil || rec.Format != FormatVersion || rec.ID == 0 {
			c.badAcct = append(c.badAcct, name)
			return nil // reported with the folders, one of whose owners it is
		}
		c.report.Accounts++
		highest = max(highest, uint64(rec.ID))
		if other, ok := c.accounts[rec.ID]; ok {
			c.say(Problem{Account: name}, nil, "the account has the same number as %s, %d", other, rec.ID)
			return nil
		}
		c.accounts[rec.ID] = name
		return nil
	})
	if err != nil {
		return err
	}
	return c.counter(nextAccountKey, highest, "accounts")
}

// counter checks the counter of what was numbered up to highest.
func (c *checker) counter(k []byte, highest uint64, of string) error {
	n, wrong, err := c.number(k)
	if err == nil && (wrong != "" || n < highest) {
		c.say(Problem{}, raising(k, highest), "the counter of %s stands at %d, and number %d is given", of, n, highest)
	}
	return err
}

func (c *checker) checkFolders() error {
	highest := uint64(0)
	c.unowned, c.uses = make(map[uint32]bool), make(map[string]bool)
	validities := make(map[uint64]string) // account id and UIDVALIDITY
	inbox := make(map[uint32]bool)
	err := c.each("f", 12, true, func(rest []byte, it store.Item) error {
		acct, id := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint64(rest[4:])
		v, err := it.Value()
		if err != nil {
			return err
		}
		f := &checkedFolder{acct: acct}
		highest = max(highest, id)
		if c.accounts[acct] == "" {
			c.unowned[acct] = true
		}
		c.report.Folders++
		c.folders[id] = f
		if err := codec.Unmarshal(v, &f.rec); err != nil || f.rec.Format != FormatVersion {
			f.lost, f.rec = true, folderRecord{Name: fmt.Sprintf("number %d", id)}
			c.say(c.at(id, 0), rebuildingFolder(acct, id), "the record of folder number %d cannot be read", id)
			return nil
		}
		if name, err := FolderName(f.rec.Name); err != nil || name != f.rec.Name {
			c.say(c.at(id, 0), renamingFolder(acct, id), "the folder has a name that none can have")
		}
		inbox[acct] = inbox[acct] || f.rec.Name == Inbox
		c.validity[acct] = max(c.validity[acct], uint64(f.rec.UIDValidity))
		if f.rec.UIDValidity == 0 {
			c.say(c.at(id, 0), renewingValidity(acct, id), "the folder has no UIDVALIDITY")
		} else if other, ok := validities[uint64(acct)<<32|uint64(f.rec.UIDValidity)]; ok {
			c.say(c.at(id, 0), renewingValidity(acct, id), "the folder has the UIDVALIDITY %d, and so has %q", f.rec.UIDValidity, other)
		}
		validities[uint64(acct)<<32|uint64(f.rec.UIDValidity)] = f.rec.Name
		c.checkUse(acct, id, f.rec.Use)
		return nil
	})
	if err != nil {
		return err
	}
	c.checkOwners()
	for _, id := range slices.Sorted(maps.Keys(c.accounts)) {
		if !inbox[id] {
			c.say(Problem{Account: c.accounts[id]}, makingInbox(id), "the account has no INBOX")
		}
	}
	return c.counter(nextFolderKey, highest, "folders")
}

func (c *checker) checkUse(acct uint32, id uint64, use string) {
	switch use {
	case "":
		return
	case UseAll, UseArchive, UseDrafts, UseFlagged, UseJunk, UseSent, UseTrash:
	default:
		c.say(c.at(id, 0), droppingUse(acct, id), "the folder has a special use that there is not, %q", use)
		return
	}
	k := fmt.Sprint(acct, use)
	if c.uses[k] {
		c.say(c.at(id, 0), droppingUse(acct, id), "the folder has the special use %s, and so has another", use)
		return
	}
	c.uses[k] = true
}

// checkOwners reports accounts whose record is bad, and folders of none. Where one
// of each is left, they belong together.
func (c *checker) checkOwners() {
	unowned := slices.Sorted(maps.Keys(c.unowned))
	if len(c.badAcct) == 1 && len(unowned) == 1 {
		c.accounts[unowned[0]] = c.badAcct[0]
		c.say(Problem{Account: c.badAcct[0]}, rebuildingAccount(c.badAcct[0], unowned[0]), "the account's record cannot be read")
		return
	}
	for _, name := range c.badAcct {
		c.say(Problem{Account: name}, nil, "the account's record cannot be read, and it cannot be told which folders are its own")
	}
	for _, id := range unowned {
		c.say(Problem{}, nil, "there are folders of account number %d, and no such account", id)
	}
}

// checkNames compares the index of names with the folders.
func (c *checker) checkNames() error {
	found := make(map[uint64]bool)
	err := c.each("n", 0, true, func(rest []byte, it store.Item) error {
		k := append([]byte(nil), it.Key...)
		if len(rest) < 5 {
			c.say(Problem{}, deleting(k), "an entry of the index of folder names is too short")
			return nil
		}
		acct, name := binary.BigEndian.Uint32(rest), string(rest[4:])
		at := Problem{Account: c.accounts[acct], Folder: name}
		v, err := it.Value()
		if err != nil {
			return err
		}
		if len(v) != 8 {
			c.say(at, deleting(k), "the index of folder names holds no number for this one")
			return nil
		}
		id := binary.BigEndian.Uint64(v)
		f := c.folders[id]
		switch {
		case f == nil:
			c.say(at, deleting(k), "the index of folder names leads to folder number %d, which is not there", id)
		case f.lost:
			found[id] = true // the name is taken from here
		case f.acct != acct || f.rec.Name != name:
			c.say(at, deleting(k), "the index of folder names leads to a folder that has the name %q", f.rec.Name)
		default:
			found[id] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(c.folders)) {
		if f := c.folders[id]; !found[id] && !f.lost {
			c.say(c.at(id, 0), namingFolder(f.acct, id), "the folder is not in the index of folder names")
		}
	}
	return nil
}

func (c *checker) checkSubscriptions() error {
	return c.each("s", 0, false, func(rest []byte, it store.Item) error {
		k := append([]byte(nil), it.Key...)
		if len(rest) < 5 {
			c.say(Problem{}, deleting(k), "a subscription is too short")
			return nil
		}
		acct, name := binary.BigEndian.Uint32(rest), string(rest[4:])
		at := Problem{Account: c.accounts[acct], Folder: name}
		if clean, err := FolderName(name); err != nil || clean != name {
			c.say(at, deleting(k), "a name is subscribed that no folder can have")
		} else if c.accounts[acct] == "" && !c.unowned[acct] {
			c.say(at, deleting(k), "a folder is subscribed for account number %d, which is not there", acct)
		}
		return nil
	})
}

// checkCounters reads the counters of UIDs and of UIDVALIDITY.
func (c *checker) checkCounters() error {
	err := c.each("u", 8, true, func(rest []byte, it store.Item) error {
		id := binary.BigEndian.Uint64(rest)
		v, err := it.Value()
		if err != nil {
			return err
		}
		f := c.folders[id]
		if f == nil {
			// Where messages are as well, the folder is made again with them.
			if found, err := c.hasMessages(id); err != nil || found {
				return err
			}
			c.say(c.at(id, 0), deleting(append([]byte(nil), it.Key...)), "there is a counter of UIDs for a folder that is not there")
			return nil
		}
		if len(v) == 8 {
			f.counter = binary.BigEndian.Uint64(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, acct := range slices.Sorted(maps.Keys(c.validity)) {
		n, wrong, err := c.number(validityKey(acct))
		if err != nil {
			return err
		}
		if wrong != "" || n < c.validity[acct] {
			c.say(Problem{Account: c.accounts[acct]}, raising(validityKey(acct), c.validity[acct]),
				"the counter of UIDVALIDITY stands at %d, and %d is given", n, c.validity[acct])
		}
	}
	return nil
}

func (c *checker) hasMessages(folder uint64) (bool, error) {
	found := false
	err := c.tx.Iterate(store.Range{Prefix: messagesKey(folder)}, func(store.Item) error {
		found = true
		return store.ErrStop
	})
	return found, err
}
