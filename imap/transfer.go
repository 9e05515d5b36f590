package imap

import (
	"errors"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailproxy/proxy/mailbox"
)

// Expunge implements imapserver.Session; it is CLOSE's work as well.
func (ss *session) Expunge(w *imapserver.ExpungeWriter, uids *goimap.UIDSet) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	closing := *w == imapserver.ExpungeWriter{} // the library has no other sign of CLOSE
	if closing && (ss.readOnly || ss.deleted) {
		return nil // RFC 9051 section 6.4.1: no error, and nothing is removed
	}
	sel, err := ss.writable()
	if err != nil {
		return err
	}
	var which []uint32
	if uids != nil {
		if which = ss.pick(*uids); len(which) == 0 {
			return nil
		}
	}
	_, err = sel.Folder().Expunge(which)
	return ss.fail(errors.Join(err, ss.writeExpunged(w.WriteExpunge)))
}

// writeExpunged tells what is gone. Callers hold ss.mu.
func (ss *session) writeExpunged(write func(seq uint32) error) error {
	gone, err := ss.sel.Expunged()
	if err != nil {
		return err
	}
	for _, seq := range gone {
		if err := write(uint32(seq)); err != nil {
			return err
		}
	}
	return nil
}

// Copy implements imapserver.Session.
func (ss *session) Copy(set goimap.NumSet, dest string) (*goimap.CopyData, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	sel, err := ss.selected()
	if err != nil {
		return nil, err
	}
	if err := ss.destination(dest); err != nil {
		return nil, err
	}
	uids := ss.pick(set)
	if len(uids) == 0 {
		return nil, nil
	}
	if err := ss.present(set, uids); err != nil {
		return nil, ss.fail(err)
	}
	c, err := sel.Folder().Copy(uids, dest)
	if err != nil {
		return nil, ss.fail(err)
	}
	return copyData(c), nil
}

// present fails when a sequence number stands for a message that another session
// has expunged: COPY and MOVE take all messages or none (RFC 9051 section 6.4.7,
// RFC 2180 section 4.4). UIDs without a message do not matter (section 6.4.9).
func (ss *session) present(set goimap.NumSet, uids []uint32) error {
	if _, byUID := set.(goimap.UIDSet); byUID {
		return nil
	}
	for _, uid := range uids {
		if _, err := ss.sel.Folder().Message(uid); err != nil {
			return err
		}
	}
	return nil
}

// Move implements imapserver.SessionMove.
func (ss *session) Move(w *imapserver.MoveWriter, set goimap.NumSet, dest string) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	sel, err := ss.writable()
	if err != nil {
		return err
	}
	if err := ss.destination(dest); err != nil {
		return err
	}
	uids := ss.pick(set)
	if len(uids) == 0 {
		return nil
	}
	if err := ss.present(set, uids); err != nil {
		return ss.fail(err)
	}
	c, err := sel.Folder().Move(uids, dest)
	if data := copyData(c); data != nil {
		if err := w.WriteCopyData(data); err != nil {
			return err
		}
	}
	return ss.fail(errors.Join(err, ss.writeExpunged(w.WriteExpunge)))
}

// destination fails with TRYCREATE when there is no such folder (RFC 9051
// section 6.4.7).
func (ss *session) destination(name string) error {
	if _, err := ss.account.Folder(name); err != nil {
		return no(goimap.ResponseCodeTryCreate, "No such folder")
	}
	return nil
}

func copyData(c mailbox.Copied) *goimap.CopyData {
	if len(c.Dest) == 0 {
		return nil
	}
	data := &goimap.CopyData{UIDValidity: c.UIDValidity}
	data.SourceUIDs, data.DestUIDs = uidSet(c.Source), uidSet(c.Dest)
	return data
}

// Append implements imapserver.Session.
func (ss *session) Append(name string, r goimap.LiteralReader, options *goimap.AppendOptions) (*goimap.AppendData, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if err := ss.destination(name); err != nil {
		return nil, err
	}
	flags := flagStrings(options.Flags)
	if _, err := mailbox.CleanFlags(flags); err != nil {
		return nil, ss.fail(err)
	}
	if r.Size() == 0 {
		return nil, no(goimap.ResponseCodeCannot, "A message has at least one byte")
	}
	date := options.Time
	if date.IsZero() {
		date = ss.s.o.Now()
	}
	id, err := ss.account.Append(name, &whole{r, r.Size()}, flags, date)
	if err != nil {
		return nil, ss.fail(err)
	}
	return &goimap.AppendData{UID: goimap.UID(id.UID), UIDValidity: id.UIDValidity}, nil
}
