package seal

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"iter"

	"github.com/klauspost/compress/zstd"

	"mailproxy/spool"
)

// A Message is what is to be sealed.
type Message struct {
	ID      ID
	Kind    Kind
	Content []byte // at most MaxContent bytes; not changed, kept until sealed
	// Extensions travel beside the content, authenticated with it; nil for none.
	// With addresses of the longest kind, about 1,500 bytes of them fit.
	Extensions map[uint64][]byte
}

// A Sealer makes the blocks of one message for one recipient, one at a time, so
// that a large message is held once compressed and not once more in blocks. It
// is for one goroutine.
type Sealer struct {
	from      Sender
	to        *spool.Bundle
	prekey    hpke.PublicKey
	info      []byte
	payload   payload
	data      []byte // the content, encoded
	noiseSize int
}

// New prepares m for sealing from from to to, whose bundle must have been opened
// and trusted. It fails with ErrTooLarge, ErrKeys,
// or ErrMalformed for a message without a kind.
func New(m Message, from Sender, to *spool.Bundle) (*Sealer, error) {
	if len(m.Content) > MaxContent {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(m.Content), MaxContent)
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
	data, coding, err := encode(m.Content)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(m.Content)
	s := &Sealer{
		from: from, to: to, prekey: prekey, data: data,
		info: info(to.Address, to.Identity, to.Prekey.ID),
		payload: payload{
			Version: Version, ID: m.ID[:], Hash: hash[:], Size: uint64(len(m.Content)),
			Coding: coding, Kind: m.Kind, Address: own.Address, Bundle: from.Bundle,
			Extensions: m.Extensions,
		},
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
		if rest := len(s.data) - (ChunkSize - size); rest > 0 {
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

// Block seals block i, 0 <= i < Count. The same block sealed again has other
// bytes: who retries must keep what was made first.
func (s *Sealer) Block(i int) ([]byte, error) {
	if i < 0 || i >= s.Count() {
		return nil, fmt.Errorf("seal block %d: there are %d", i, s.Count())
	}
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
	p.chunk = s.chunk(i)
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

func (s *Sealer) chunk(i int) []byte {
	first := ChunkSize - s.noiseSize
	from, to := 0, first
	if i > 0 {
		from, to = first+(i-1)*ChunkSize, first+i*ChunkSize
	}
	return s.data[min(from, len(s.data)):min(to, len(s.data))]
}

// Blocks seals all blocks in order. It ends with the first error.
func (s *Sealer) Blocks() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for i := range s.Count() {
			block, err := s.Block(i)
			if !yield(block, err) || err != nil {
				return
			}
		}
	}
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

// window bounds what a decoder needs besides the content itself, in bytes (RFC
// 8878 section 3.1.1.1.2 recommends that decoders take 8 MiB).
const window = 1 << 20

// encode compresses content where that makes it smaller. Literals are entropy
// coded even where nothing repeats: that is what undoes the base64 of an
// attachment, a quarter of its blocks.
func encode(content []byte) ([]byte, uint8, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithSingleSegment(false),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true),
		zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return nil, 0, fmt.Errorf("compress message: %w", err)
	}
	small := enc.EncodeAll(content, nil)
	if err := enc.Close(); err != nil {
		return nil, 0, fmt.Errorf("compress message: %w", err)
	}
	if len(small) < len(content) {
		return small, codingZstd, nil
	}
	return content, codingRaw, nil
}
