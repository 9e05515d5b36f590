package seal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// window bounds what a decoder needs besides the content itself, in bytes (RFC
// 8878 section 3.1.1.1.2 recommends that decoders take 8 MiB).
const window = 1 << 20

// errChanged is returned when the content is not what it was at the first reading.
var errChanged = errors.New("content changed while it was sealed")

// measure reads the content once, to learn its hash and how it is encoded.
func (s *Sealer) measure() error {
	s.coding = codingZstd
	var small counter
	if err := s.encode(&small); err != nil {
		return err
	}
	s.payload.Hash, s.coded = s.hash, int64(small)
	if s.coded >= s.size {
		s.coding, s.coded = codingRaw, s.size
	}
	s.payload.Coding = s.coding
	return nil
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// encode writes the content to w, compressed where s.coding says so. It notes the
// content's hash, or fails with errChanged if it was another before.
//
// Literals are entropy coded even where nothing repeats: that is what undoes the
// base64 of an attachment, a quarter of its blocks. What the encoder writes depends
// on nothing but the content.
func (s *Sealer) encode(w io.Writer) error {
	r, err := s.open()
	if err != nil {
		return fmt.Errorf("encode content: %w", err)
	}
	hash := sha256.New()
	// One byte more shows that there is more.
	r = io.TeeReader(io.LimitReader(r, s.size+1), hash)
	n := int64(0)
	if s.coding == codingRaw {
		n, err = io.Copy(w, r)
	} else {
		n, err = compress(w, r, s.size)
	}
	switch {
	case err != nil:
		return fmt.Errorf("encode content: %w", err)
	case n != s.size:
		return fmt.Errorf("%w: it was said to have %d bytes", errChanged, s.size)
	}
	sum := hash.Sum(nil)
	if s.hash == nil {
		s.hash = sum
	}
	if !bytes.Equal(sum, s.hash) {
		return errChanged
	}
	return nil
}

// compress writes what r reads, which is to be size bytes, as one frame of zstd.
func compress(w io.Writer, r io.Reader, size int64) (n int64, err error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithSingleSegment(false),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true),
		zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return 0, fmt.Errorf("compress message: %w", err)
	}
	if size > 0 { // 0 is for a size that is not known
		enc.ResetContentSize(w, size)
	} else {
		enc.Reset(w)
	}
	if n, err = enc.ReadFrom(r); err == nil && n == size {
		err = enc.Close()
	}
	return n, err
}
