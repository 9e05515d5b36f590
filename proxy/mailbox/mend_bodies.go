package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"mailproxy/internal/store"
)

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
