package badgerstore

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"mailproxy/spool"
)

var (
	// ErrBackup is wrapped by the errors about a backup that is not whole, or not
	// one.
	ErrBackup = errors.New("backup of the spool store cannot be used")
	// ErrHalf is wrapped by the error of Open for a store that a Restore left
	// half-made.
	ErrHalf = errors.New("spool store is half restored")
)

// A backup begins with magic, version (1), layout (1), whether it is encrypted (1)
// and salt (32). Pieces follow, each with its length (4, big-endian) and whether
// it is the last (1). Together they hold entries: length of the key (uvarint), key,
// length of the value (uvarint), value; blocks are entries of the kind b, before
// their records. What follows the last is a zero and the SHA-256 of all that was
// before, the header first.
//
// If the store is encrypted, so is each piece, as in the STREAM construction (Hoang,
// Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its
// Nonce-Reuse Misuse-Resistance, CRYPTO 2015): AES-256-GCM, with a key of its own
// for each backup, and for a nonce the piece's number and whether it is the last.
const (
	backupMagic   = "mailproxy spool backup\n"
	backupVersion = 1
	backupKeyInfo = "mailproxy/spool-backup/v1"
	pieceSize     = 64 << 10
	// mostValue bounds an entry's value.
	mostValue = 1 << 20
)

func backupCipher(key, salt []byte) (cipher.AEAD, error) {
	if key == nil {
		return nil, nil
	}
	k, err := hkdf.Key(sha256.New, key, salt, backupKeyInfo, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func pieceNonce(n uint64, last byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 3, 12), n), last)
}

// Progress says how far a Backup or a Restore is.
type Progress struct {
	Blocks int
	Of     int // zero: not known
}

// Backup writes one snapshot of the whole store to w, while it goes on being used,
// and returns how many blocks it has. A block that is damaged ends it with
// ErrDamaged: see DropDamaged. With the key of the store, which is not in it, the
// backup is encrypted. progress is told now and then how far it is, nil for
// nobody.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(Progress)) (blocks int, err error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	defer func() {
		if cerr := snap.close(); err == nil && cerr != nil {
			err = fmt.Errorf("backup: %w", cerr)
		}
	}()
	salt := make([]byte, 32)
	rand.Read(salt)
	aead, err := backupCipher(s.key, salt)
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	head := append([]byte(backupMagic), backupVersion, layout, 0)
	if aead != nil {
		head[len(head)-1] = 1
	}
	head = append(head, salt...)
	if _, err := w.Write(head); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	b := &backupWriter{w: w, aead: aead, sum: sha256.New()}
	b.sum.Write(head)
	for _, kind := range backupKinds {
		err := snap.each(ctx, kind, func(k, v []byte) error {
			if kind == 'm' {
				m, err := decodeMeta(v)
				if err != nil || len(k) != 1+spool.IDSize+8 {
					return fmt.Errorf("%w: record %x of a block", ErrRecord, k)
				}
				block, err := s.block(place{spool.ID(k[1:]), binary.BigEndian.Uint64(k[1+spool.IDSize:])}, m)
				if err != nil {
					return err
				}
				if err := b.entry(key('b', k[1:]), block); err != nil {
					return err
				}
				if blocks++; progress != nil && blocks%4096 == 0 {
					progress(Progress{blocks, snap.stats.Blocks})
				}
			}
			return b.entry(k, v)
		})
		if err != nil {
			return 0, fmt.Errorf("backup: %w", err)
		}
	}
	if err := b.end(); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	return blocks, nil
}

// backupKinds are the keys that a backup has: all but what is of the directory.
var backupKinds = []byte("Fgnsmtifevlh")

// backupWriter makes pieces of entries.
type backupWriter struct {
	w    io.Writer
	aead cipher.AEAD
	sum  hash.Hash
	n    uint64 // pieces
	buf  []byte
}

func (b *backupWriter) entry(key, value []byte) error {
	was := len(b.buf)
	b.buf = binary.AppendUvarint(b.buf, uint64(len(key)))
	b.buf = append(b.buf, key...)
	b.buf = binary.AppendUvarint(b.buf, uint64(len(value)))
	b.buf = append(b.buf, value...)
	b.sum.Write(b.buf[was:])
	for len(b.buf) > pieceSize {
		if err := b.piece(b.buf[:pieceSize], 0); err != nil {
			return err
		}
		b.buf = append(b.buf[:0], b.buf[pieceSize:]...)
	}
	return nil
}

func (b *backupWriter) end() error {
	b.buf = append(b.buf, 0)
	b.sum.Write([]byte{0})
	b.buf = b.sum.Sum(b.buf)
	for len(b.buf) > pieceSize {
		if err := b.piece(b.buf[:pieceSize], 0); err != nil {
			return err
		}
		b.buf = b.buf[pieceSize:]
	}
	return b.piece(b.buf, 1)
}

func (b *backupWriter) piece(data []byte, last byte) error {
	if b.aead != nil {
		data = b.aead.Seal(nil, pieceNonce(b.n, last), data, nil)
	}
	b.n++
	head := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), last)
	if _, err := b.w.Write(head); err != nil {
		return err
	}
	_, err := b.w.Write(data)
	return err
}

// backupReader reads entries.
type backupReader struct {
	r    io.Reader
	aead cipher.AEAD
	sum  hash.Hash
	n    uint64
	buf  []byte
	last bool // buf has the end
}

// openBackup reads the header.
func openBackup(r io.Reader, key []byte) (*backupReader, error) {
	head := make([]byte, len(backupMagic)+3+32)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("%w: read its header: %w", ErrBackup, err)
	}
	at := head[len(backupMagic):]
	switch {
	case !bytes.HasPrefix(head, []byte(backupMagic)):
		return nil, fmt.Errorf("%w: it is something else", ErrBackup)
	case at[0] != backupVersion || at[1] != layout:
		return nil, fmt.Errorf("%w: it has version %d of layout %d, this program reads %d of %d", ErrBackup, at[0], at[1], backupVersion, layout)
	case at[2] == 1 && key == nil:
		return nil, fmt.Errorf("%w: it is encrypted, and there is no key", ErrBackup)
	case at[2] == 0:
		key = nil
	}
	aead, err := backupCipher(key, at[3:])
	if err != nil {
		return nil, err
	}
	b := &backupReader{r: r, aead: aead, sum: sha256.New()}
	b.sum.Write(head)
	return b, nil
}

// fill has n bytes in buf, if there are so many.
func (b *backupReader) fill(n int) error {
	for len(b.buf) < n {
		if b.last {
			return fmt.Errorf("%w: it ends within an entry", ErrBackup)
		}
		head := make([]byte, 5)
		if _, err := io.ReadFull(b.r, head); err != nil {
			return fmt.Errorf("%w: it is not whole: %w", ErrBackup, err)
		}
		size := binary.BigEndian.Uint32(head)
		if size > pieceSize+16 || head[4] > 1 {
			return fmt.Errorf("%w: piece %d is damaged", ErrBackup, b.n)
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(b.r, data); err != nil {
			return fmt.Errorf("%w: it is not whole: %w", ErrBackup, err)
		}
		if b.aead != nil {
			var err error
			if data, err = b.aead.Open(data[:0], pieceNonce(b.n, head[4]), data, nil); err != nil {
				return fmt.Errorf("%w: piece %d is damaged, or the key is another", ErrBackup, b.n)
			}
		}
		b.n++
		b.buf, b.last = append(b.buf, data...), head[4] == 1
	}
	return nil
}

// part reads a length and as many bytes.
func (b *backupReader) part(most int) ([]byte, error) {
	var size uint64
	for shift := 0; ; shift += 7 {
		if err := b.fill(1); err != nil {
			return nil, err
		}
		c := b.buf[0]
		b.sum.Write(b.buf[:1])
		b.buf = b.buf[1:]
		size |= uint64(c&0x7f) << shift
		if size > uint64(most) || shift > 28 {
			return nil, fmt.Errorf("%w: an entry has an impossible length", ErrBackup)
		}
		if c < 0x80 {
			break
		}
	}
	if err := b.fill(int(size)); err != nil {
		return nil, err
	}
	v := bytes.Clone(b.buf[:size])
	b.sum.Write(v)
	b.buf = b.buf[size:]
	return v, nil
}

// next returns the next entry, or io.EOF if the backup was whole.
func (b *backupReader) next() (key, value []byte, err error) {
	if key, err = b.part(1 << 10); err != nil {
		return nil, nil, err
	}
	if len(key) > 0 {
		value, err = b.part(mostValue)
		return key, value, err
	}
	want := b.sum.Sum(nil)
	if err := b.fill(len(want)); err != nil {
		return nil, nil, err
	}
	if !b.last || !bytes.Equal(b.buf, want) {
		return nil, nil, fmt.Errorf("%w: its checksum is wrong", ErrBackup)
	}
	return nil, nil, io.EOF
}

// now is when a Restore takes place.
func (o *Options) now() time.Time {
	if o.clock != nil {
		return o.clock()
	}
	return time.Now()
}
