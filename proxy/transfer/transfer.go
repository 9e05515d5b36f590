// Package transfer writes all that a store holds into one file, encrypted with a
// passphrase, and reads it back into another: for a new computer.
//
// It knows nothing of what the records mean: proxy says which are left out, and sees to
// it that an account is never read by two computers. The encryption is age's
// (filippo.io/age, C2SP age-encryption.org/v1) with a scrypt recipient: whoever has the
// file can try passphrases, at about a second each, and alters no byte unnoticed. Only proxy
// and cmd/mailproxy import it.
//
// The plaintext is the preamble, the format's version (4 bytes, big endian), and then
// frames: a length (4 bytes, big endian) and so many bytes of CBOR. The first frame is the
// header, those after it a record each, the last says how many there were.
package transfer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// Format is the version of the file that this program writes and reads.
const Format = 1

// preamble begins the plaintext.
const preamble = "mailproxy-export"

// maxFrame bounds a frame in bytes. The largest values of a store have a quarter of a
// megabyte.
const maxFrame = 16 << 20

// Cost is the binary logarithm of scrypt's cost: about a second, and 256 MB.
const Cost = 18

var (
	// ErrPassphrase is returned for a passphrase that does not open the file.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrForeign is returned for a file of something else.
	ErrForeign = errors.New("it was not written by mailproxy export")
	// ErrDamaged is returned for a file that is cut short or altered.
	ErrDamaged = errors.New("it is damaged or cut short")
	// ErrNewer is returned for a file of a later format.
	ErrNewer = errors.New("it was written by a newer mailproxy")
)

// A Header says what a file holds.
type Header struct {
	ID          []byte   `cbor:"1,keyasint"` // random, 16 bytes
	Made        int64    `cbor:"2,keyasint"` // Unix seconds
	Addresses   []string `cbor:"3,keyasint"`
	WithoutMail bool     `cbor:"4,keyasint,omitempty"`
	// How to reach the network, for a computer that has no configuration yet.
	Config   []byte `cbor:"5,keyasint,omitempty"` // the configuration file
	Document []byte `cbor:"6,keyasint,omitempty"` // the signed network document
	Gateway  string `cbor:"7,keyasint,omitempty"` // the one in use
}

// A frame is one of three.
type frame struct {
	Header *Header `cbor:"1,keyasint,omitempty"`
	Key    []byte  `cbor:"2,keyasint,omitempty"` // of a record
	Value  []byte  `cbor:"3,keyasint,omitempty"`
	End    bool    `cbor:"4,keyasint,omitempty"`
	Count  uint64  `cbor:"5,keyasint,omitempty"` // of all records, at the end
}

// Progress is told how many bytes have been written or read.
type Progress func(bytes int64)

// Write writes the header and the records of a store to w, but for those that leave
// takes out. cost is Cost, but in tests. The store may be used meanwhile: what is written
// is how it was at one moment.
func Write(ctx context.Context, w io.Writer, passphrase string, cost int, h *Header, st *store.Store, leave func(key []byte) bool, progress Progress) error {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return fmt.Errorf("encrypt export: %w", err)
	}
	to.SetWorkFactor(cost)
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return fmt.Errorf("encrypt export: %w", err)
	}
	out := bufio.NewWriterSize(sealed, 256<<10)
	begin := binary.BigEndian.AppendUint32([]byte(preamble), Format)
	if _, err := out.Write(begin); err != nil {
		return err
	}
	if err := writeFrame(out, &frame{Header: h}); err != nil {
		return err
	}
	var count uint64
	var done int64
	err = st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{}, func(i store.Item) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if store.Own(i.Key) || leave(i.Key) {
				return nil
			}
			count++
			done += int64(len(i.Key))
			err := i.Read(func(v []byte) error {
				done += int64(len(v))
				return writeFrame(out, &frame{Key: i.Key, Value: v})
			})
			if progress != nil {
				progress(done)
			}
			return err
		})
	})
	if err == nil {
		err = writeFrame(out, &frame{End: true, Count: count})
	}
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = sealed.Close()
	}
	return store.FullOr(err)
}

func writeFrame(w io.Writer, f *frame) error {
	b, err := codec.Marshal(f)
	if err != nil {
		return err
	}
	if len(b) > maxFrame {
		return fmt.Errorf("a record has %d bytes, and an export takes at most %d", len(b), maxFrame)
	}
	if _, err := w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b)))); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// A Reader reads one file.
type Reader struct {
	Header Header
	plain  *bufio.Reader
	count  uint64
}

// Open reads the beginning of a file. Its errors wrap ErrPassphrase, ErrForeign,
// ErrDamaged or ErrNewer, or are those of r.
func Open(r io.Reader, passphrase string) (*Reader, error) {
	who, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("open export: %w", err)
	}
	in := bufio.NewReader(r)
	// age says of whatever is no file of its own that it cannot be parsed.
	if begin, err := in.Peek(len(ageBegins)); string(begin) != ageBegins {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read export: %w", err)
		}
		return nil, ErrForeign
	}
	plain, err := age.Decrypt(in, who)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, ErrPassphrase
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return begin(plain)
}

// ageBegins is the first line of every file of age.
const ageBegins = "age-encryption.org/v1\n"

// begin reads the preamble and the header.
func begin(plain io.Reader) (*Reader, error) {
	f := &Reader{plain: bufio.NewReaderSize(plain, 256<<10)}
	b := make([]byte, len(preamble)+4)
	if _, err := io.ReadFull(f.plain, b); err != nil {
		return nil, damaged(err)
	}
	if string(b[:len(preamble)]) != preamble {
		return nil, ErrForeign
	}
	if v := binary.BigEndian.Uint32(b[len(preamble):]); v != Format {
		return nil, fmt.Errorf("%w: its format is %d, and this program reads %d", ErrNewer, v, Format)
	}
	first, err := f.frame()
	if err != nil {
		return nil, err
	}
	if first.Header == nil || first.Key != nil || first.End {
		return nil, fmt.Errorf("%w: it begins without a header", ErrDamaged)
	}
	f.Header = *first.Header
	return f, nil
}

func damaged(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

func (r *Reader) frame() (*frame, error) {
	var size [4]byte
	if _, err := io.ReadFull(r.plain, size[:]); err != nil {
		return nil, damaged(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, n)
	}
	var b bytes.Buffer // which grows with what is there, and not with what is promised
	if _, err := io.CopyN(&b, r.plain, int64(n)); err != nil {
		return nil, damaged(err)
	}
	f := new(frame)
	if err := codec.Unmarshal(b.Bytes(), f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return f, nil
}

// Each calls fn with each record, and fails unless all of them are there. fn may keep
// what it is given.
func (r *Reader) Each(ctx context.Context, fn func(key, value []byte) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := r.frame()
		switch {
		case err != nil:
			return err
		case f.End:
			if f.Count != r.count {
				return fmt.Errorf("%w: it has %d records of %d", ErrDamaged, r.count, f.Count)
			}
			// The end of the encryption's own stream, without which it may be cut here.
			if _, err := r.plain.ReadByte(); !errors.Is(err, io.EOF) {
				return damaged(fmt.Errorf("after its end: %w", errors.Join(err, errMore)))
			}
			return nil
		case f.Header != nil || len(f.Key) == 0 || store.Own(f.Key):
			return fmt.Errorf("%w: what should be a record is none", ErrDamaged)
		}
		r.count++
		if err := fn(f.Key, f.Value); err != nil {
			return err
		}
	}
}

var errMore = errors.New("there is more")

// Records returns how many Each has read.
func (r *Reader) Records() uint64 { return r.count }

// What one transaction of Into holds.
const (
	batchRecords = 2000
	batchBytes   = 512 << 10
)

// Into writes all records into a store, which should be empty and of no use before
// Into has returned nil.
func (r *Reader) Into(ctx context.Context, st *store.Store, progress Progress) error {
	type record struct{ key, value []byte }
	var batch []record
	var size int
	var done int64
	flush := func() error {
		if err := st.Room(); err != nil {
			return err
		}
		err := st.Update(func(tx *store.Tx) error {
			for _, e := range batch {
				if err := tx.Set(e.key, e.value); err != nil {
					return err
				}
			}
			return nil
		})
		batch, size = nil, 0 // the store may keep what it was given
		return err
	}
	err := r.Each(ctx, func(key, value []byte) error {
		batch = append(batch, record{key, value})
		size += len(key) + len(value)
		done += int64(len(key) + len(value))
		if progress != nil {
			progress(done)
		}
		if len(batch) < batchRecords && size < batchBytes {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}
