package mailbox

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

const (
	// chunkSize is how many bytes of a message one value holds: large enough that
	// a mail is few values, small enough that a part of one is read without it.
	chunkSize = 256 << 10
	// batchSize is how many bytes of chunks one transaction writes, and so what a
	// message takes of memory on its way into the store.
	batchSize = 4 * chunkSize
	// firstRead is how much is made room for before a message is known to be larger.
	firstRead = 16 << 10
)

// Staged is a message whose bytes are safe but which no folder shows yet. It is
// delivered once with Account.DeliverTx, or given up with Store.Discard. One
// that is neither, because the process died, is removed by Open.
type Staged struct {
	id       blobID
	size     int64
	wireSize int64
	envelope Envelope
	encEnv   []byte // codec of envelope
	encStr   []byte // codec of the Structure
	// inline holds a message of one chunk, which DeliverTx writes itself: a small
	// mail then costs one synced transaction, not two.
	inline []byte
	// delivered is called once a message has the bytes; nil for inline ones.
	delivered func()
}

// Size returns the message's size in bytes.
func (g *Staged) Size() int64 { return g.size }

// MessageID returns the message's Message-ID without angle brackets, or "".
func (g *Staged) MessageID() string { return g.envelope.MessageID }

// Stage parses raw and writes its bytes, synced, where no folder shows them yet.
// A malformed message is staged like any other. raw must not be changed until
// the message is delivered or discarded.
func (s *Store) Stage(raw []byte) (*Staged, error) {
	st, err := s.newStaging()
	if err != nil {
		return nil, err
	}
	_, _ = st.parser.Write(raw) // never fails
	if len(raw) <= chunkSize {
		st.inline(raw)
		return st.finish()
	}
	for rest := raw; len(rest) > 0; {
		n := min(batchSize, len(rest))
		if err := st.write(rest[:n]); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return st.finish()
}

// StageReader is Stage for a message that r reads to io.EOF, of which it holds a
// small part at a time. After any other error of r, which it returns wrapped,
// nothing of the message is kept.
func (s *Store) StageReader(r io.Reader) (*Staged, error) {
	st, err := s.newStaging()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 0, firstRead)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		_, _ = st.parser.Write(buf[len(buf) : len(buf)+n]) // never fails
		buf = buf[:len(buf)+n]
		switch {
		case err != nil && err != io.EOF:
			return nil, st.fail(err)
		case err == io.EOF && st.g.size == 0 && len(buf) <= chunkSize:
			st.inline(buf)
			return st.finish()
		case err == io.EOF:
			if err := st.write(buf); err != nil {
				return nil, err
			}
			return st.finish()
		case len(buf) == batchSize:
			if err := st.write(buf); err != nil {
				return nil, err
			}
			buf = buf[:0]
		case len(buf) == cap(buf):
			buf = append(make([]byte, 0, min(4*cap(buf), batchSize)), buf...)
		}
	}
}

// A staging is a message on its way into the store.
type staging struct {
	s      *Store
	g      *Staged
	parser *parser
}

func (s *Store) newStaging() (*staging, error) {
	if err := s.st.Room(); err != nil {
		return nil, fmt.Errorf("stage message: %w", err)
	}
	st := &staging{s: s, g: &Staged{}, parser: newParser()}
	rand.Read(st.g.id[:]) // never fails
	return st, nil
}

// fail gives up what was written.
func (st *staging) fail(err error) error {
	return errors.Join(fmt.Errorf("stage message: %w", err), st.s.Discard(st.g))
}

// inline leaves a message of one chunk to DeliverTx. An empty one has none.
func (st *staging) inline(raw []byte) {
	if len(raw) > 0 {
		st.g.inline = raw
	}
}

// write writes the next chunks, of batchSize bytes at most.
func (st *staging) write(b []byte) error {
	if st.g.size == 0 {
		bodies, id := &st.s.bodies, st.g.id
		bodies.begin(id)
		st.g.delivered = func() { bodies.end(id) }
	}
	err := st.s.st.Update(func(tx *store.Tx) error {
		at := uint32(st.g.size / chunkSize)
		for chunk := range slices.Chunk(b, chunkSize) {
			if err := tx.Set(chunkKey(st.g.id, at), chunk); err != nil {
				return err
			}
			at++
		}
		return nil
	})
	if err != nil {
		return st.fail(err)
	}
	st.g.size += int64(len(b))
	return nil
}

// finish keeps what the parser found.
func (st *staging) finish() (*Staged, error) {
	g := st.g
	structure, wireSize := st.parser.finish()
	g.size, g.wireSize = structure.Size, wireSize
	g.envelope = parseEnvelope(parsedFields(st.parser.header))
	var err error
	if g.encStr, err = codec.Marshal(structure); err != nil || len(g.encStr) > maxRecord {
		if g.encStr, err = codec.Marshal(structure.opaque()); err != nil {
			return nil, st.fail(err)
		}
	}
	if g.encEnv, err = codec.Marshal(&g.envelope); err != nil || len(g.encEnv) > maxRecord {
		g.envelope = Envelope{MessageID: g.envelope.MessageID, Clipped: true}
		if g.encEnv, err = codec.Marshal(&g.envelope); err != nil {
			return nil, st.fail(err)
		}
	}
	return g, nil
}

// Discard removes a staged message that will not be delivered. A message that
// was delivered stays.
func (s *Store) Discard(g *Staged) error {
	if g.inline != nil || g.size == 0 {
		s.bodies.end(g.id) // the first write may have failed
		return nil
	}
	err := s.st.Update(func(tx *store.Tx) error {
		if ok, err := tx.Has(refsKey(g.id)); ok || err != nil {
			return err
		}
		return deleteChunks(tx, g.id, g.size)
	})
	if err != nil {
		return fmt.Errorf("discard staged message: %w", err)
	}
	s.bodies.end(g.id)
	return nil
}

// commit makes the blob a lasting one with a single reference.
func (g *Staged) commit(tx *store.Tx) error {
	if ok, err := tx.Has(refsKey(g.id)); err != nil {
		return err
	} else if ok {
		return errors.New("staged message was delivered before")
	}
	if len(g.inline) > 0 {
		if err := tx.Set(chunkKey(g.id, 0), g.inline); err != nil {
			return err
		}
	} else if g.size > 0 {
		// Discarded, or collected by another Open: then the bytes are not there.
		if ok, err := tx.Has(chunkKey(g.id, 0)); err != nil {
			return err
		} else if !ok {
			return errors.New("staged message is gone")
		}
	}
	if g.delivered != nil {
		tx.OnCommit(g.delivered)
	}
	if err := tx.Set(envelopeKey(g.id), g.encEnv); err != nil {
		return err
	}
	if err := tx.Set(structureKey(g.id), g.encStr); err != nil {
		return err
	}
	return tx.Set(refsKey(g.id), number(1))
}

// addRef counts one more message that shares blob b.
func addRef(tx *store.Tx, b blobID) error {
	n, err := getNumber(tx, refsKey(b))
	if err != nil {
		return fmt.Errorf("count references: %w", err)
	}
	return tx.Set(refsKey(b), number(n+1))
}

// dropRef counts one less and removes the blob with the last. It returns how
// many keys it changed.
func dropRef(tx *store.Tx, b blobID, size int64) (int, error) {
	n, err := getNumber(tx, refsKey(b))
	if err != nil {
		return 0, fmt.Errorf("count references: %w", err)
	}
	if n > 1 {
		return 1, tx.Set(refsKey(b), number(n-1))
	}
	for _, k := range [][]byte{refsKey(b), envelopeKey(b), structureKey(b)} {
		if err := tx.Delete(k); err != nil {
			return 0, err
		}
	}
	return 3 + chunks(size), deleteChunks(tx, b, size)
}

// chunks returns how many chunks a message of size bytes has.
func chunks(size int64) int { return int((size + chunkSize - 1) / chunkSize) }

func deleteChunks(tx *store.Tx, b blobID, size int64) error {
	for i := range chunks(size) {
		if err := tx.Delete(chunkKey(b, uint32(i))); err != nil {
			return err
		}
	}
	return nil
}

// readBlob fills out, which is empty, with as many bytes of blob b from off on as it
// has capacity.
func readBlob(tx *store.Tx, b blobID, off int64, out []byte) ([]byte, error) {
	size := int64(cap(out))
	for int64(len(out)) < size {
		at := off + int64(len(out))
		err := tx.Read(chunkKey(b, uint32(at/chunkSize)), func(v []byte) error {
			from := at % chunkSize
			if from >= int64(len(v)) {
				return errors.New("chunk is too short")
			}
			v = v[from:]
			out = append(out, v[:min(int64(len(v)), size-int64(len(out)))]...)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read message body: %w", err)
		}
	}
	return out, nil
}

// collectOrphans removes chunks of blobs that were staged and never delivered. It
// runs before anything can be staged. What has any other record was delivered, and
// a damaged count of references is not to cost a message: Check tells of it.
func (s *Store) collectOrphans() error {
	var orphans [][]byte
	err := s.st.View(func(tx *store.Tx) error {
		// Blobs that messages refer to, in the order of their ids, which is that of the
		// chunks as well: one walk beside the other, where a look for each takes longer.
		var used []blobID
		err := tx.Iterate(store.Range{Prefix: refsPrefix}, func(it store.Item) error {
			if len(it.Key) == len(refsPrefix)+blobIDSize {
				used = append(used, blobID(it.Key[len(refsPrefix):]))
			}
			return nil
		})
		if err != nil {
			return err
		}
		var last []byte
		keep := false
		return tx.Iterate(store.Range{Prefix: chunkPrefix}, func(it store.Item) error {
			if len(it.Key) != len(chunkPrefix)+blobIDSize+4 {
				return fmt.Errorf("chunk key has %d bytes", len(it.Key))
			}
			id := it.Key[len(chunkPrefix) : len(chunkPrefix)+blobIDSize]
			if !bytes.Equal(id, last) {
				last = append(last[:0], id...)
				for len(used) > 0 && bytes.Compare(used[0][:], id) < 0 {
					used = used[1:]
				}
				keep = len(used) > 0 && bytes.Equal(used[0][:], id)
				if !keep {
					var err error
					if keep, err = hasRecords(tx, blobID(id)); err != nil {
						return err
					}
				}
			}
			if !keep {
				orphans = append(orphans, bytes.Clone(it.Key))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for len(orphans) > 0 {
		n := min(len(orphans), maxBatch)
		err := s.st.Update(func(tx *store.Tx) error {
			for _, k := range orphans[:n] {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.log.Info("mailbox: removed bodies of messages that were never delivered", "chunks", n)
		orphans = orphans[n:]
	}
	return nil
}
