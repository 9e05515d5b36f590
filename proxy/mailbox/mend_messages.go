package mailbox

import (
	"fmt"
	"slices"

	"mailproxy/internal/store"
)

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
