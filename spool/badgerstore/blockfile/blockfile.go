// Package blockfile keeps records of one size in append-only files. It is where
// badgerstore has the blocks: Badger's own value log gives room back only as its
// compaction comes to it, and a full disk ends the process there.
//
// A file is written from its beginning to its end, once, and then only read until
// nothing in it is of use, when it is removed. Who uses the package knows which
// records those are: it counts them, and keeps the places of records where
// they survive a crash. What was not synced, or has no place kept, is as if it
// were not there: opened again, a file is never written to.
//
// Only spool/badgerstore imports it.
package blockfile

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// version is of the files' format.
const version = 1

// A file begins with its header: magic, version (1), whether it is encrypted (1),
// slots (4, big-endian), the record's size (4), salt (32), SHA-256 of all this.
// Records begin at headerSize.
const (
	headerSize = 4096
	magic      = "mailproxy blocks\n"
	saltSize   = 32
)

// keyInfo separates the key of a file from all else derived from the store's.
const keyInfo = "mailproxy/spool-blocks/v1"

var (
	// ErrGone is returned for a place in a file that is not there (any more).
	ErrGone = errors.New("file of blocks is gone")
	// ErrDamaged is wrapped by errors about what a file has and should not have.
	ErrDamaged = errors.New("file of blocks is damaged")
)

// A Place is where a record is.
type Place struct {
	File uint32
	Slot uint32
}

// PlaceSize is the size of an encoded Place.
const PlaceSize = 8

// Encode returns the place's bytes.
func (p Place) Encode() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, p.File), p.Slot)
}

// DecodePlace reads a place; b has PlaceSize bytes.
func DecodePlace(b []byte) Place {
	return Place{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// Options say what to open.
type Options struct {
	Dir   string
	Key   []byte // 32 bytes from which the files' keys are made; nil: not encrypted
	Size  int    // of a record in bytes
	Slots int    // that a new file has
}

// Files is a directory of files. Its methods may be called from any goroutine,
// but for Append and Sync, which are one goroutine's.
type Files struct {
	o Options

	// writing is the file that Append writes to; nil: the next makes one. Only
	// the appending goroutine uses it, and what is below.
	writing *file
	slot    uint32 // the next
	room    int64  // up to which the disk keeps room for it
	dirty   bool   // something is not synced
	failed  error  // that something could not be; Sync has not told yet
	buf     []byte

	mu    sync.Mutex // guards what is below
	files map[uint32]*file
	next  uint32 // number of the next file
	pins  int    // while above zero, removed files stay
	gone  []*file
}

// file is one file. refs is guarded by Files.mu; the rest does not change.
type file struct {
	number uint32
	slots  uint32
	f      *os.File
	aead   cipher.AEAD // nil: not encrypted
	refs   int         // one for being in files
}

// Open opens or makes the directory. What is wrong with a file is found when
// it is read, but for its header.
func Open(o Options) (*Files, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of blocks: %w", err)
	}
	f := &Files{o: o, files: make(map[uint32]*file), next: 1}
	f.buf = make([]byte, 0, f.recordSize())
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("list files of blocks: %w", err)
	}
	for _, e := range entries {
		var n uint32
		if _, err := fmt.Sscanf(e.Name(), "%08x.blocks", &n); err != nil || fileName(n) != e.Name() {
			continue
		}
		f.next = max(f.next, n+1)
		one, err := f.open(n)
		if errors.Is(err, errUnfinished) {
			// A crash came before its header was on disk: no place is in it.
			if err = os.Remove(filepath.Join(o.Dir, e.Name())); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.files[n] = one
	}
	return f, nil
}

func fileName(n uint32) string { return fmt.Sprintf("%08x.blocks", n) }

func (f *Files) recordSize() int64 {
	if f.o.Key != nil {
		return int64(f.o.Size) + 16
	}
	return int64(f.o.Size)
}

// errUnfinished means that a file has not even a whole header.
var errUnfinished = errors.New("header is not complete")

func (f *Files) open(n uint32) (one *file, err error) {
	r, err := os.Open(filepath.Join(f.o.Dir, fileName(n)))
	if err != nil {
		return nil, fmt.Errorf("open file of blocks: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", r.Name(), err), r.Close())
		}
	}()
	h := make([]byte, headerSize)
	if k, err := r.ReadAt(h, 0); err != nil {
		if info, serr := r.Stat(); serr == nil && info.Size() < headerSize {
			return nil, errUnfinished
		}
		return nil, fmt.Errorf("read %d bytes of the header: %w", k, err)
	}
	if bytes.Equal(h, make([]byte, headerSize)) {
		return nil, errUnfinished
	}
	body, sum := h[:len(magic)+2+8+saltSize], h[len(magic)+2+8+saltSize:][:sha256.Size]
	want := sha256.Sum256(body)
	at := body[len(magic):]
	switch {
	case !bytes.HasPrefix(h, []byte(magic)) || !bytes.Equal(sum, want[:]):
		return nil, fmt.Errorf("%w: its header cannot be read", ErrDamaged)
	case at[0] != version:
		return nil, fmt.Errorf("it has version %d, this program reads %d", at[0], version)
	case (at[1] == 1) != (f.o.Key != nil):
		return nil, errors.New("it is encrypted and the store is not, or the other way round")
	case binary.BigEndian.Uint32(at[6:]) != uint32(f.o.Size):
		return nil, fmt.Errorf("its records have %d bytes, this program's %d", binary.BigEndian.Uint32(at[6:]), f.o.Size)
	}
	one = &file{number: n, slots: binary.BigEndian.Uint32(at[2:]), f: r, refs: 1}
	one.aead, err = f.cipher(at[10:][:saltSize])
	return one, err
}

// cipher returns that of a file with this salt: AES-256-GCM (NIST SP 800-38D) with a
// key of its own (HKDF, RFC 5869). The nonce is the slot's number, and no slot is
// ever written twice.
func (f *Files) cipher(salt []byte) (cipher.AEAD, error) {
	if f.o.Key == nil {
		return nil, nil
	}
	key, err := hkdf.Key(sha256.New, f.o.Key, salt, keyInfo, 32)
	if err != nil {
		return nil, fmt.Errorf("make key of a file of blocks: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make key of a file of blocks: %w", err)
	}
	return cipher.NewGCM(block)
}

func nonce(slot uint32) []byte { return binary.BigEndian.AppendUint32(make([]byte, 8, 12), slot) }

// create makes the next file, and writes to it from now on. Its name is on disk
// then; its header is with the first record.
func (f *Files) create() (err error) {
	f.mu.Lock()
	n := f.next
	f.next++
	f.mu.Unlock()
	path := filepath.Join(f.o.Dir, fileName(n))
	w, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make file of blocks: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make file of blocks: %w", err), w.Close(), os.Remove(path))
		}
	}()
	h := make([]byte, 0, headerSize)
	h = append(h, magic...)
	h = append(h, version, 0)
	if f.o.Key != nil {
		h[len(h)-1] = 1
	}
	h = binary.BigEndian.AppendUint32(h, uint32(f.o.Slots))
	h = binary.BigEndian.AppendUint32(h, uint32(f.o.Size))
	salt := make([]byte, saltSize)
	rand.Read(salt)
	h = append(h, salt...)
	sum := sha256.Sum256(h)
	h = append(h, sum[:]...)
	aead, err := f.cipher(salt)
	if err != nil {
		return err
	}
	if _, err := w.WriteAt(h[:headerSize], 0); err != nil {
		return err
	}
	if err := syncDir(f.o.Dir); err != nil {
		return err
	}
	one := &file{number: n, slots: uint32(f.o.Slots), f: w, aead: aead, refs: 1}
	f.mu.Lock()
	f.files[n] = one
	f.mu.Unlock()
	f.writing, f.slot, f.room = one, 0, headerSize
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Append writes a record, which is durable after the next Sync. After an error
// this record is not there; what the others are, Sync says.
func (f *Files) Append(record []byte) (Place, error) {
	if len(record) != f.o.Size {
		return Place{}, fmt.Errorf("append to file of blocks: record has %d bytes", len(record))
	}
	if f.writing != nil && f.slot == f.writing.slots {
		err := f.Sync()
		f.writing = nil
		if err != nil {
			f.failed = err // the others that it was about are of this batch as well
			return Place{}, err
		}
	}
	if f.writing == nil {
		if err := f.create(); err != nil {
			return Place{}, err
		}
	}
	w := f.writing
	p := Place{w.number, f.slot}
	if w.aead != nil {
		record = w.aead.Seal(f.buf[:0], nonce(p.Slot), record, nil)
	}
	f.slot++
	f.dirty = true
	at := headerSize + int64(p.Slot)*f.recordSize()
	err := f.grow(at + f.recordSize())
	if err == nil {
		_, err = w.f.WriteAt(record, at)
	}
	if err != nil {
		// What it has stays; nothing more comes to it.
		f.failed = errors.Join(f.failed, f.Sync())
		f.writing = nil
		return Place{}, fmt.Errorf("append to file of blocks: %w", err)
	}
	return p, nil
}

// grow has the disk keep room for the file that is written up to an offset, and
// as much again.
func (f *Files) grow(to int64) error {
	if to <= f.room {
		return nil
	}
	end := headerSize + int64(f.writing.slots)*f.recordSize()
	next := min(end, max(to, 2*f.room, 1<<20))
	if err := reserve(f.writing.f, f.room, next-f.room); err != nil {
		return err
	}
	f.room = next
	return nil
}

// Sync puts what was appended on disk. After an error the file is not written to
// any more: what the system has dropped cannot be known.
func (f *Files) Sync() error {
	if err := f.failed; err != nil {
		f.failed = nil
		return err
	}
	if !f.dirty {
		return nil
	}
	f.dirty = false
	if err := syncData(f.writing.f); err != nil {
		f.writing = nil
		return fmt.Errorf("sync file of blocks: %w", err)
	}
	return nil
}

// Read returns the record at a place. It fails with ErrGone if the file was
// removed, and with ErrDamaged if the record is not what was written, as far as
// can be seen: without a key, it is whatever is there.
func (f *Files) Read(p Place) ([]byte, error) {
	f.mu.Lock()
	one := f.files[p.File]
	if one == nil {
		// Removed, but pinned: whoever has pinned it may still read.
		for _, g := range f.gone {
			if g.number == p.File {
				one = g
			}
		}
	}
	if one != nil {
		one.refs++
	}
	f.mu.Unlock()
	if one == nil {
		return nil, fmt.Errorf("read block: %w: %s", ErrGone, fileName(p.File))
	}
	defer f.release(one)
	record := make([]byte, f.recordSize())
	if _, err := one.f.ReadAt(record, headerSize+int64(p.Slot)*f.recordSize()); err != nil {
		return nil, fmt.Errorf("read block %d: %w: %w", p.Slot, ErrDamaged, err)
	}
	if one.aead == nil {
		return record, nil
	}
	plain, err := one.aead.Open(record[:0], nonce(p.Slot), record, nil)
	if err != nil {
		return nil, fmt.Errorf("read block %d of %s: %w: %w", p.Slot, one.f.Name(), ErrDamaged, err)
	}
	return plain, nil
}

func (f *Files) release(one *file) {
	f.mu.Lock()
	one.refs--
	last := one.refs == 0
	f.mu.Unlock()
	if last {
		one.f.Close() // read only, or synced
	}
}
