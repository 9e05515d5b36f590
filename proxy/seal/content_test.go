package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
)

// TestErrorOfPartUnderCompression makes sure that an error of the store is not
// taken for damage when the decompressor stands between.
func TestErrorOfPartUnderCompression(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	content := []byte(fmt.Sprintf("%x", random(20_000))) // hexadecimal: half of it remains
	blocks, err := Seal(mail(content), alice.sender(), bob.bundle)
	if err != nil {
		t.Fatal(err)
	}
	parts := openAll(t, blocks, bob.Recipient)
	if len(parts) < 3 || len(parts) > 4 {
		t.Fatalf("%d parts", len(parts))
	}
	lost := errors.New("disk is gone")
	_, err = Assemble(bob.Recipient, MaxContent, func(i uint32) (*Part, error) {
		if i == 2 {
			return nil, lost
		}
		return parts[i], nil
	})
	if !errors.Is(err, lost) || errors.Is(err, ErrContent) {
		t.Errorf("a part that cannot be read: %v", err)
	}
	got, err := AssembleParts(bob.Recipient, len(content), parts)
	if err != nil || !bytes.Equal(got.Content, content) {
		t.Errorf("all parts: %v", err)
	}
	if _, err := AssembleParts(bob.Recipient, len(content)-1, parts); !errors.Is(err, ErrTooLarge) {
		t.Errorf("limit: %v", err)
	}
}

// firstBlock seals the first block of a message that need not be in order.
func firstBlock(s *Sealer) ([]byte, error) {
	for block, err := range s.Blocks() {
		return block, err
	}
	return nil, errors.New("no block")
}

// TestOpenInsteadOfContent: what is read twice is sealed as what is in memory.
func TestOpenInsteadOfContent(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	for name, content := range map[string][]byte{
		"nothing": {}, "small": []byte("hello"), "raw": random(3 * ChunkSize), "a block exactly": random(ChunkSize),
		"compressed": fmt.Appendf(nil, "%x", random(300_000)),
	} {
		t.Run(name, func(t *testing.T) {
			opened := 0
			m := Message{ID: ID{1}, Kind: KindMail, Size: int64(len(content)), Open: func() (io.Reader, error) {
				opened++
				return iotest.HalfReader(bytes.NewReader(content)), nil
			}}
			s, err := New(m, alice.sender(), bob.bundle)
			if err != nil {
				t.Fatal(err)
			}
			whole, err := New(Message{ID: ID{1}, Kind: KindMail, Content: content}, alice.sender(), bob.bundle)
			if err != nil {
				t.Fatal(err)
			}
			if s.Count() != whole.Count() || s.coded != whole.coded {
				t.Errorf("%d blocks of %d bytes, in memory %d of %d", s.Count(), s.coded, whole.Count(), whole.coded)
			}
			var blocks [][]byte
			for block, err := range s.Blocks() {
				if err != nil {
					t.Fatal(err)
				}
				blocks = append(blocks, block)
			}
			got, err := AssembleParts(bob.Recipient, MaxContent, openAll(t, blocks, bob.Recipient))
			if err != nil || !bytes.Equal(got.Content, content) || len(blocks) != s.Count() {
				t.Errorf("%d blocks of %d: %v", len(blocks), s.Count(), err)
			}
			if opened != 2 {
				t.Errorf("the content was read %d times", opened)
			}
		})
	}
}

// TestContentThatChanges: what is read the second time is not what was counted.
func TestContentThatChanges(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	first := random(5 * ChunkSize)
	broken := errors.New("disk is gone")
	other := bytes.Clone(first)
	other[3*ChunkSize]++
	for name, tc := range map[string]struct {
		second io.Reader
		want   error
	}{
		"other":   {bytes.NewReader(other), errChanged},
		"shorter": {bytes.NewReader(first[:len(first)-1]), errChanged},
		"longer":  {bytes.NewReader(append(bytes.Clone(first), 1)), errChanged},
		"broken":  {io.MultiReader(bytes.NewReader(first[:2*ChunkSize]), iotest.ErrReader(broken)), broken},
	} {
		t.Run(name, func(t *testing.T) {
			readers := []io.Reader{bytes.NewReader(first), tc.second}
			m := Message{Kind: KindMail, Size: int64(len(first)), Open: func() (io.Reader, error) {
				r := readers[0]
				readers = readers[1:]
				return r, nil
			}}
			s, err := New(m, alice.sender(), bob.bundle)
			if err != nil {
				t.Fatal(err)
			}
			for _, err = range s.Blocks() {
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("the last block: %v, want %v", err, tc.want)
			}
		})
	}
	m := Message{Kind: KindMail, Size: 10, Open: func() (io.Reader, error) { return bytes.NewReader(first), nil }}
	if _, err := New(m, alice.sender(), bob.bundle); !errors.Is(err, errChanged) {
		t.Errorf("more than was said: %v", err)
	}
}

// TestContentIsReadTwice: a message is verified by one reading and taken by another,
// and damage is told at the end of each.
func TestContentIsReadTwice(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	for name, content := range map[string][]byte{"raw": random(3 * ChunkSize), "compressed": fmt.Appendf(nil, "%x", random(3*ChunkSize))} {
		t.Run(name, func(t *testing.T) {
			blocks, err := Seal(mail(content), alice.sender(), bob.bundle)
			if err != nil {
				t.Fatal(err)
			}
			parts := openAll(t, blocks, bob.Recipient)
			a, err := Begin(bob.Recipient, MaxContent, func(i uint32) (*Part, error) { return parts[i], nil })
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Verify(); err != nil {
				t.Fatal(err)
			}
			r, err := a.Content()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
				t.Errorf("read again: %d bytes, %v", len(got), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			parts[1].Chunk[100]++
			if err := a.Verify(); !errors.Is(err, ErrContent) {
				t.Errorf("damaged: %v", err)
			}
		})
	}
}

// TestBombIsBounded sends what grows a thousandfold and lies about its size.
func TestBombIsBounded(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	s, err := New(mail(make([]byte, 20<<20)), alice.sender(), bob.bundle)
	if err != nil {
		t.Fatal(err)
	}
	s.payload.Size = 1000 // three bytes in CBOR instead of five
	s.noiseSize -= 2
	block, err := firstBlock(s)
	if err != nil {
		t.Fatal(err)
	}
	parts := openAll(t, [][]byte{block}, bob.Recipient)
	if _, err := AssembleParts(bob.Recipient, 1000, parts); !errors.Is(err, ErrContent) {
		t.Fatalf("bomb: %v", err)
	}
}
