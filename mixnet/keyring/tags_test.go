package keyring

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// tag is a replay tag that begins with v.
func tag(v uint64) (t [32]byte) {
	binary.LittleEndian.PutUint64(t[:], v)
	return t
}

func TestTags(t *testing.T) {
	const n = 300_000
	tags := NewTags()
	for i := range uint64(n) {
		if fresh, err := tags.Add(tag(i * 0x9e3779b97f4a7c15)); !fresh || err != nil {
			t.Fatalf("tag %d is not new: %v", i, err)
		}
	}
	for i := range uint64(n) {
		if fresh, err := tags.Add(tag(i * 0x9e3779b97f4a7c15)); fresh || err != nil {
			t.Fatalf("tag %d was forgotten: %v", i, err)
		}
	}
	if tags.Len() != n {
		t.Errorf("%d tags, want %d", tags.Len(), n)
	}
}

// TestTagsAreASet compares with a map, over few shards and across openings. What
// differs in the lowest ten bits only is one tag.
func TestTagsAreASet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tags")
	rapid.Check(t, func(t *rapid.T) {
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		tags, err := OpenTags(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { tags.Close() }()
		seen := map[uint64]bool{}
		value := rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 3).Draw(t, "shard")<<62 | rapid.Uint64Range(0, 40).Draw(t, "suffix")<<rapid.IntRange(0, 55).Draw(t, "shift")
		})
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			if rapid.IntRange(0, 20).Draw(t, "reopen") == 0 {
				if err := tags.Close(); err != nil {
					t.Fatal(err)
				}
				if tags, err = OpenTags(file); err != nil {
					t.Fatal(err)
				}
			}
			v := value.Draw(t, "tag")
			fresh, err := tags.Add(tag(v))
			if err != nil || fresh == seen[v>>10] {
				t.Fatalf("tag %x: new %v, seen before %v, %v", v, fresh, seen[v>>10], err)
			}
			seen[v>>10] = true
			if tags.Len() != len(seen) {
				t.Fatalf("%d tags, want %d", tags.Len(), len(seen))
			}
		}
	})
}

// TestTagsStayInOrder looks inside: a search in what is out of order misses.
func TestTagsStayInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s shard
	for range 5000 {
		s.add(r.Uint64N(1 << suffixBits))
	}
	var list []uint64
	for i := range s.len() {
		list = append(list, s.at(i))
	}
	if len(list) != 5000 || !slices.IsSorted(list) {
		t.Errorf("%d suffixes, in order: %v", len(list), slices.IsSorted(list))
	}
}

// TestMemoryOfTags holds what Tags' documentation says of memory, when tags come one
// after the other and when they are read.
func TestMemoryOfTags(t *testing.T) {
	const perShard = 1120 // at 5,000 packets a second
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{perShard, 2 * perShard} {
		var s shard
		for s.len() < n {
			s.add(r.Uint64N(1 << suffixBits))
		}
		for what, size := range map[string]int{"grown": cap(s.packed), "read": cap(room(nil, n))} {
			if each := float64(size) / float64(n); each > 6 {
				t.Errorf("a shard of %d tags that was %s takes %.2f bytes for each", n, what, each)
			}
		}
	}
}

// TestWriteThatFails finds no half tag in the file after a write that failed, and
// the tags after it in step.
func TestWriteThatFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tags")
	tags, err := OpenTags(file)
	if err != nil {
		t.Fatal(err)
	}
	add := func(v uint64, wantErr bool) {
		t.Helper()
		if fresh, err := tags.Add(tag(v)); fresh == wantErr || (err != nil) != wantErr {
			t.Fatalf("tag %x: new %v, %v", v, fresh, err)
		}
	}
	add(1<<40, false)
	good := tags.file
	if tags.file, err = os.Open(file); err != nil { // for reading only
		t.Fatal(err)
	}
	add(2<<40, true)
	if err := tags.Close(); err != nil {
		t.Fatal(err)
	}
	tags.file = good
	if _, err := good.WriteAt([]byte{1, 2, 3}, recordSize); err != nil { // what a full disk may leave
		t.Fatal(err)
	}
	add(3<<40, false)
	if err := tags.Close(); err != nil {
		t.Fatal(err)
	}
	if tags, err = OpenTags(file); err != nil {
		t.Fatal(err)
	}
	defer tags.Close()
	for v, want := range map[uint64]bool{1 << 40: false, 3 << 40: false, 4 << 40: true} {
		if fresh, err := tags.Add(tag(v)); fresh != want || err != nil {
			t.Errorf("tag %x after a failed write: new %v, want %v, %v", v, fresh, want, err)
		}
	}
}

func BenchmarkTags(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	tags := NewTags()
	for range 4 << 20 { // some of an hour's
		if _, err := tags.Add(tag(r.Uint64())); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tags.Add(tag(r.Uint64())); err != nil {
			b.Fatal(err)
		}
	}
}
