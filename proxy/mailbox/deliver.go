package mailbox

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// ID says where a message was put.
type ID struct{ UIDValidity, UID uint32 }

// DeliverTx puts a staged message into a folder as part of the caller's
// transaction: what the caller records beside it (that this message was seen,
// say) is durable with it or not at all. Sessions hear of it once the
// transaction is. A zero date means now. ErrNoFolder if there is no such folder.
// The caller must not hold a lock that a session could need.
func (a *Account) DeliverTx(tx *store.Tx, folder string, g *Staged, flags []string, date time.Time) (ID, error) {
	flags, err := CleanFlags(flags)
	if err != nil {
		return ID{}, fmt.Errorf("deliver: %w", err)
	}
	name, err := FolderName(folder)
	if err != nil {
		return ID{}, fmt.Errorf("deliver: %w", err)
	}
	id, err := getNumber(tx, nameKey(a.id, name))
	if errors.Is(err, store.ErrNotFound) {
		err = ErrNoFolder
	}
	if err != nil {
		return ID{}, fmt.Errorf("deliver: %w", err)
	}
	var rec folderRecord
	if err := getRecord(tx, folderKey(a.id, id), &rec); err != nil {
		return ID{}, fmt.Errorf("deliver: %w", err)
	}
	if err := g.commit(tx); err != nil {
		return ID{}, fmt.Errorf("deliver: %w", err)
	}
	if date.IsZero() {
		date = a.s.now()
	}
	_, zone := date.Zone()
	uid, err := a.addTx(tx, id, messageRecord{
		Format: FormatVersion, Flags: flags, Date: date.Unix(), Zone: zone,
		Size: g.size, WireSize: g.wireSize, Blob: g.id, IDHash: hashID(g.envelope.MessageID),
	})
	if err != nil {
		return ID{}, fmt.Errorf("deliver: %w", err)
	}
	tx.OnCommit(func() { a.arrived(id) })
	return ID{UIDValidity: rec.UIDValidity, UID: uid}, nil
}

// Deliver stages and delivers raw. When it returns nil the message is synced.
func (a *Account) Deliver(folder string, raw []byte, flags []string, date time.Time) (ID, error) {
	g, err := a.s.Stage(raw)
	if err != nil {
		return ID{}, err
	}
	return a.deliver(folder, g, flags, date)
}

// DeliverReader stages what r reads to io.EOF, as Store.StageReader does, and
// delivers it. When it returns nil the message is synced.
func (a *Account) DeliverReader(folder string, r io.Reader, flags []string, date time.Time) (ID, error) {
	g, err := a.s.StageReader(r)
	if err != nil {
		return ID{}, err
	}
	return a.deliver(folder, g, flags, date)
}

func (a *Account) deliver(folder string, g *Staged, flags []string, date time.Time) (id ID, err error) {
	err = a.s.st.Update(func(tx *store.Tx) (err error) {
		id, err = a.DeliverTx(tx, folder, g, flags, date)
		return err
	})
	if err != nil {
		return ID{}, errors.Join(err, a.s.Discard(g))
	}
	return id, nil
}

// addTx writes rec under the folder's next UID.
func (a *Account) addTx(tx *store.Tx, folder uint64, rec messageRecord) (uint32, error) {
	uid, err := takeUIDs(tx, folder, 1)
	if err != nil {
		return 0, err
	}
	written, err := codec.Marshal(rec)
	if err != nil {
		return 0, err
	}
	return uid, a.linkTx(tx, folder, uid, rec.IDHash, written)
}

// takeUIDs takes the folder's next n UIDs, and returns the first.
func takeUIDs(tx *store.Tx, folder uint64, n int) (uint32, error) {
	next, err := getNumber(tx, uidNextKey(folder))
	if err != nil {
		return 0, fmt.Errorf("next uid: %w", err)
	}
	// The largest UID is left out, so that UIDNEXT is always a valid number.
	if next+uint64(n) > 1<<32-1 {
		return 0, ErrFull
	}
	return uint32(next), tx.Set(uidNextKey(folder), number(next+uint64(n)))
}

// linkTx writes a message's entries under a UID that was taken: a record, written, in
// which the hash of the Message-ID is idHash.
func (a *Account) linkTx(tx *store.Tx, folder uint64, uid uint32, idHash, written []byte) error {
	if idHash != nil {
		if err := tx.Set(idKey(a.id, idHash, folder, uid), nil); err != nil {
			return err
		}
	}
	return tx.Set(messageKey(folder, uid), written)
}

// removeTx deletes a message and its share of the blob, and returns how many
// keys that changed.
func (a *Account) removeTx(tx *store.Tx, folder uint64, uid uint32) (int, error) {
	rec, err := getMessage(tx, folder, uid)
	if err != nil {
		return 0, err
	}
	if err := a.unlinkTx(tx, folder, uid, rec); err != nil {
		return 0, err
	}
	n, err := dropRef(tx, rec.Blob, rec.Size)
	tx.OnCommit(func() { a.s.envelopes.drop(rec.Blob) })
	return n + 2, err
}

// unlinkTx deletes a message's entries but not its share of the blob.
func (a *Account) unlinkTx(tx *store.Tx, folder uint64, uid uint32, rec messageRecord) error {
	if rec.IDHash != nil {
		if err := tx.Delete(idKey(a.id, rec.IDHash, folder, uid)); err != nil {
			return err
		}
	}
	return tx.Delete(messageKey(folder, uid))
}

// arrived brings memory up to date after messages were added: those of added, if the
// caller has them, which follow each other.
func (a *Account) arrived(folder uint64, added ...Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.names.folders[folder]
	if f == nil || !f.loaded {
		return // it will be read when somebody looks
	}
	// With another delivery between, its message would be missing, or ours here already;
	// and the outbox may have changed a keyword of what is in the store and not here yet.
	delivery := func(m Message) bool { return slices.ContainsFunc(m.Flags, saysDelivery) }
	if len(added) > 0 && f.uidNext == added[0].UID && !f.gone && !slices.ContainsFunc(added, delivery) {
		for i := range added {
			added[i].rev = f.rev + 1
		}
		f.messages = append(f.messages, added...)
		f.uidNext += uint32(len(added))
		f.changed()
		return
	}
	if err := f.load(); err != nil {
		// The message is safe. Whoever looks next reads the index again, and is
		// told if that fails as well.
		a.s.log.Warn("mailbox: index of a folder could not be read after a delivery", "err", err)
		f.changed()
	}
}
