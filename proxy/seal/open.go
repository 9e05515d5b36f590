package seal

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// OpenBlock opens a block with the first of to's prekeys that fits. It fails with
// ErrNotOurs if none does; with ErrVersion or ErrMalformed if the inside is not
// what this version writes. An error says nothing about other blocks.
func OpenBlock(block []byte, to Recipient) (*Part, error) {
	if len(block) != BlockSize {
		return nil, fmt.Errorf("%w: block has %d bytes, want %d", ErrMalformed, len(block), BlockSize)
	}
	for _, key := range to.Prekeys {
		text, err := hpke.Open(key.Private, kdf(), aead(), info(to.Address, to.Identity, key.ID), block)
		if err != nil {
			continue // sealed to another prekey, or to nobody: which it is cannot be told
		}
		p, err := decodePlain(text)
		if err != nil {
			return nil, err
		}
		return &Part{
			ID: p.id, Index: p.i, Count: p.n, Chunk: p.chunk, Noise: p.noise,
			PrekeyID: bytes.Clone(key.ID), EncHash: sha256.Sum256(block[:encSize]),
		}, nil
	}
	return nil, fmt.Errorf("%w: tried %d", ErrNotOurs, len(to.Prekeys))
}

// An Opened message is complete and verified.
type Opened struct {
	Header
	Content []byte
}

// Assemble puts a message of count parts together and verifies it all. It asks
// get for part 0 first and then for each in order, once, so that the content is
// held once, however the parts are stored. Content beyond limit bytes is refused
// with ErrTooLarge before memory is taken for it. It fails with ErrSender as
// Authenticate does, with ErrParts for a part that is not of this message, with
// ErrContent if the content is not what was sealed, and with get's own errors.
func Assemble(to Recipient, limit int, get func(i uint32) (*Part, error)) (*Opened, error) {
	first, err := get(0)
	if err != nil {
		return nil, fmt.Errorf("get part 0: %w", err)
	}
	if err := first.check(); err != nil {
		return nil, err
	}
	h, err := Authenticate(to, first)
	if err != nil {
		return nil, err
	}
	if h.Size > MaxContent || h.Size > uint64(max(limit, 0)) {
		return nil, fmt.Errorf("%w: content has %d bytes, the limit is %d", ErrTooLarge, h.Size, min(limit, MaxContent))
	}
	content, err := decode(&partReader{first: first, get: get}, h.payload)
	if err != nil {
		return nil, err
	}
	if hash := sha256.Sum256(content); !bytes.Equal(hash[:], h.payload.Hash) {
		return nil, fmt.Errorf("%w: hash differs", ErrContent)
	}
	return &Opened{Header: *h, Content: content}, nil
}

// AssembleParts is Assemble for parts in memory, in any order.
func AssembleParts(to Recipient, limit int, parts []*Part) (*Opened, error) {
	byIndex := make(map[uint32]*Part, len(parts))
	for _, p := range parts {
		if _, ok := byIndex[p.Index]; ok {
			return nil, fmt.Errorf("%w: part %d is there twice", ErrParts, p.Index)
		}
		byIndex[p.Index] = p
	}
	return Assemble(to, limit, func(i uint32) (*Part, error) {
		if p := byIndex[i]; p != nil {
			return p, nil
		}
		return nil, fmt.Errorf("%w: part %d is missing", ErrParts, i)
	})
}

// decode reads the content from r, which must hold it exactly.
func decode(r io.Reader, p *payload) ([]byte, error) {
	if p.Coding == codingZstd {
		dec, err := zstd.NewReader(r,
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(MaxContent))
		if err != nil {
			return nil, contentError(err)
		}
		defer dec.Close()
		r = dec
	}
	// Memory is taken as content arrives: a sender who claims a size must have
	// sent something that makes it up.
	var content bytes.Buffer
	n, err := io.Copy(&content, io.LimitReader(r, int64(p.Size)+1))
	switch {
	case err != nil:
		return nil, contentError(err)
	case uint64(n) != p.Size:
		return nil, fmt.Errorf("%w: it is not the %d bytes that the sender says", ErrContent, p.Size)
	}
	return content.Bytes(), nil
}

// contentError marks the decompressor's own errors; those of reading the parts
// pass as they are.
func contentError(err error) error {
	var pe *partError
	if errors.As(err, &pe) {
		return pe.err
	}
	return fmt.Errorf("%w: %w", ErrContent, err)
}

// partError tells an error of getting a part from one of decompressing it.
type partError struct{ err error }

func (e *partError) Error() string { return e.err.Error() }
func (e *partError) Unwrap() error { return e.err }

// partReader reads the chunks of a message in order.
type partReader struct {
	first *Part
	get   func(i uint32) (*Part, error)
	next  uint32 // part to read when chunk is empty
	chunk []byte
}

func (r *partReader) Read(b []byte) (int, error) {
	for len(r.chunk) == 0 {
		if r.next == r.first.Count {
			return 0, io.EOF
		}
		p, err := r.part(r.next)
		if err != nil {
			return 0, &partError{err}
		}
		r.chunk = p.Chunk
		r.next++
	}
	n := copy(b, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

func (r *partReader) part(i uint32) (*Part, error) {
	if i == 0 {
		return r.first, nil
	}
	p, err := r.get(i)
	if err != nil {
		return nil, fmt.Errorf("get part %d: %w", i, err)
	}
	if p.ID != r.first.ID || p.Count != r.first.Count || p.Index != i {
		return nil, fmt.Errorf("%w: part %d of %d is of another message", ErrParts, i, r.first.Count)
	}
	return p, nil
}
