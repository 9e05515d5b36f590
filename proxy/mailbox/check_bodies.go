package mailbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// This file checks the bytes of messages, and what is recorded of them.

// checkRecords notes bodies that have an envelope or a structure, and no message.
func (c *checker) checkRecords() error {
	for _, kind := range []string{"e", "b"} {
		err := c.each(kind, blobIDSize, false, func(rest []byte, _ store.Item) error {
			if c.blobs[blobID(rest)] == nil {
				c.blobs[blobID(rest)] = &checkedBlob{}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A reading is what is known of one body while its chunks are read.
type reading struct {
	id     blobID
	b      *checkedBlob // nil for one without any record
	next   uint32       // number of the chunk that must come next
	size   int64
	wire   wireCounter
	first  []byte // the first chunk
	broken string // why not all bytes are there
}

func (r *reading) fail(format string, args ...any) {
	if r.broken == "" {
		r.broken = fmt.Sprintf(format, args...)
	}
}

func (c *checker) checkChunks() error {
	var r *reading
	short := false // the last chunk was not full
	err := c.each("c", blobIDSize+4, true, func(rest []byte, it store.Item) error {
		id, n := blobID(rest[:blobIDSize]), binary.BigEndian.Uint32(rest[blobIDSize:])
		if r == nil || r.id != id {
			if err := c.finish(r); err != nil {
				return err
			}
			r, short = &reading{id: id, b: c.blobs[id]}, false
		}
		switch {
		case n != r.next:
			r.fail("chunk %d of its body is missing", r.next)
		case short:
			r.fail("chunk %d of its body is too short", n-1)
		}
		r.next = n + 1
		v, err := it.Value()
		if err != nil {
			r.fail("chunk %d of its body cannot be read: %v", n, err)
			return nil
		}
		if len(v) > chunkSize { // an empty message may have an empty chunk
			r.fail("chunk %d of its body has %d bytes", n, len(v))
		}
		short = len(v) != chunkSize
		if n == 0 {
			r.first = v
		}
		r.size += int64(len(v))
		r.wire.add(v)
		c.done += int64(len(v))
		c.progress(c.done, max(c.total, c.done))
		return nil
	})
	if err != nil {
		return err
	}
	return c.finish(r)
}

// finish judges a body whose chunks were read; nil is none.
func (c *checker) finish(r *reading) error {
	switch {
	case r == nil:
		return nil
	case r.b == nil:
		c.report.Leftovers++
		c.leftover = append(c.leftover, r.id)
		return nil
	}
	r.b.seen = true
	if r.b.uses == 0 {
		c.say(Problem{}, adopting(r.id), "there is a body of %d bytes whose message is not there", r.size)
		return nil
	}
	at := c.at(r.b.first.folder, r.b.first.uid)
	var s Structure
	structureErr := c.record(structureKey(r.id), &s)
	if structureErr == nil {
		structureErr = s.fits()
	}
	if r.broken == "" && r.size != r.b.size && !r.b.differ && (structureErr != nil || s.Size != r.size) {
		// Where the structure agrees with the bytes, it is the message's record that
		// is wrong.
		r.fail("its body has %d bytes, and its record says %d", r.size, r.b.size)
	}
	if r.broken != "" {
		c.say(at, salvaging(r.id), "the message is not whole: %s", r.broken)
		return nil
	}
	if r.size != r.b.size || r.wire.total() != r.b.wire || r.b.differ {
		c.say(at, resizing(r.id, r.size, r.wire.total()), "the message has %d bytes, %d with full line endings, and its records say %d and %d",
			r.size, r.wire.total(), r.b.size, r.b.wire)
	}
	if r.b.refs == 0 {
		c.say(at, recounting(r.id), "the message's body has no count of those that share it")
	}
	if structureErr == nil && !s.describes(r.first, r.size) {
		structureErr = errors.New("it describes other bytes")
	}
	if structureErr != nil {
		c.say(at, reparsing(r.id), "the message's structure is not right: %v", structureErr)
		return nil
	}
	var e Envelope
	if err := c.record(envelopeKey(r.id), &e); err != nil {
		c.say(at, reparsing(r.id), "the message's envelope is not right: %v", err)
		return nil
	}
	if id := r.messageID(&s); id != e.MessageID {
		c.say(at, reparsing(r.id), "the message's envelope has another Message-ID than the message")
	} else if !bytes.Equal(hashID(id), r.b.hashOrNil()) {
		c.say(at, rehashingAll(r.id, hashID(id)), "the message's record has another Message-ID than the message")
	}
	return nil
}

// record reads a record of a body; the error says why it cannot be used.
func (c *checker) record(k []byte, v any) error {
	b, err := c.tx.Get(k)
	if errors.Is(err, store.ErrNotFound) {
		return errors.New("there is none")
	}
	if err == nil {
		err = codec.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	return nil
}

// messageID returns the Message-ID that the bytes have, or that of the envelope
// where the header is longer than what was kept.
func (r *reading) messageID(s *Structure) string {
	return parseEnvelope(parsedFields(r.first[:min(s.Parts[0].Body, int64(len(r.first)))])).MessageID
}

// fits fails if the tree is none.
func (s *Structure) fits() error {
	if len(s.Parts) == 0 {
		return errors.New("it has no parts")
	}
	for i, p := range s.Parts {
		outer := Part{Body: 0, End: s.Size}
		if i > 0 {
			if p.Parent < 0 || p.Parent >= i {
				return fmt.Errorf("part %d lies in part %d", i, p.Parent)
			}
			outer = s.Parts[p.Parent]
		} else if p.Parent != -1 || p.Start != 0 || p.End != s.Size {
			return errors.New("its first part is not the message")
		}
		if p.Start < outer.Body || p.Body < p.Start || p.End < p.Body || p.End > outer.End {
			return fmt.Errorf("part %d is at bytes %d, %d and %d of those from %d to %d", i, p.Start, p.Body, p.End, outer.Body, outer.End)
		}
	}
	return nil
}

// describes reports whether the tree can be that of a message with these first bytes
// and that size.
func (s *Structure) describes(first []byte, size int64) bool {
	if s.Size != size {
		return false
	}
	body := s.Parts[0].Body
	if body > int64(len(first)) {
		return len(s.Header) == 0 // a header longer than a chunk is not kept
	}
	return len(s.Header) == 0 || bytes.Equal(s.Header, first[:body])
}

// checkRest looks at the bodies of which no chunk was seen.
func (c *checker) checkRest() error {
	ids := slices.SortedFunc(maps.Keys(c.blobs), func(x, y blobID) int { return bytes.Compare(x[:], y[:]) })
	for _, id := range ids {
		b := c.blobs[id]
		switch {
		case b.seen:
		case b.uses == 0:
			c.say(Problem{}, adopting(id), "there is a record of a body that has neither bytes nor a message")
		default:
			r := &reading{id: id, b: b}
			if b.size != 0 {
				r.fail("its body is missing, of %d bytes", b.size)
			}
			if err := c.finish(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// A wireCounter counts as wireSize does, piece by piece.
type wireCounter struct {
	n    int64
	last byte
	any  bool
}

func (w *wireCounter) add(b []byte) {
	w.n += int64(len(b))
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			break
		}
		if i += at; i > 0 && b[i-1] != '\r' || i == 0 && w.last != '\r' {
			w.n++
		}
		at = i + 1
	}
	if len(b) > 0 {
		w.last, w.any = b[len(b)-1], true
	}
}

func (w *wireCounter) total() int64 {
	if w.any && w.last != '\n' {
		return w.n + 2
	}
	return w.n
}
