package mailbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"mailproxy/internal/store"
)

func makingInbox(acct uint32) mend {
	return mending(func(m *mender, tx *store.Tx) (string, error) {
		_, err := m.s.newAccount("", acct).createTx(tx, Inbox, "")
		if errors.Is(err, ErrExists) { // the index has one: that is mended with the names
			return "", nil
		}
		return "made the folder INBOX", err
	})
}

// changingFolder changes a folder's record, which must be readable.
func changingFolder(acct uint32, id uint64, fn func(*mender, *store.Tx, *folderRecord) (string, error)) mend {
	return mending(func(m *mender, tx *store.Tx) (string, error) {
		var rec folderRecord
		if err := getRecord(tx, folderKey(acct, id), &rec); err != nil {
			return "", nil // the folder itself is mended first
		}
		did, err := fn(m, tx, &rec)
		if err != nil || did == "" {
			return "", err
		}
		return did, putRecord(tx, folderKey(acct, id), rec)
	})
}

func droppingUse(acct uint32, id uint64) mend {
	return changingFolder(acct, id, func(_ *mender, _ *store.Tx, rec *folderRecord) (string, error) {
		rec.Use = ""
		return "took the special use from the folder", nil
	})
}

// renew gives a folder another UIDVALIDITY: clients forget what they know of it.
func (m *mender) renew(tx *store.Tx, acct uint32, rec *folderRecord) (err error) {
	rec.UIDValidity, err = m.s.newAccount("", acct).nextUIDValidity(tx)
	return err
}

func renewingValidity(acct uint32, id uint64) mend {
	return changingFolder(acct, id, func(m *mender, tx *store.Tx, rec *folderRecord) (string, error) {
		return "gave the folder another UIDVALIDITY", m.renew(tx, acct, rec)
	})
}

// restartingUIDs makes a counter that is behind the messages. The UIDs of messages
// that were expunged are not known any more: hence another UIDVALIDITY.
func restartingUIDs(acct uint32, id uint64) mend {
	return changingFolder(acct, id, func(m *mender, tx *store.Tx, rec *folderRecord) (string, error) {
		highest, err := highestUID(tx, id)
		if err != nil {
			return "", err
		}
		if have, err := getNumber(tx, uidNextKey(id)); err == nil && have > uint64(highest) && have < 1<<32 {
			return "", nil
		}
		if err := tx.Set(uidNextKey(id), number(uint64(highest)+1)); err != nil {
			return "", err
		}
		return fmt.Sprintf("set the next UID to %d, and gave the folder another UIDVALIDITY", highest+1), m.renew(tx, acct, rec)
	})
}

// highestUID returns the highest UID that a folder may have given.
func highestUID(tx *store.Tx, folder uint64) (uint32, error) {
	var highest uint32
	err := iterateUIDs(tx, folder, 0, func(uid uint32) {
		if uid < 1<<32-1 {
			highest = uid
		}
	})
	return highest, err
}

// spareName is what a folder is called that cannot have its name.
func spareName(id uint64) string { return fmt.Sprintf("%s/folder %d", Recovered, id) }

func renamingFolder(acct uint32, id uint64) mend {
	return changingFolder(acct, id, func(m *mender, tx *store.Tx, rec *folderRecord) (string, error) {
		return m.rename(tx, acct, id, rec)
	})
}

// rename gives a folder its spare name.
func (m *mender) rename(tx *store.Tx, acct uint32, id uint64, rec *folderRecord) (string, error) {
	if have, err := getNumber(tx, nameKey(acct, rec.Name)); err == nil && have == id {
		if err := tx.Delete(nameKey(acct, rec.Name)); err != nil {
			return "", err
		}
	}
	a := m.s.newAccount("", acct)
	if _, err := a.createTx(tx, Recovered, ""); err != nil && !errors.Is(err, ErrExists) {
		return "", err
	}
	rec.Name = spareName(id)
	if err := tx.Set(nameKey(acct, rec.Name), number(id)); err != nil {
		return "", err
	}
	return fmt.Sprintf("gave the folder the name %q", rec.Name), tx.Set(subKey(acct, rec.Name), nil)
}

// namingFolder puts a folder into the index of names, under another name where its
// own is taken.
func namingFolder(acct uint32, id uint64) mend {
	return changingFolder(acct, id, func(m *mender, tx *store.Tx, rec *folderRecord) (string, error) {
		have, err := getNumber(tx, nameKey(acct, rec.Name))
		var other folderRecord
		switch {
		case err == nil && have == id:
			return "", nil
		case err == nil && getRecord(tx, folderKey(acct, have), &other) == nil && other.Name == rec.Name:
			return m.rename(tx, acct, id, rec)
		}
		return "put the folder into the index of folder names", tx.Set(nameKey(acct, rec.Name), number(id))
	})
}

// rebuildingFolder writes the record of a folder anew: under the name that the index
// of names has for it. acct is 0 if no record says whose it is.
func rebuildingFolder(acct uint32, id uint64) mend {
	return mending(func(m *mender, tx *store.Tx) (string, error) {
		name, owner, err := m.owner(tx, id)
		if err != nil {
			return "", err
		}
		if acct == 0 {
			acct = owner
		}
		var rec folderRecord
		if acct == 0 || getRecord(tx, folderKey(acct, id), &rec) == nil {
			return "", nil
		}
		rec = folderRecord{Format: FormatVersion, Name: name}
		if name == "" || owner != acct {
			if _, err := m.rename(tx, acct, id, &rec); err != nil {
				return "", err
			}
		}
		if err := m.renew(tx, acct, &rec); err != nil {
			return "", err
		}
		if _, err := getNumber(tx, uidNextKey(id)); err != nil {
			highest, err := highestUID(tx, id)
			if err == nil {
				err = tx.Set(uidNextKey(id), number(uint64(highest)+1))
			}
			if err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("wrote the folder's record anew: it is %q, with another UIDVALIDITY", rec.Name), putRecord(tx, folderKey(acct, id), rec)
	})
}

// owner looks up in the indexes what a folder is called and whose it is.
func (m *mender) owner(tx *store.Tx, id uint64) (name string, acct uint32, err error) {
	prefix := key("n")
	err = tx.Iterate(store.Range{Prefix: prefix, Values: true}, func(it store.Item) error {
		v, err := it.Value()
		if rest := it.Key[len(prefix):]; err == nil && len(rest) > 4 && bytes.Equal(v, number(id)) {
			name, acct = string(rest[4:]), binary.BigEndian.Uint32(rest)
			return store.ErrStop
		}
		return err
	})
	if err != nil || acct != 0 {
		return name, acct, err
	}
	prefix = key("i")
	err = tx.Iterate(store.Range{Prefix: prefix}, func(it store.Item) error {
		rest := it.Key[len(prefix):]
		if len(rest) == 4+hashSize+12 && binary.BigEndian.Uint64(rest[4+hashSize:]) == id {
			acct = binary.BigEndian.Uint32(rest)
			return store.ErrStop
		}
		return nil
	})
	if acct == 0 {
		acct = m.home
	}
	return "", acct, err
}
