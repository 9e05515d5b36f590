package mailbox

import (
	"errors"
	"fmt"
	"io"

	"mailproxy/internal/store"
)

// A Content reads one message's parts from one snapshot of the store.
type Content struct {
	s         *Store
	tx        *store.Tx
	m         Message
	envelope  *Envelope
	structure *Structure
	// room is where Bytes puts what it reads, as long as it lasts; nil if there is
	// none. Those messages share it that Contents reads in turn.
	room *room
}

// A room keeps what is read of one message, so that not every body of usual size
// leaves garbage behind.
type room struct{ b []byte }

// roomSize is its size in bytes.
const roomSize = 64 << 10

// take returns n bytes of the room, which is made when it is first asked for, or nil.
func (r *room) take(n int) []byte {
	if r == nil {
		return nil
	}
	if r.b == nil {
		r.b = make([]byte, 0, roomSize)
	}
	have := len(r.b)
	if n > cap(r.b)-have {
		return nil
	}
	r.b = r.b[:have+n]
	return r.b[have : have : have+n]
}

// Content calls fn with the message's content, which is valid until fn returns.
// ErrNoMessage if the message is gone.
func (f *Folder) Content(m Message, fn func(*Content) error) error {
	return f.a.s.st.View(func(tx *store.Tx) error {
		c := &Content{s: f.a.s, tx: tx, m: m}
		return c.gone(fn(c))
	})
}

// Contents calls fn with each message's content in turn, all from one snapshot,
// which is cheaper than as many of Content. What fn has read is valid until it
// returns. A message that is gone is left out.
func (f *Folder) Contents(list []Seen, fn func(Seen, *Content) error) error {
	return f.a.s.st.View(func(tx *store.Tx) error {
		var shared *room
		if len(list) > 1 {
			shared = new(room)
		}
		for _, m := range list {
			if shared != nil {
				shared.b = shared.b[:0]
			}
			c := &Content{s: f.a.s, tx: tx, m: m.Message, room: shared}
			if err := c.gone(fn(m, c)); err != nil && !errors.Is(err, ErrNoMessage) {
				return err
			}
		}
		return nil
	})
}

// gone makes of an error that something is missing ErrNoMessage, where that is
// because the whole message is.
func (c *Content) gone(err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	switch ok, hasErr := c.tx.Has(refsKey(c.m.blob)); {
	case hasErr != nil:
		return errors.Join(err, hasErr)
	case !ok:
		return ErrNoMessage
	}
	return err
}

// Envelope returns the parsed envelope, which many share: it must not be changed.
func (c *Content) Envelope() (*Envelope, error) {
	if c.envelope == nil {
		c.envelope = c.s.envelopes.get(c.m.blob)
	}
	if c.envelope == nil {
		e := new(Envelope)
		if err := getRecord(c.tx, envelopeKey(c.m.blob), e); err != nil {
			return nil, fmt.Errorf("read envelope: %w", err)
		}
		c.s.envelopes.put(c.m.blob, e)
		c.envelope = e
	}
	return c.envelope, nil
}

// Structure returns the parsed MIME tree.
func (c *Content) Structure() (*Structure, error) {
	if c.structure == nil {
		s := new(Structure)
		if err := getRecord(c.tx, structureKey(c.m.blob), s); err != nil {
			return nil, fmt.Errorf("read structure: %w", err)
		}
		if len(s.Parts) == 0 {
			return nil, errors.New("read structure: it has no parts")
		}
		c.structure = s
	}
	return c.structure, nil
}

// Header returns the message's header and the blank line after it.
func (c *Content) Header() ([]byte, error) {
	s, err := c.Structure()
	if err != nil {
		return nil, err
	}
	if n := s.Parts[0].Body; int64(len(s.Header)) != n {
		return c.Bytes(0, n) // too long to be kept beside the structure
	}
	return s.Header, nil
}

// Bytes returns the message's bytes from off up to end.
func (c *Content) Bytes(off, end int64) ([]byte, error) {
	if off < 0 || end < off || end > c.m.Size {
		return nil, fmt.Errorf("bytes %d to %d of a message of %d", off, end, c.m.Size)
	}
	n := int(end - off)
	to := c.room.take(n)
	if to == nil {
		to = make([]byte, 0, n)
	}
	return readBlob(c.tx, c.m.blob, off, to)
}

// Reader reads the message's bytes from off up to end, a small part at a time.
func (c *Content) Reader(off, end int64) io.Reader { return &contentReader{c: c, off: off, end: end} }

type contentReader struct {
	c        *Content
	off, end int64
	have     []byte // what was read of the store
}

// Read implements io.Reader.
func (r *contentReader) Read(b []byte) (int, error) {
	if len(r.have) == 0 {
		if r.off >= r.end {
			return 0, io.EOF
		}
		// Up to where a chunk ends, so that each is read once.
		next := min(r.end, (r.off/chunkSize+1)*chunkSize)
		have, err := r.c.Bytes(r.off, next)
		if err != nil {
			return 0, err
		}
		r.have, r.off = have, next
	}
	n := copy(b, r.have)
	r.have = r.have[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: it writes what it has as it is.
func (r *contentReader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if len(r.have) == 0 {
			if _, err := r.Read(nil); err == io.EOF {
				return n, nil
			} else if err != nil {
				return n, err
			}
		}
		k, err := w.Write(r.have)
		n += int64(k)
		r.have = r.have[k:]
		if err != nil {
			return n, err
		}
	}
}

// Bytes returns a whole message as it came.
func (f *Folder) Bytes(m Message) (raw []byte, err error) {
	err = f.Content(m, func(c *Content) error {
		raw, err = c.Bytes(0, m.Size)
		return err
	})
	return raw, err
}
