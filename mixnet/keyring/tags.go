package keyring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Tags remembers the replay tags of packets: the first eight bytes of each, which
// are a hash's. Two packets collide with a chance of one in 2^64 for each tag that
// is kept, and then the second is dropped, as any packet may be; who makes
// collisions on purpose gets packets of his own dropped.
//
// The tags are spread over shards, each an open-addressed table that doubles when
// it is three quarters full, so that growing copies little at a time. A tag takes
// 8 bytes on disk and 11 to 21 in memory: at 10,000 packets a second for an hour
// 288 MB on disk and about 500 MB.
//
// On disk they are a file to which each tag is appended before its packet goes on.
// That outlives the process; a power cut may lose the last of them, which the
// system had not written yet.
type Tags struct {
	shards [shards]shard
	file   *os.File // nil: in memory only
}

const shards = 256

type shard struct {
	mu    sync.Mutex // guards all below
	slots []uint64   // 0: free
	used  int
}

// NewTags returns tags that live in memory.
func NewTags() *Tags { return new(Tags) }

// OpenTags reads the tags in file, which is made if need be. A half-written tag at
// its end, which a crash left, is cut off: its packet had not gone on.
func OpenTags(file string) (*Tags, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open replay tags: %w", err)
	}
	t := &Tags{file: f}
	if err := t.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open replay tags: %w", err), f.Close())
	}
	return t, nil
}

func (t *Tags) load() error {
	buf := make([]byte, 1<<16)
	var size int64
	for {
		n, err := io.ReadFull(t.file, buf)
		for i := 0; i+8 <= n; i += 8 {
			v := binary.LittleEndian.Uint64(buf[i:])
			t.shards[v%shards].add(v)
			size += 8
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			if err := t.file.Truncate(size); err != nil {
				return err
			}
			_, err := t.file.Seek(size, io.SeekStart)
			return err
		case err != nil:
			return err
		}
	}
}

// Add remembers tag and reports whether it is new.
func (t *Tags) Add(tag [32]byte) (fresh bool, err error) {
	v := max(binary.LittleEndian.Uint64(tag[:]), 1) // 0 marks a free slot
	s := &t.shards[v%shards]
	s.mu.Lock()
	fresh = s.add(v)
	s.mu.Unlock()
	if !fresh || t.file == nil {
		return fresh, nil
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	// One write of eight bytes; the file's offset is shared and moves with it.
	if _, err := t.file.Write(b[:]); err != nil {
		return false, fmt.Errorf("keep replay tag: %w", err)
	}
	return true, nil
}

// add reports whether v is new. s.mu is held.
func (s *shard) add(v uint64) bool {
	if 4*(s.used+1) > 3*len(s.slots) {
		old := s.slots
		s.slots, s.used = make([]uint64, max(2*len(old), 16)), 0
		for _, w := range old {
			if w != 0 {
				s.add(w)
			}
		}
	}
	for i := v / shards % uint64(len(s.slots)); ; i = (i + 1) % uint64(len(s.slots)) {
		switch s.slots[i] {
		case 0:
			s.slots[i] = v
			s.used++
			return true
		case v:
			return false
		}
	}
}

// Len returns how many tags there are.
func (t *Tags) Len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.used
		s.mu.Unlock()
	}
	return n
}

// Close closes the file.
func (t *Tags) Close() error {
	if t.file == nil {
		return nil
	}
	if err := t.file.Close(); err != nil {
		return fmt.Errorf("close replay tags: %w", err)
	}
	return nil
}
