package keyring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// Tags remembers the replay tags of packets. Of each, which is a hash, the first
// eight bytes are written, as a little-endian number, and the highest 54 bits of that
// are compared. A packet is taken for a replay of another with a chance of one in 2^54
// for each tag that is kept, and then it is dropped, as any packet may be: with an
// hour's 18 million tags at 5,000 packets a second one in a thousand million is, so
// one in four days of such hours. Who makes two packets of one tag on purpose gets
// the second dropped and nothing else.
//
// The highest bits of a tag choose one of 16,384 shards, which holds 40 bits more of
// each of its tags, sorted and packed. A shard grows by a sixteenth, so that nothing
// large is ever moved or copied. A tag takes 8 bytes on disk and less than 6 in
// memory: for an hour and its grace time
//
//	 5,000 packets a second: 147 MB on disk, 105 MB in memory
//	10,000 packets a second: 294 MB on disk, 210 MB in memory
//
// and half a megabyte without any. There are no pointers in it, and Go's collector
// does not read it; node.GCPercent is about what it keeps idle beside it.
//
// On disk they are a file to which each tag is appended before its packet goes on.
// That outlives the process; a power cut may lose the last of them, which the
// system had not written yet.
type Tags struct {
	shards []shard

	mu   sync.Mutex // guards size, and the order of writes
	file *os.File   // nil: in memory only; not changed
	size int64      // of what is whole in file
}

const (
	shardBits  = 14
	suffixSize = 5
	suffixBits = 8 * suffixSize
	recordSize = 8 // of a tag in the file
)

// A shard is the suffixes of its tags, in order, big-endian and without gaps.
type shard struct {
	mu     sync.Mutex // guards packed
	packed []byte
}

// NewTags returns tags that live in memory.
func NewTags() *Tags { return &Tags{shards: make([]shard, 1<<shardBits)} }

// OpenTags reads the tags in file, which is made if need be. A half-written tag at
// its end, which a crash left, is cut off: its packet had not gone on. It reads the
// file twice and takes about 150 ns for each tag, and no memory that it does not keep.
func OpenTags(file string) (*Tags, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open replay tags: %w", err)
	}
	t := NewTags()
	t.file = f
	if err := t.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open replay tags: %w", err), f.Close())
	}
	return t, nil
}

// load counts first, so that each shard is made once and at the size it needs: to
// add one tag after the other would leave behind many times what is kept.
func (t *Tags) load() error {
	counts := make([]int, len(t.shards))
	size, err := t.read(func(shard int, _ uint64) { counts[shard]++ })
	if err != nil {
		return err
	}
	if err := t.file.Truncate(size); err != nil {
		return err
	}
	t.size = size
	for i, n := range counts {
		if n > 0 {
			t.shards[i].packed = room(nil, n)
		}
	}
	if _, err := t.read(func(shard int, suffix uint64) {
		s := &t.shards[shard]
		s.packed = appendSuffix(s.packed, suffix)
	}); err != nil {
		return err
	}
	var list []uint64
	for i := range t.shards {
		s := &t.shards[i]
		list = list[:0]
		for j := range s.len() {
			list = append(list, s.at(j))
		}
		slices.Sort(list)
		s.packed = s.packed[:0]
		for _, suffix := range slices.Compact(list) {
			s.packed = appendSuffix(s.packed, suffix)
		}
	}
	return nil
}

// read calls f for each whole tag in the file, and returns their size.
func (t *Tags) read(f func(shard int, suffix uint64)) (size int64, err error) {
	buf := make([]byte, 1<<16)
	for {
		n, err := t.file.ReadAt(buf, size)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for b := buf[:n]; len(b) >= recordSize; b = b[recordSize:] {
			f(split(binary.LittleEndian.Uint64(b)))
		}
		size += int64(n / recordSize * recordSize)
		if err != nil {
			return size, nil
		}
	}
}

// split returns where a tag belongs.
func split(v uint64) (shard int, suffix uint64) {
	return int(v >> (64 - shardBits)), v >> (64 - shardBits - suffixBits) & (1<<suffixBits - 1)
}

// Add remembers tag and reports whether it is new. After an error the tag may be
// remembered or not, and its packet must not go on.
func (t *Tags) Add(tag [32]byte) (fresh bool, err error) {
	v := binary.LittleEndian.Uint64(tag[:])
	i, suffix := split(v)
	if !t.shards[i].add(suffix) {
		return false, nil
	}
	if t.file == nil {
		return true, nil
	}
	var b [recordSize]byte
	binary.LittleEndian.PutUint64(b[:], v)
	t.mu.Lock()
	defer t.mu.Unlock()
	// A write that fails in the middle is written over by the next: half a tag would
	// put all after it out of step.
	if _, err := t.file.WriteAt(b[:], t.size); err != nil {
		return false, fmt.Errorf("keep replay tag: %w", err)
	}
	t.size += recordSize
	return true, nil
}

// add reports whether suffix is new.
func (s *shard) add(suffix uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	low, high := 0, s.len()
	for low < high {
		middle := (low + high) / 2
		switch v := s.at(middle); {
		case v == suffix:
			return false
		case v < suffix:
			low = middle + 1
		default:
			high = middle
		}
	}
	if cap(s.packed)-len(s.packed) < suffixSize {
		s.packed = room(s.packed, s.len()+1)
	}
	s.packed = s.packed[:len(s.packed)+suffixSize]
	at := s.packed[low*suffixSize:]
	copy(at[suffixSize:], at)
	appendSuffix(at[:0], suffix)
	return true
}

// len and at need s.mu, but in load.
func (s *shard) len() int { return len(s.packed) / suffixSize }

func (s *shard) at(i int) uint64 {
	b := s.packed[i*suffixSize : (i+1)*suffixSize]
	return uint64(b[0])<<32 | uint64(binary.BigEndian.Uint32(b[1:]))
}

func appendSuffix(b []byte, suffix uint64) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(suffix>>32)), uint32(suffix))
}

// room returns a copy of packed with room for n tags and a sixteenth more, rounded
// up to what the allocator gives anyway.
func room(packed []byte, n int) []byte {
	return append(slices.Grow([]byte(nil), (n+n/16+1)*suffixSize), packed...)
}

// Len returns how many tags there are.
func (t *Tags) Len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.len()
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
