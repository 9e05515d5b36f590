package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"mailproxy/internal/store"
)

// A mail goes out under another Message-ID than its mail program gave it (package
// headers). What follows makes the mail in Sent, and what the program knows of it,
// one thing with what recipients have:
//
//   - PutSent puts a copy into Sent when the mail is accepted, as it went out.
//   - When the program appends its own copy, that takes the place of ours, under a
//     new UID, which is the one of APPENDUID, and with the Message-ID of the mail
//     that went out. All its other bytes are the program's. (A program's copy may
//     hold more than what it sent: Bcc, or the text that it encrypted.)
//   - A program that appends before it sends has its copy replaced in the same way
//     when the mail is accepted.
//
// No UID ever stands for two different contents: what is replaced is expunged.

// outgoingRecord is kept of a mail that went out, under the Message-ID by which
// recipients know it.
type outgoingRecord struct {
	Format   uint8    `cbor:"1,keyasint"`
	Original string   `cbor:"2,keyasint,omitempty"` // by which the mail program knows it
	Keywords []string `cbor:"3,keyasint,omitempty"` // its delivery state
}

// originalRecord is kept under the Message-ID by which the mail program knows it.
type originalRecord struct {
	Format uint8  `cbor:"1,keyasint"`
	ID     string `cbor:"2,keyasint"` // as it went out, the last time if it did so several times
	// Folder and UID are where our own copy was put, until the program's takes its
	// place. UID is 0 after that.
	Folder uint64 `cbor:"3,keyasint,omitempty"`
	UID    uint32 `cbor:"4,keyasint,omitempty"`
}

// A SentMail is a mail that is being accepted for sending.
type SentMail struct {
	ID       string // Message-ID as it goes out; angle brackets around it do not matter
	Original string // by which the mail program knows it; may be empty
	// Copy returns a reader of what is put into the folder for sent mail, unless the
	// mail program has put its own there before.
	Copy     func() io.Reader
	Keywords []string // its delivery state
}

// PutSent calls update, which runs a transaction and in it calls put: that puts the
// mail into the folder with the special use \Sent, as seen, and notes both its
// Message-IDs. Without such a folder it notes these only. Nothing is left of it when
// update fails. It calls update again where the mail program appended its copy
// meanwhile.
func (a *Account) PutSent(m SentMail, update func(put func(tx *store.Tx) error) error) error {
	for {
		if err := a.putSent(m, update); !errors.Is(err, errMeanwhile) {
			return err
		}
	}
}

// errMeanwhile says that the other copy of a mail came between the look for it and the
// transaction: a program may submit and append at the same moment. Both transactions
// take a UID of the folder, so that one sees what the other did.
var errMeanwhile = errors.New("the mail's other copy came meanwhile")

func (a *Account) putSent(m SentMail, update func(put func(tx *store.Tx) error) error) error {
	m.ID, m.Original = NormalMessageID(m.ID), NormalMessageID(m.Original)
	f, err := a.FolderByUse(UseSent)
	if errors.Is(err, ErrNoFolder) {
		return update(func(tx *store.Tx) error { return a.noteSentTx(tx, m, place{}) })
	}
	if err != nil {
		return err
	}
	own, err := a.ownCopy(f, m)
	if err == nil && own != nil {
		// Nobody is to change it now. Few programs append before they send: the others
		// need not wait for each other.
		a.write.Lock()
		defer a.write.Unlock()
		own, err = a.ownCopy(f, m)
	}
	if err != nil {
		return fmt.Errorf("look for the mail program's copy: %w", err)
	}
	var g *Staged
	if own == nil {
		g, err = a.s.StageReader(m.Copy())
	} else {
		g, err = a.s.restage(*own, m.ID)
	}
	if err != nil {
		return fmt.Errorf("put mail into %s: %w", Sent, err)
	}
	err = update(func(tx *store.Tx) error {
		date, flags := time.Time{}, []string{FlagSeen}
		if own == nil {
			if err := a.noneMeanwhile(tx, f, m); err != nil {
				return err
			}
		} else {
			date, flags = own.Date(), own.Flags
			if err := a.replaceTx(tx, place{f.id, own.UID}); err != nil {
				return err
			}
		}
		id, err := a.DeliverTx(tx, f.Name(), g, withReserved(flags, m.Keywords), date)
		if err != nil {
			return err
		}
		ours := place{f.id, id.UID}
		if own != nil {
			ours.uid = 0
		}
		return a.noteSentTx(tx, m, ours)
	})
	if err != nil {
		return errors.Join(err, a.s.Discard(g))
	}
	return nil
}

// ownCopy returns the message that the mail program put into f before it sent the
// mail, or nil if there is none.
func (a *Account) ownCopy(f *Folder, m SentMail) (*Message, error) {
	if m.Original == "" {
		return nil, nil
	}
	var places []place
	err := a.s.st.View(func(tx *store.Tx) (err error) {
		places, err = a.placesTx(tx, hashID(m.Original))
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := len(places) - 1; i >= 0; i-- { // the newest first
		if places[i].folder != f.id {
			continue
		}
		own, err := f.Message(places[i].uid)
		if errors.Is(err, ErrNoMessage) || err == nil && own.HasFlag(FlagDraft) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &own, nil
	}
	return nil, nil
}

// noneMeanwhile fails with errMeanwhile if there is now what ownCopy looks for.
func (a *Account) noneMeanwhile(tx *store.Tx, f *Folder, m SentMail) error {
	if m.Original == "" {
		return nil
	}
	places, err := a.placesTx(tx, hashID(m.Original))
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.folder != f.id {
			continue
		}
		rec, err := getMessage(tx, p.folder, p.uid)
		if err == nil && !hasFlag(rec.Flags, FlagDraft) {
			return errMeanwhile
		}
		if err != nil && !errors.Is(err, ErrNoMessage) {
			return err
		}
	}
	return nil
}

// noteSentTx notes both ids of a mail that goes out, and where our copy of it is.
func (a *Account) noteSentTx(tx *store.Tx, m SentMail, ours place) error {
	hash := hashID(m.ID)
	if hash == nil {
		return nil
	}
	rec := outgoingRecord{Format: FormatVersion, Original: m.Original, Keywords: withReserved(nil, m.Keywords)}
	if err := putRecord(tx, outgoingKey(a.id, hash), rec); err != nil || m.Original == "" {
		return err
	}
	return putRecord(tx, originalKey(a.id, hashID(m.Original)), originalRecord{
		Format: FormatVersion, ID: m.ID, Folder: ours.folder, UID: ours.uid,
	})
}

// replaceTx removes a message that another takes the place of. One that is gone does
// not matter.
func (a *Account) replaceTx(tx *store.Tx, p place) error {
	if _, err := a.removeTx(tx, p.folder, p.uid); err != nil {
		if errors.Is(err, ErrNoMessage) {
			return nil
		}
		return err
	}
	tx.OnCommit(func() {
		a.mu.RLock()
		f := a.names.folders[p.folder]
		a.mu.RUnlock()
		if f != nil {
			f.forget([]Message{{UID: p.uid}})
		}
	})
	return nil
}

// Append puts what a mail program appends into a folder, with the flags that it may
// set. When it returns nil the message is synced, and ID says where it is.
//
// The copy of a mail that went out, known by the Message-ID that the program gave it,
// gets the Message-ID that the mail went out with and the mail's delivery state, and
// takes the place of our own copy, wherever it is put. Drafts are left alone.
func (a *Account) Append(folder string, r io.Reader, flags []string, date time.Time) (ID, error) {
	flags = settable(flags)
	head, err := readHead(r)
	if err != nil {
		return ID{}, fmt.Errorf("append: %w", err)
	}
	original := ""
	if f, err := a.Folder(folder); err == nil && f.Use() != UseDrafts && !hasFlag(flags, FlagDraft) {
		original = MessageID(head)
	}
	if original == "" {
		return a.DeliverReader(folder, io.MultiReader(bytes.NewReader(head), r), flags, date)
	}
	// The lock is taken once all is here: how long that lasts is the client's.
	before, _, err := a.SentAs(original)
	if err != nil {
		return ID{}, err
	}
	g, err := a.s.StageReader(io.MultiReader(bytes.NewReader(withMessageID(head, before)), r))
	if err != nil {
		return ID{}, err
	}
	a.write.Lock()
	defer a.write.Unlock()
	for {
		sent, ok, err := a.SentAs(original)
		if err != nil {
			return ID{}, errors.Join(err, a.s.Discard(g))
		}
		if sent != before { // it went out meanwhile
			old := g
			g, err = a.s.restageStaged(old, sent)
			if err = errors.Join(err, a.s.Discard(old)); err != nil {
				return ID{}, err
			}
			before = sent
		}
		var id ID
		err = a.s.st.Update(func(tx *store.Tx) (err error) {
			if ok {
				id, err = a.appendSentTx(tx, folder, original, sent, g, flags, date)
				return err
			}
			switch known, err := tx.Has(originalKey(a.id, hashID(original))); {
			case err != nil:
				return err
			case known:
				return errMeanwhile
			}
			id, err = a.DeliverTx(tx, folder, g, flags, date)
			return err
		})
		switch {
		case err == nil:
			return id, nil
		case !errors.Is(err, errMeanwhile):
			return ID{}, errors.Join(err, a.s.Discard(g))
		}
	}
}

// appendSentTx delivers the mail program's copy g of the mail that went out as sent.
func (a *Account) appendSentTx(tx *store.Tx, folder, original, sent string, g *Staged, flags []string, date time.Time) (ID, error) {
	flags = slices.Clone(flags) // Update may run this again
	var rec outgoingRecord
	if err := getRecord(tx, outgoingKey(a.id, hashID(sent)), &rec); err != nil {
		return ID{}, fmt.Errorf("append: %w", err)
	}
	var known originalRecord
	if err := getRecord(tx, originalKey(a.id, hashID(original)), &known); err != nil {
		return ID{}, fmt.Errorf("append: %w", err)
	}
	// The mail may have gone out once more since g was staged: then that one has a
	// copy of its own.
	if known.ID == sent && known.UID != 0 {
		ours := place{known.Folder, known.UID}
		switch m, err := getMessage(tx, ours.folder, ours.uid); {
		case err == nil:
			for _, f := range settable(m.Flags) {
				// What other programs did to it in the meantime. That it is seen was
				// said by us.
				if f != FlagSeen && !hasFlag(flags, f) {
					flags = append(flags, f)
				}
			}
			if err := a.replaceTx(tx, ours); err != nil {
				return ID{}, err
			}
		case !errors.Is(err, ErrNoMessage):
			return ID{}, err
		}
		known.Folder, known.UID = 0, 0
		if err := putRecord(tx, originalKey(a.id, hashID(original)), known); err != nil {
			return ID{}, err
		}
	}
	return a.DeliverTx(tx, folder, g, withReserved(flags, rec.Keywords), date)
}

// SentAs returns the Message-ID with which the mail went out that the mail program
// knows by id, or false if no mail went out that it knows by that.
func (a *Account) SentAs(id string) (sent string, ok bool, err error) {
	var rec originalRecord
	ok, err = a.lookUp(id, originalKey, &rec)
	return rec.ID, ok, err
}

// SentFrom returns the Message-ID by which the mail program may know the mail that
// went out as id, or false if there is none.
func (a *Account) SentFrom(id string) (original string, ok bool, err error) {
	var rec outgoingRecord
	ok, err = a.lookUp(id, outgoingKey, &rec)
	return rec.Original, ok && rec.Original != "", err
}

func (a *Account) lookUp(id string, key func(uint32, []byte) []byte, rec any) (bool, error) {
	hash := hashID(NormalMessageID(id))
	if hash == nil {
		return false, nil
	}
	err := a.s.st.View(func(tx *store.Tx) error { return getRecord(tx, key(a.id, hash), rec) })
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up sent mail: %w", err)
	}
	return true, nil
}

// forgetSent removes what is kept of the account's mail that went out.
func (a *Account) forgetSent() error {
	for _, prefix := range sentPrefixes(a.id) {
		for more := true; more; {
			err := a.s.st.Update(func(tx *store.Tx) error {
				var keys [][]byte
				err := tx.Iterate(store.Range{Prefix: prefix}, func(it store.Item) error {
					keys = append(keys, bytes.Clone(it.Key))
					if len(keys) == maxBatch {
						return store.ErrStop
					}
					return nil
				})
				more = len(keys) == maxBatch
				for _, k := range keys {
					err = errors.Join(err, tx.Delete(k))
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("forget sent mail: %w", err)
			}
		}
	}
	return nil
}
