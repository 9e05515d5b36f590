package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/refusal"
	"mailproxy/proxy/seal"
)

// batchSize is how many bytes of a message one transaction writes, and so what a
// message takes of memory on its way into the outbox; firstRead is how much is made
// room for before a message is known to be larger.
const (
	batchSize = 4 * chunkSize
	firstRead = 16 << 10
)

// Submit takes over the message that msg reads, of which it holds a small part at a
// time. When it returns nil, the message is on disk, synced. The error is a
// *refusal.Error, or the reader's; then nothing is kept.
func (o *Outbox) Submit(ctx context.Context, s *Submission, msg io.Reader) error {
	a, err := o.sender(s.Account, s.From)
	if err != nil {
		return err
	}
	rs, err := recipientsOf(s)
	if err != nil {
		return err
	}
	clean, err := a.Clean(&bounded{r: msg, left: MaxMessage}, s)
	if err != nil {
		return err
	}
	now := o.cfg.Now()
	in := &intake{
		o: o, id: newID(now),
		in: &bounded{r: clean.Message, left: MaxMessage, counted: ", with every line ending made CRLF"},
	}
	m := &message{
		Version: recordVersion, Account: a.Address(), Kind: seal.KindMail, Submitted: now.UnixMilli(),
		EnvelopeID: s.EnvelopeID, Return: s.Return, Recipients: uint32(len(rs)),
	}
	if err := in.take(s, clean, m, rs); err != nil {
		if derr := in.discard(); derr != nil {
			o.log.Error("outbox: what came of a message that was not accepted stays until the next start", "err", derr)
		}
		return in.explain(err)
	}
	for _, r := range rs {
		o.cfg.Observe.Tell(progress.Event{Kind: progress.Submitted, At: o.cfg.Now(), Account: m.Account, Recipient: r.Address, Outbox: in.id.String()})
	}
	if clean.Accepted != nil {
		clean.Accepted()
	}
	return nil
}

// recipientsOf returns the recipients of a submission. An address that is named twice,
// in whatever case, is one: each gets the message once.
func recipientsOf(s *Submission) ([]recipient, error) {
	var rs []recipient
	at := make(map[string]int, len(s.Recipients)) // in rs
	for _, r := range s.Recipients {
		name, domain, err := parseAddress(r.Address)
		if err != nil {
			return nil, refusal.New(553, [3]int{5, 1, 3}, "%q is not an address of this network", r.Address)
		}
		notify := r.Notify
		if s.From == "" {
			notify = NotifyNever // nobody is told (RFC 5321 section 4.5.5)
		}
		address := name + "@" + domain
		if i, ok := at[address]; ok {
			rs[i].Notify = rs[i].Notify.or(notify)
			continue
		}
		at[address] = len(rs)
		rs = append(rs, recipient{
			Version: recordVersion, Address: address, Notify: notify,
			Original: r.Original, OriginalType: r.OriginalType, State: Queued,
		})
	}
	return rs, nil
}

// A bounded reader refuses a message that is too large.
type bounded struct {
	r       io.Reader
	left    int64
	counted string // how, for the error; "" as it came
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more, to see that there is more
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, refusal.New(552, [3]int{5, 3, 4}, "the message is too large: at most %d bytes (%d MiB) can be sent%s", MaxMessage, MaxMessage>>20, b.counted)
	}
	return n, err
}

// An intake is a message on its way into the outbox.
type intake struct {
	o       *Outbox
	id      ID
	in      io.Reader
	readErr error // how reading ended, but for io.EOF

	size   int64  // bytes that were read
	chunks uint32 // that were written
	// small is a message of one chunk. It is written with its records: a small mail
	// then costs a synced transaction less.
	small []byte
}

// take reads the message, writes it and makes it a job. Content first, in
// transactions of its own; the last one, which has the records and the copy in Sent,
// is what makes it exist.
func (in *intake) take(s *Submission, clean *Cleaned, m *message, rs []recipient) error {
	if err := in.o.cfg.Store.Room(); err != nil {
		return err
	}
	head, err := in.read()
	if err != nil {
		return err
	}
	m.Size = in.size
	var sent *mailbox.SentMail
	if s.From != "" { // else it is a receipt that a program wrote, and nobody's mail
		m.MessageID = mailbox.MessageID(head)
		bcc := bccFor(head, s.Addresses())
		sent = &mailbox.SentMail{
			ID: m.MessageID, Original: clean.OriginalID, Keywords: []string{mailbox.KeywordQueued},
			Copy: func() io.Reader { return io.MultiReader(bytes.NewReader(bcc), in.content()) },
		}
	}
	err = in.o.putSent(m.Account, sent, func(show func(tx *store.Tx) error) error {
		return in.o.cfg.Store.Update(func(tx *store.Tx) error {
			if clean.Note != nil {
				if err := clean.Note(tx); err != nil {
					return err
				}
			}
			return in.acceptTx(tx, m, rs, show)
		})
	})
	if err != nil {
		return err
	}
	j := &job{id: in.id, message: m}
	for i, r := range rs {
		j.parts = append(j.parts, newPart(j, uint32(i), r))
	}
	in.o.mu.Lock()
	in.o.add(j)
	in.o.mu.Unlock()
	return nil
}

func (in *intake) acceptTx(tx *store.Tx, m *message, rs []recipient, show func(tx *store.Tx) error) error {
	if len(in.small) > 0 {
		if err := tx.Set(key(kindContent, in.id, 0), in.small); err != nil {
			return err
		}
	}
	for i := range rs {
		if err := put(tx, key(kindRecipient, in.id, uint32(i)), &rs[i]); err != nil {
			return err
		}
	}
	if err := show(tx); err != nil {
		return err
	}
	return put(tx, key(kindMessage, in.id), m)
}

// read reads the message to its end, and returns its beginning with the header: the
// policy lets no longer one out.
func (in *intake) read() (head []byte, err error) {
	buf := make([]byte, 0, firstRead)
	for {
		n, err := in.in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		in.size += int64(n)
		if err != nil && err != io.EOF {
			in.readErr = err
			return nil, err
		}
		if err == io.EOF && in.size <= chunkSize {
			in.small = buf
			return buf, nil
		}
		if err == io.EOF && len(buf) > 0 || len(buf) == batchSize {
			if head == nil {
				head = bytes.Clone(buf[:headerSize(buf)])
			}
			if werr := in.write(buf); werr != nil {
				return nil, werr
			}
			buf = buf[:0]
		}
		if err == io.EOF {
			return head, nil
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, min(4*cap(buf), batchSize)), buf...)
		}
	}
}

// headerSize returns how many bytes of b are header, with the blank line behind it.
func headerSize(b []byte) int {
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return i + 4
	}
	return len(b)
}

// write writes the next chunks.
func (in *intake) write(b []byte) error {
	next := in.chunks
	err := in.o.cfg.Store.Update(func(tx *store.Tx) error {
		next = in.chunks
		for chunk := range slices.Chunk(b, chunkSize) {
			if err := tx.Set(key(kindContent, in.id, next), chunk); err != nil {
				return err
			}
			next++
		}
		return nil
	})
	if err == nil {
		in.chunks = next
	}
	return err
}

// content reads what was taken.
func (in *intake) content() io.Reader {
	if in.chunks == 0 {
		return bytes.NewReader(in.small)
	}
	return in.o.content(in.id)
}

// discard removes what was written of a message that is not accepted.
func (in *intake) discard() error {
	if in.chunks == 0 {
		return nil
	}
	err := in.o.cfg.Store.Update(func(tx *store.Tx) error { return deletePrefix(tx, key(kindContent, in.id)) })
	if err != nil {
		return fmt.Errorf("remove what came of a message: %w", err)
	}
	return nil
}

// explain makes an error what the mail program is told; that of its own reading stays.
func (in *intake) explain(err error) error {
	var refused *refusal.Error
	switch {
	case in.readErr != nil, errors.As(err, &refused):
		return err
	case errors.Is(err, store.ErrFull):
		return &refusal.Error{Code: 452, Enhanced: [3]int{4, 3, 1}, Text: "there is no room on the disk; free some and send again", Err: err}
	}
	return &refusal.Error{Code: 451, Enhanced: [3]int{4, 3, 0}, Text: "the message could not be stored; nothing was sent, try again", Err: err}
}

// content reads a message's bytes, a chunk at a time.
func (o *Outbox) content(id ID) io.Reader { return &contentReader{o: o, id: id} }

type contentReader struct {
	o    *Outbox
	id   ID
	next uint32
	have []byte
}

// Read implements io.Reader.
func (r *contentReader) Read(b []byte) (int, error) {
	if len(r.have) == 0 {
		var chunk []byte
		err := r.o.cfg.Store.View(func(tx *store.Tx) (err error) {
			chunk, err = tx.Get(key(kindContent, r.id, r.next))
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, fmt.Errorf("read message from outbox: %w", err)
		}
		r.have = chunk
		r.next++
	}
	n := copy(b, r.have)
	r.have = r.have[n:]
	return n, nil
}

// beginning reads the first chunk of a message: more than a report returns of it.
func (o *Outbox) beginning(id ID) ([]byte, error) {
	return io.ReadAll(io.LimitReader(o.content(id), chunkSize))
}
