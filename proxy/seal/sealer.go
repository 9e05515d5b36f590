package seal

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"

	"mailproxy/spool"
)

// A Message is what is to be sealed.
type Message struct {
	ID   ID
	Kind Kind
	// Content is what is sealed, at most MaxContent bytes; not changed, kept until
	// sealed.
	Content []byte
	// Open stands in the place of Content for what is not in memory: it returns a
	// reader of the content, of Size bytes, each time the same. It is read twice,
	// once to learn its hash and how small it becomes, and once to be sealed.
	Open func() (io.Reader, error)
	Size int64
	// Extensions travel beside the content, authenticated with it; nil for none.
	// With addresses of the longest kind, about 1,500 bytes of them fit.
	Extensions map[uint64][]byte
}

// A Sealer makes the blocks of one message for one recipient, one at a time: of a
// message that is not in memory it holds little more than a block. It is for one
// goroutine.
type Sealer struct {
	from      Sender
	to        *spool.Bundle
	prekey    hpke.PublicKey
	info      []byte
	payload   payload
	open      func() (io.Reader, error)
	size      int64  // bytes of the content
	hash      []byte // of the content; nil before it was read
	coding    uint8
	coded     int64 // bytes of the content, encoded
	noiseSize int
}

// New prepares m for sealing from from to to, whose bundle must have been opened
// and trusted. It fails with ErrTooLarge, ErrKeys,
// or ErrMalformed for a message without a kind.
func New(m Message, from Sender, to *spool.Bundle) (*Sealer, error) {
	if m.Open == nil {
		m.Size = int64(len(m.Content))
		m.Open = func() (io.Reader, error) { return bytes.NewReader(m.Content), nil }
	}
	if m.Size > MaxContent {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, m.Size, MaxContent)
	}
	if m.Kind == 0 {
		return nil, fmt.Errorf("%w: no kind of content", ErrMalformed)
	}
	own, err := from.Bundle.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: own bundle: %w", ErrKeys, err)
	}
	if !bytes.Equal(own.Static, from.Static.Public) {
		return nil, fmt.Errorf("%w: own bundle carries another static key", ErrKeys)
	}
	prekey, err := hpke.MLKEM768X25519().NewPublicKey(to.Prekey.Public)
	if err != nil {
		return nil, fmt.Errorf("%w: recipient's prekey: %w", ErrKeys, err)
	}
	s := &Sealer{
		from: from, to: to, prekey: prekey, open: m.Open, size: m.Size,
		info: info(to.Address, to.Identity, to.Prekey.ID),
		payload: payload{
			Version: Version, ID: m.ID[:], Size: uint64(m.Size),
			Kind: m.Kind, Address: own.Address, Bundle: from.Bundle,
			Extensions: m.Extensions,
		},
	}
	if err := s.measure(); err != nil {
		return nil, err
	}
	if err := s.count(); err != nil {
		return nil, err
	}
	return s, nil
}

// count settles the number of blocks, which the payload carries and the length of
// which decides how much of the content block 0 has room for.
func (s *Sealer) count() error {
	// The encoding of the number grows with it: once around settles it, and
	// a second time shows that it has.
	for s.payload.Count = 1; ; {
		body, err := s.payload.encode()
		if err != nil {
			return err
		}
		size := len(body) + noiseOverhead
		n := uint32(1)
		if rest := s.coded - int64(ChunkSize-size); rest > 0 {
			n += uint32((rest + ChunkSize - 1) / ChunkSize)
		}
		s.noiseSize = size
		if n <= s.payload.Count {
			return nil
		}
		s.payload.Count = n
	}
}

// Count returns the number of blocks.
func (s *Sealer) Count() int { return int(s.payload.Count) }

// block seals block i, which carries chunk.
func (s *Sealer) block(i int, chunk []byte) ([]byte, error) {
	enc, hp, err := hpke.NewSender(s.prekey, kdf(), aead(), s.info)
	if err != nil {
		return nil, fmt.Errorf("seal block %d: %w", i, err)
	}
	p := plain{id: ID(s.payload.ID), i: uint32(i), n: s.payload.Count}
	if i == 0 {
		p.noise, err = s.payload.write(s.from.Static, s.to.Static, prologue(s.info, sha256.Sum256(enc)), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("seal block 0: %w", err)
		}
		if len(p.noise) != s.noiseSize {
			return nil, fmt.Errorf("seal block 0: sender's message has %d bytes, not %d", len(p.noise), s.noiseSize)
		}
	}
	p.chunk = chunk
	text, err := p.encode()
	if err != nil {
		return nil, err
	}
	ct, err := hp.Seal(nil, text)
	if err != nil {
		return nil, fmt.Errorf("seal block %d: %w", i, err)
	}
	block := append(enc, ct...)
	if len(block) != BlockSize {
		return nil, fmt.Errorf("seal block %d: it has %d bytes", i, len(block))
	}
	return block, nil
}

// Blocks seals all blocks in order. It ends with the first error. The same block
// sealed again has other bytes: who retries must keep what was made first.
func (s *Sealer) Blocks() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		c := &cutter{s: s, yield: yield, room: ChunkSize - s.noiseSize}
		err := s.encode(c)
		if err == nil {
			err = c.end()
		}
		if err != nil && !c.stopped {
			yield(nil, err)
		}
	}
}

// A cutter cuts the encoded content that is written to it, and has it sealed.
type cutter struct {
	s       *Sealer
	yield   func([]byte, error) bool
	next    int // block
	room    int // bytes that it carries
	written int64
	chunk   []byte
	stopped bool
}

var errStopped = errors.New("no more blocks are wanted")

// Write implements io.Writer.
func (c *cutter) Write(b []byte) (int, error) {
	n := len(b)
	if c.written += int64(n); c.written > c.s.coded {
		return 0, errChanged // before there are more blocks than were counted
	}
	for len(b) > 0 {
		if len(c.chunk) == c.room { // there is more than this
			if err := c.seal(); err != nil {
				return 0, err
			}
		}
		k := min(len(b), c.room-len(c.chunk))
		c.chunk = append(c.chunk, b[:k]...)
		b = b[k:]
	}
	return n, nil
}

// end seals the last block.
func (c *cutter) end() error {
	if c.written != c.s.coded {
		return fmt.Errorf("seal message: it was encoded to %d bytes, and now to %d", c.s.coded, c.written)
	}
	return c.seal()
}

func (c *cutter) seal() error {
	block, err := c.s.block(c.next, c.chunk)
	if err != nil {
		return err
	}
	c.next++
	c.chunk, c.room = c.chunk[:0], ChunkSize
	if !c.yield(block, nil) {
		c.stopped = true
		return errStopped
	}
	return nil
}

// Seal returns all blocks of m, sealed.
func Seal(m Message, from Sender, to *spool.Bundle) ([][]byte, error) {
	s, err := New(m, from, to)
	if err != nil {
		return nil, err
	}
	blocks := make([][]byte, 0, s.Count())
	for block, err := range s.Blocks() {
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, block)
	}
	return blocks, nil
}
