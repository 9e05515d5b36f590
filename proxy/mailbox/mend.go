package mailbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"mailproxy/internal/store"
)

// This file makes the mends of single problems.

// mending is a mend of one transaction.
func mending(fn func(*mender, *store.Tx) (string, error)) mend {
	return func(m *mender) (did string, err error) {
		err = m.update(func(tx *store.Tx) error {
			did, err = fn(m, tx)
			return err
		})
		return did, err
	}
}

func deleting(k []byte) mend {
	return mending(func(_ *mender, tx *store.Tx) (string, error) { return "removed the entry", tx.Delete(k) })
}

func setting(k []byte, n uint64) mend {
	return mending(func(_ *mender, tx *store.Tx) (string, error) {
		return fmt.Sprintf("wrote %d", n), tx.Set(k, number(n))
	})
}

// raising sets a counter to at least n.
func raising(k []byte, n uint64) mend {
	return mending(func(_ *mender, tx *store.Tx) (string, error) {
		if have, err := getNumber(tx, k); err == nil && have >= n {
			return "", nil
		}
		return fmt.Sprintf("set the counter to %d", n), tx.Set(k, number(n))
	})
}

func rebuildingAccount(name string, id uint32) mend {
	return mending(func(_ *mender, tx *store.Tx) (string, error) {
		return "wrote the account's record anew", putRecord(tx, accountKey(name), accountRecord{Format: FormatVersion, ID: id})
	})
}

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

// changingMessage changes a message's record, if it is there and readable.
func changingMessage(folder uint64, uid uint32, did string, fn func(*messageRecord)) mend {
	return mending(func(_ *mender, tx *store.Tx) (string, error) {
		rec, err := getMessage(tx, folder, uid)
		if err != nil {
			return "", nil
		}
		fn(&rec)
		return did, putRecord(tx, messageKey(folder, uid), rec)
	})
}

func cleaningFlags(folder uint64, uid uint32) mend {
	return changingMessage(folder, uid, "kept those of the message's flags that it can have", func(rec *messageRecord) {
		var good []string
		for _, f := range rec.Flags {
			if more, err := CleanFlags(append(slices.Clone(good), f)); err == nil {
				good = more
			}
		}
		rec.Flags = good
	})
}

func cleaningZone(folder uint64, uid uint32) mend {
	return changingMessage(folder, uid, "set the zone of the message's date to UTC", func(rec *messageRecord) { rec.Zone = 0 })
}

// rehoming gives a message another UID.
func rehoming(folder uint64, uid uint32) mend {
	return mending(func(m *mender, tx *store.Tx) (string, error) {
		rec, err := getMessage(tx, folder, uid)
		if err != nil {
			return "", nil
		}
		_, acct, err := m.owner(tx, folder)
		if err != nil || acct == 0 {
			return "", err
		}
		a := m.s.newAccount("", acct)
		if err := a.unlinkTx(tx, folder, uid, rec); err != nil {
			return "", err
		}
		fresh, err := a.addTx(tx, folder, rec)
		return fmt.Sprintf("gave the message UID %d", fresh), err
	})
}

// rehashing sets the Message-ID in a message's record; the index follows.
func rehashing(folder uint64, uid uint32, hash []byte) mend {
	return changingMessage(folder, uid, "corrected the Message-ID in the message's record", func(rec *messageRecord) { rec.IDHash = hash })
}

func indexing(folder uint64, uid uint32) mend {
	return mending(func(m *mender, tx *store.Tx) (string, error) {
		rec, err := getMessage(tx, folder, uid)
		if err != nil || len(rec.IDHash) != hashSize {
			return "", nil
		}
		_, acct, err := m.owner(tx, folder)
		if err != nil || acct == 0 {
			return "", err
		}
		return "put the message into the index of Message-IDs", tx.Set(idKey(acct, rec.IDHash, folder, uid), nil)
	})
}

// eachUser changes the records of all messages that share a body.
func eachUser(b blobID, did string, fn func(*messageRecord)) mend {
	return func(m *mender) (string, error) {
		users, err := m.users(b)
		if err != nil {
			return "", err
		}
		for _, e := range users {
			if _, err := changingMessage(e.folder, e.uid, did, fn)(m); err != nil {
				return "", err
			}
		}
		return did, nil
	}
}

func rehashingAll(b blobID, hash []byte) mend {
	return eachUser(b, "corrected the Message-ID in the message's record", func(rec *messageRecord) { rec.IDHash = hash })
}

func resizing(b blobID, size, wire int64) mend {
	return eachUser(b, "corrected the sizes in the message's record", func(rec *messageRecord) { rec.Size, rec.WireSize = size, wire })
}

// recounting counts the messages that share a body.
func recounting(b blobID) mend {
	return func(m *mender) (string, error) {
		users, err := m.users(b)
		if err != nil {
			return "", err
		}
		return mending(func(_ *mender, tx *store.Tx) (string, error) {
			n := uint64(0)
			for _, e := range users {
				if rec, err := getMessage(tx, e.folder, e.uid); err == nil && rec.Blob == b {
					n++
				}
			}
			if n == 0 {
				return "", nil
			}
			return fmt.Sprintf("counted %d messages that share the body", n), tx.Set(refsKey(b), number(n))
		})(m)
	}
}

// reparsing makes envelope and structure of a whole body anew.
func reparsing(b blobID) mend {
	return func(m *mender) (string, error) {
		raw, _, err := m.remains(b)
		if err != nil {
			return "", err
		}
		g, err := m.s.Stage(raw)
		if err != nil {
			return "", err
		}
		did, err := mending(func(_ *mender, tx *store.Tx) (string, error) {
			if err := tx.Set(envelopeKey(b), g.encEnv); err != nil {
				return "", err
			}
			return "read the message's envelope and structure anew from its bytes", tx.Set(structureKey(b), g.encStr)
		})(m)
		return did, errors.Join(err, m.s.Discard(g))
	}
}

// adopting puts a body that no message has into Recovered.
func adopting(b blobID) mend {
	return func(m *mender) (string, error) { return m.rescue(b) }
}

// salvaging puts what is left of a message that is not whole into Recovered, in the
// place of all messages that shared its bytes.
func salvaging(b blobID) mend {
	return func(m *mender) (string, error) { return m.rescue(b) }
}

// rescue makes a new message of the bytes of a body, in Recovered, and removes the
// body with the messages that have it.
func (m *mender) rescue(b blobID) (string, error) {
	users, err := m.users(b)
	if err != nil {
		return "", err
	}
	raw, keys, err := m.remains(b)
	if err != nil {
		return "", err
	}
	if len(keys) == 0 || !bytes.Equal(keys[0], chunkKey(b, 0)) {
		// The structure keeps most headers.
		var s Structure
		if m.s.st.View(func(tx *store.Tx) error { return getRecord(tx, structureKey(b), &s) }) == nil {
			raw = slices.Concat(s.Header, raw)
		}
	}
	var g *Staged
	if len(raw) > 0 {
		if g, err = m.s.Stage(raw); err != nil {
			return "", err
		}
	}
	var did string
	err = m.update(func(tx *store.Tx) error {
		did = "removed what recorded it: none of its bytes are left"
		if g != nil {
			a, folder, err := m.recovered(tx)
			if err != nil {
				return err
			}
			if err := g.commit(tx); err != nil {
				return err
			}
			now := m.s.now()
			_, zone := now.Zone()
			uid, err := a.addTx(tx, folder, messageRecord{
				Format: FormatVersion, Date: now.Unix(), Zone: zone,
				Size: g.size, WireSize: g.wireSize, Blob: g.id, IDHash: hashID(g.envelope.MessageID),
			})
			if err != nil {
				return err
			}
			did = fmt.Sprintf("put the %d bytes that are left into the folder %s, under UID %d", len(raw), Recovered, uid)
		}
		for _, e := range users { // the index of Message-IDs follows
			if err := tx.Delete(messageKey(e.folder, e.uid)); err != nil {
				return err
			}
		}
		for _, k := range append(keys, refsKey(b), envelopeKey(b), structureKey(b)) {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && g != nil {
		err = errors.Join(err, m.s.Discard(g))
	}
	return did, err
}
