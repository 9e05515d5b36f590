package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"mailproxy/internal/store"
)

// A FlagOp says what SetFlags does with the flags it is given.
type FlagOp int

// The operations of IMAP's STORE (RFC 9051 section 6.4.6).
const (
	FlagsSet FlagOp = iota
	FlagsAdd
	FlagsRemove
)

// SetFlags changes the flags of those of the messages that exist, and returns
// these as they are now. Reserved flags stay as they are. When it returns nil the changes are synced.
func (f *Folder) SetFlags(uids []uint32, op FlagOp, flags []string) ([]Message, error) {
	flags, err := CleanFlags(flags)
	if err != nil {
		return nil, fmt.Errorf("set flags: %w", err)
	}
	f.a.write.Lock()
	defer f.a.write.Unlock()
	var done []Message
	for batch := range slices.Chunk(uids, maxBatch/4) {
		if err := f.setFlags(batch, op, flags, &done); err != nil {
			return done, fmt.Errorf("set flags: %w", err)
		}
	}
	return done, nil
}

func (f *Folder) setFlags(uids []uint32, op FlagOp, flags []string, done *[]Message) error {
	var known []uint32
	changed := make(map[uint32][]string)
	// Most STOREs in the wild repeat what is there: they cost no transaction.
	err := f.read(func() error {
		for _, uid := range uids {
			i, ok := f.find(uid)
			if !ok {
				continue
			}
			known = append(known, uid)
			now, err := apply(f.messages[i].Flags, op, flags)
			if err != nil {
				return err
			}
			if !slices.Equal(now, f.messages[i].Flags) {
				changed[uid] = now
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		err = f.a.s.st.Update(func(tx *store.Tx) error {
			for uid, now := range changed {
				rec, err := getMessage(tx, f.id, uid)
				if err != nil {
					return err
				}
				// Their delivery state may have changed since memory was looked at.
				rec.Flags = withReserved(now, rec.Flags)
				if err := putRecord(tx, messageKey(f.id, uid), rec); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	f.a.mu.Lock()
	defer f.a.mu.Unlock()
	for _, uid := range known {
		i, ok := f.find(uid)
		if !ok {
			continue
		}
		m := &f.messages[i]
		m.was = m.rev
		if now, ok := changed[uid]; ok {
			m.setFlags(withReserved(now, m.Flags))
			m.rev = f.rev + 1
		}
		*done = append(*done, *m)
	}
	if len(changed) > 0 {
		f.changed()
	}
	return nil
}

func apply(have []string, op FlagOp, flags []string) ([]string, error) {
	switch op {
	case FlagsSet:
		return withReserved(flags, have), nil
	case FlagsAdd:
		return CleanFlags(append(slices.Clone(have), settable(flags)...))
	case FlagsRemove:
		return slices.DeleteFunc(slices.Clone(have), func(h string) bool { return !Reserved(h) && hasFlag(flags, h) }), nil
	}
	return nil, fmt.Errorf("flag operation %d is unknown", op)
}

// Expunge removes the messages that have \Deleted: all of them, or with uids
// those of them. It returns the UIDs that are gone, also with an error. When it
// returns nil the removal is synced.
func (f *Folder) Expunge(uids []uint32) ([]uint32, error) {
	f.a.write.Lock()
	defer f.a.write.Unlock()
	return f.expunge(uids, false)
}

// Remove removes messages whatever their flags; those that are gone already do
// not matter. It returns the UIDs that are gone, also with an error. When it
// returns nil the removal is synced.
func (f *Folder) Remove(uids []uint32) ([]uint32, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	f.a.write.Lock()
	defer f.a.write.Unlock()
	return f.expunge(uids, true)
}

// expunge removes messages: those of uids, or with nil all; unless always is
// set, only what has \Deleted. Callers hold a.write.
func (f *Folder) expunge(uids []uint32, always bool) (gone []uint32, err error) {
	var todo []Message
	err = f.read(func() error {
		for _, m := range f.pick(uids) {
			if always || m.HasFlag(FlagDeleted) {
				todo = append(todo, m)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for len(todo) > 0 {
		n, keys := 0, 0
		for n < len(todo) && (n == 0 || keys < maxBatch) {
			keys += 5 + chunks(todo[n].Size)
			n++
		}
		err := f.a.s.st.Update(func(tx *store.Tx) error {
			for _, m := range todo[:n] {
				if _, err := f.a.removeTx(tx, f.id, m.UID); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return gone, fmt.Errorf("remove messages: %w", err)
		}
		gone = append(gone, f.forget(todo[:n])...)
		todo = todo[n:]
	}
	return gone, nil
}

// pick returns the messages of uids, all with nil. Callers hold a.mu.
func (f *Folder) pick(uids []uint32) []Message {
	if uids == nil {
		return slices.Clone(f.messages)
	}
	uids = slices.Compact(slices.Sorted(slices.Values(uids)))
	var list []Message
	for _, uid := range uids {
		if i, ok := f.find(uid); ok {
			list = append(list, f.messages[i])
		}
	}
	return list
}

// forget takes removed messages, which are sorted, out of memory.
func (f *Folder) forget(removed []Message) []uint32 {
	f.a.mu.Lock()
	defer f.a.mu.Unlock()
	uids := make([]uint32, len(removed))
	for i, m := range removed {
		uids[i] = m.UID
	}
	f.messages = slices.DeleteFunc(f.messages, func(m Message) bool {
		_, ok := slices.BinarySearch(uids, m.UID)
		return ok
	})
	f.changed()
	return uids
}

// Copied says which message became which: Source[i] is now also, or only,
// Dest[i] in the folder with UIDValidity.
type Copied struct {
	UIDValidity  uint32
	Source, Dest []uint32
}

// Copy puts those of the messages that exist into another folder (or the same
// one) too, under new UIDs: all of them or, with an error, none. ErrNoFolder if
// there is no such folder.
func (f *Folder) Copy(uids []uint32, dest string) (Copied, error) {
	f.a.write.Lock()
	defer f.a.write.Unlock()
	c, err := f.transfer(uids, dest, false)
	if err != nil {
		return Copied{}, fmt.Errorf("copy messages: %w", err)
	}
	return c, nil
}

// Move puts messages into another folder under new UIDs and removes them here.
// Each is at all times in exactly one of the two. With an error, Copied says
// what was moved before it.
func (f *Folder) Move(uids []uint32, dest string) (Copied, error) {
	f.a.write.Lock()
	defer f.a.write.Unlock()
	c, err := f.transfer(uids, dest, true)
	if err != nil {
		return c, fmt.Errorf("move messages: %w", err)
	}
	return c, nil
}

// transfer copies or moves the messages of uids, all with nil. Callers hold
// a.write.
func (f *Folder) transfer(uids []uint32, dest string, move bool) (Copied, error) {
	d, err := f.a.Folder(dest)
	if err != nil {
		return Copied{}, err
	}
	all := Copied{UIDValidity: d.uidValidity}
	var todo []Message
	err = f.read(func() error {
		todo = f.pick(uids)
		return nil
	})
	if err != nil {
		return all, err
	}
	for batch := range slices.Chunk(todo, maxBatch/5) {
		var put []Message
		err := f.a.s.st.Update(func(tx *store.Tx) (err error) {
			put, err = f.transferTx(tx, batch, d, move)
			return err
		})
		if err != nil {
			if !move && len(all.Dest) > 0 {
				// RFC 9051 section 6.4.7: a COPY that fails leaves nothing behind.
				_, undo := d.expunge(all.Dest, true)
				err = errors.Join(err, undo)
			}
			return all, err
		}
		for i, m := range batch {
			all.Source = append(all.Source, m.UID)
			all.Dest = append(all.Dest, put[i].UID)
		}
		if move {
			f.forget(batch)
		}
		f.a.arrived(d.id, put...)
	}
	return all, nil
}

// transferTx copies or moves messages, and returns them as they are in d.
func (f *Folder) transferTx(tx *store.Tx, batch []Message, d *Folder, move bool) ([]Message, error) {
	first, err := takeUIDs(tx, d.id, len(batch))
	if err != nil {
		return nil, err
	}
	put := make([]Message, len(batch))
	var reader recordReader
	for i, m := range batch {
		var rec messageRecord
		var written []byte // the record goes over as it is
		err := tx.Read(messageKey(f.id, m.UID), func(b []byte) error {
			written = bytes.Clone(b)
			return reader.read(written, &rec)
		})
		if errors.Is(err, store.ErrNotFound) {
			return nil, ErrNoMessage
		}
		if err != nil {
			return nil, fmt.Errorf("read message record: %w", err)
		}
		if move {
			err = f.a.unlinkTx(tx, f.id, m.UID, rec)
		} else {
			err = addRef(tx, rec.Blob)
		}
		if err != nil {
			return nil, err
		}
		put[i] = rec.message(first + uint32(i))
		if err := f.a.linkTx(tx, d.id, put[i].UID, rec.IDHash, written); err != nil {
			return nil, err
		}
	}
	return put, nil
}
