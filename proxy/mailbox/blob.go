package mailbox

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

const (
	// chunkSize is how many bytes of a message one value holds: large enough that
	// a mail is few values, small enough that a part of one is read without it.
	chunkSize = 256 << 10
	// chunksPerTx bounds what one transaction writes (and Badger holds in memory).
	chunksPerTx = 16
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
}

// Size returns the message's size in bytes.
func (g *Staged) Size() int64 { return g.size }

// MessageID returns the message's Message-ID without angle brackets, or "".
func (g *Staged) MessageID() string { return g.envelope.MessageID }

// Stage parses raw and writes its bytes, synced, where no folder shows them yet.
// A malformed message is staged like any other. raw must not be changed until
// the message is delivered or discarded.
func (s *Store) Stage(raw []byte) (*Staged, error) {
	if err := s.st.Room(); err != nil {
		return nil, fmt.Errorf("stage message: %w", err)
	}
	g := &Staged{size: int64(len(raw)), wireSize: wireSize(raw)}
	if _, err := rand.Read(g.id[:]); err != nil {
		return nil, fmt.Errorf("stage message: %w", err)
	}
	structure := parseStructure(raw)
	g.envelope = parseEnvelope(Fields(raw[:structure.Parts[0].Body]))
	var err error
	if g.encStr, err = codec.Marshal(structure); err != nil || len(g.encStr) > maxRecord {
		if g.encStr, err = codec.Marshal(opaqueStructure(raw)); err != nil {
			return nil, fmt.Errorf("stage message: %w", err)
		}
	}
	if g.encEnv, err = codec.Marshal(&g.envelope); err != nil || len(g.encEnv) > maxRecord {
		g.envelope = Envelope{MessageID: g.envelope.MessageID, Clipped: true}
		if g.encEnv, err = codec.Marshal(&g.envelope); err != nil {
			return nil, fmt.Errorf("stage message: %w", err)
		}
	}
	if len(raw) <= chunkSize {
		g.inline = raw
		return g, nil
	}
	for i := uint32(0); len(raw) > 0; {
		err := s.st.Update(func(tx *store.Tx) error {
			rest, n := raw, i
			for ; len(rest) > 0 && n < i+chunksPerTx; n++ {
				end := min(chunkSize, len(rest))
				if err := tx.Set(chunkKey(g.id, n), rest[:end]); err != nil {
					return err
				}
				rest = rest[end:]
			}
			return nil
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("stage message: %w", err), s.Discard(g))
		}
		i += chunksPerTx
		raw = raw[min(len(raw), chunksPerTx*chunkSize):]
	}
	return g, nil
}

// Discard removes a staged message that will not be delivered. A message that
// was delivered stays.
func (s *Store) Discard(g *Staged) error {
	if g.inline != nil || g.size == 0 {
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
	return nil
}

// commit makes the blob a lasting one with a single reference.
func (g *Staged) commit(tx *store.Tx) error {
	if ok, err := tx.Has(refsKey(g.id)); err != nil {
		return err
	} else if ok {
		return errors.New("staged message was delivered before")
	}
	if g.inline != nil {
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

// readBlob returns size bytes of blob b from off on.
func readBlob(tx *store.Tx, b blobID, off, size int64) ([]byte, error) {
	out := make([]byte, 0, size)
	for int64(len(out)) < size {
		at := off + int64(len(out))
		v, err := tx.Get(chunkKey(b, uint32(at/chunkSize)))
		if err != nil {
			return nil, fmt.Errorf("read message body: %w", err)
		}
		from := at % chunkSize
		if from >= int64(len(v)) {
			return nil, errors.New("read message body: chunk is too short")
		}
		v = v[from:]
		out = append(out, v[:min(int64(len(v)), size-int64(len(out)))]...)
	}
	return out, nil
}

// collectOrphans removes chunks of blobs that no message refers to. It runs
// before anything can be staged.
func (s *Store) collectOrphans() error {
	var orphans [][]byte
	err := s.st.View(func(tx *store.Tx) error {
		var last []byte
		keep := false
		return tx.Iterate(store.Range{Prefix: chunkPrefix}, func(it store.Item) error {
			if len(it.Key) != len(chunkPrefix)+blobIDSize+4 {
				return fmt.Errorf("chunk key has %d bytes", len(it.Key))
			}
			id := it.Key[len(chunkPrefix) : len(chunkPrefix)+blobIDSize]
			if !bytes.Equal(id, last) {
				last = append(last[:0], id...)
				var err error
				if keep, err = tx.Has(refsKey(blobID(id))); err != nil {
					return err
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

// wireSize is what raw measures when each of its lines ends in CRLF, as POP3
// sends and counts it (RFC 1939 section 11).
func wireSize(raw []byte) int64 {
	n := int64(len(raw))
	for at := 0; ; {
		i := bytes.IndexByte(raw[at:], '\n')
		if i < 0 {
			break
		}
		if at+i == 0 || raw[at+i-1] != '\r' {
			n++
		}
		at += i + 1
	}
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		n += 2
	}
	return n
}
