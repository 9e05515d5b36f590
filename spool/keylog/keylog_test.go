package keylog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/spool"
)

// stored is a log with all its stored hashes, as a server has it.
type stored struct {
	records []spool.LogRecord
	hashes  []tlog.Hash
}

func (s *stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		if i >= int64(len(s.hashes)) {
			return nil, errors.New("no such hash")
		}
		out = append(out, s.hashes[i])
	}
	return out, nil
}

func (s *stored) append(t testing.TB, r spool.LogRecord) {
	t.Helper()
	hashes, err := tlog.StoredHashes(int64(len(s.records)), r.Encode(), s)
	if err != nil {
		t.Fatal(err)
	}
	s.records, s.hashes = append(s.records, r), append(s.hashes, hashes...)
}

func record(i int, mark byte) spool.LogRecord {
	r := spool.LogRecord{Kind: spool.LogMade, Version: uint64(i)}
	r.Name[0], r.Name[1], r.Name[2], r.Identity[0] = byte(i), byte(i>>8), 1, mark
	return r
}

func logOf(t testing.TB, n int, mark byte) *stored {
	t.Helper()
	s := &stored{}
	for i := range n {
		s.append(t, record(i, mark))
	}
	return s
}

func head(t testing.TB, s *stored, size int) spool.LogHead {
	t.Helper()
	h, err := Head(uint64(size), s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const most = 70 // sizes up to here have all shapes that matter

// TestTree compares the tree that a client keeps with the one that a server has, and
// begins it anew at every size.
func TestTree(t *testing.T) {
	s := logOf(t, most, 1)
	var grown Tree
	for size := 0; ; size++ {
		want := head(t, s, size)
		if got := grown.Head(); got != want || grown.Size() != uint64(size) {
			t.Fatalf("tree of %d records has head %x of %d, want %x", size, got.Root, got.Size, want.Root)
		}
		edge, err := Edge(uint64(size), s)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(edge, grown.Edge()) {
			t.Fatalf("edge of %d records differs", size)
		}
		again, err := NewTree(uint64(size), edge)
		if err != nil {
			t.Fatal(err)
		}
		for i := size; i < most; i++ {
			again.Append(record(i, 1))
		}
		if again.Head() != head(t, s, most) {
			t.Fatalf("tree that begins at %d comes to another head", size)
		}
		if size == most {
			break
		}
		grown.Append(record(size, 1))
	}
}

// TestTreeOfRFC6962 has the roots of the test tree that implementations of
// Certificate Transparency share.
func TestTreeOfRFC6962(t *testing.T) {
	leaves := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := []string{
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	s := &stored{}
	for i, leaf := range leaves {
		data, err := hex.DecodeString(leaf)
		if err != nil {
			t.Fatal(err)
		}
		hashes, err := tlog.StoredHashes(int64(i), data, s)
		if err != nil {
			t.Fatal(err)
		}
		s.hashes = append(s.hashes, hashes...)
		edge, err := Edge(uint64(i+1), s)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := NewTree(uint64(i+1), edge)
		if err != nil {
			t.Fatal(err)
		}
		if h := tree.Head(); hex.EncodeToString(h.Root[:]) != roots[i] {
			t.Errorf("root of %d leaves is %x, want %s", i+1, h.Root, roots[i])
		}
	}
}

func TestProofs(t *testing.T) {
	s, other := logOf(t, most, 1), logOf(t, most, 2)
	for size := 1; size <= most; size++ {
		h := head(t, s, size)
		for i := range size {
			proof, err := Prove(uint64(size), uint64(i), s)
			if err != nil {
				t.Fatal(err)
			}
			if len(proof) > MaxProof {
				t.Fatalf("proof has %d bytes", len(proof))
			}
			check := func(head spool.LogHead, index int, r spool.LogRecord, proof []byte) error {
				return CheckRecord(head, uint64(index), r, proof)
			}
			if err := check(h, i, record(i, 1), proof); err != nil {
				t.Fatalf("record %d of %d: %v", i, size, err)
			}
			wrong := map[string]error{
				"another record":      check(h, i, record(i, 2), proof),
				"another head":        check(head(t, other, size), i, record(i, 1), proof),
				"beyond the head":     check(h, size, record(i, 1), proof),
				"a hash too much":     check(h, i, record(i, 1), append(bytes.Clone(proof), make([]byte, 32)...)),
				"a byte too much":     check(h, i, record(i, 1), append(bytes.Clone(proof), 0)),
				"a head without size": check(spool.LogHead{}, i, record(i, 1), proof),
			}
			if len(proof) > 0 {
				altered := bytes.Clone(proof)
				altered[i%len(altered)] ^= 1
				wrong["truncated"] = check(h, i, record(i, 1), proof[:len(proof)-32])
				wrong["cut within a hash"] = check(h, i, record(i, 1), proof[:len(proof)-1])
				wrong["altered"] = check(h, i, record(i, 1), altered)
				wrong["another place"] = check(h, (i+1)%size, record(i, 1), proof)
			}
			for what, err := range wrong {
				if !errors.Is(err, ErrProof) {
					t.Errorf("record %d of %d with %s: %v", i, size, what, err)
				}
			}
		}
	}
	if _, err := Prove(3, 3, s); err == nil {
		t.Error("a record beyond the log was proved")
	}
	if _, err := Prove(most+1, 3, s); err == nil {
		t.Error("a record was proved in a log longer than it is")
	}
}

func TestBadEdges(t *testing.T) {
	for _, c := range []struct {
		size  uint64
		bytes int
	}{{0, 32}, {1, 0}, {1, 31}, {1, 64}, {3, 32}, {4, 64}, {spool.MaxLogSize * 2, 32}} {
		if _, err := NewTree(c.size, make([]byte, c.bytes)); !errors.Is(err, ErrProof) {
			t.Errorf("edge of %d bytes for %d records: %v", c.bytes, c.size, err)
		}
	}
}

func FuzzCheckRecord(f *testing.F) {
	s := logOf(f, most, 1)
	h := head(f, s, most)
	for _, i := range []uint64{0, 5, most - 1} {
		proof, err := Prove(most, i, s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint64(most), i, record(int(i), 1).Encode(), proof)
	}
	f.Add(uint64(1)<<62+1, uint64(1)<<62, record(0, 1).Encode(), make([]byte, MaxProof))
	f.Fuzz(func(t *testing.T, size, index uint64, leaf, proof []byte) {
		r, err := spool.DecodeLogRecord(leaf)
		if err != nil {
			return
		}
		err = CheckRecord(spool.LogHead{Size: size, Root: h.Root}, index, r, proof)
		switch {
		case err != nil && !errors.Is(err, ErrProof):
			t.Fatal(err)
		case err == nil && size == most && r != record(int(index), 1):
			t.Fatalf("record %d is proved to be %v", index, r)
		}
	})
}

func FuzzEdge(f *testing.F) {
	edge, err := Edge(most, logOf(f, most, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(most), edge)
	f.Fuzz(func(t *testing.T, size uint64, edge []byte) {
		tree, err := NewTree(size, edge)
		if err != nil {
			if !errors.Is(err, ErrProof) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(tree.Edge(), edge) {
			t.Fatal("the edge is another one now")
		}
		tree.Append(record(1, 1))
		if len(tree.Edge()) != EdgeSize(tree.Size()) {
			t.Fatal("the edge does not fit the size")
		}
		tree.Head()
	})
}
