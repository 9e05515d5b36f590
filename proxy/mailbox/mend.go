package mailbox

import (
	"fmt"

	"mailproxy/internal/store"
)

// The mends of single problems: here of single records, and of folders, messages and
// bodies in files of their own.

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
