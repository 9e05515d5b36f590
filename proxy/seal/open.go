package seal

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
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

// An Assembly is a complete message whose sender is verified and whose content is
// not yet: that is done while it is read, as often as it is wanted.
type Assembly struct {
	Header
	parts partReader // at the beginning
}

// Begin begins to put a message together whose parts get returns. Content beyond
// limit bytes is refused with ErrTooLarge. It fails with ErrSender as Authenticate
// does, and with get's own errors.
func Begin(to Recipient, limit int, get func(i uint32) (*Part, error)) (*Assembly, error) {
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
	return &Assembly{*h, partReader{first: first, get: get}}, nil
}

// Content returns a reader of the content, which asks for the parts in order, each
// once, and holds one of them. Only io.EOF says that what was read is what the sender
// sealed. Other errors are ErrContent if it is not, ErrParts for a part that is not of
// this message, and get's own.
func (a *Assembly) Content() (io.ReadCloser, error) {
	parts := a.parts
	return newContentReader(&parts, a.payload)
}

func newContentReader(r io.Reader, p *payload) (io.ReadCloser, error) {
	c := &contentReader{r: r, hash: sha256.New(), p: p}
	if p.Coding == codingZstd {
		dec, err := zstd.NewReader(r,
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(MaxContent))
		if err != nil {
			return nil, contentError(err)
		}
		c.r, c.close = dec, dec.Close
	}
	return c, nil
}

// Verify reads the content and says whether it is what the sender sealed.
func (a *Assembly) Verify() error {
	r, err := a.Content()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// A contentReader reads the content and compares it with what the sender said of it.
type contentReader struct {
	r     io.Reader
	close func()
	hash  hash.Hash
	size  uint64
	p     *payload
	err   error // how reading ended
}

// Read implements io.Reader.
func (c *contentReader) Read(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(b)
	c.size += uint64(n)
	c.hash.Write(b[:n])
	switch {
	case c.size > c.p.Size || err == io.EOF && c.size != c.p.Size:
		n, c.err = 0, fmt.Errorf("%w: it is not the %d bytes that the sender says", ErrContent, c.p.Size)
	case err == io.EOF && !bytes.Equal(c.hash.Sum(nil), c.p.Hash):
		n, c.err = 0, fmt.Errorf("%w: hash differs", ErrContent)
	case err == io.EOF:
		c.err = io.EOF
	case err != nil:
		c.err = contentError(err)
	}
	return n, c.err
}

// Close implements io.Closer.
func (c *contentReader) Close() error {
	if c.close != nil {
		c.close()
		c.close = nil
	}
	if c.err == nil {
		c.err = io.ErrClosedPipe
	}
	return nil
}

// Assemble puts a message together and verifies it all, with its content in memory.
// It fails as Begin does and as reading the content does.
func Assemble(to Recipient, limit int, get func(i uint32) (*Part, error)) (*Opened, error) {
	a, err := Begin(to, limit, get)
	if err != nil {
		return nil, err
	}
	r, err := a.Content()
	if err != nil {
		return nil, err
	}
	// Memory is taken as content arrives: a sender who claims a size must have
	// sent something that makes it up.
	content, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return &Opened{Header: a.Header, Content: content}, nil
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
