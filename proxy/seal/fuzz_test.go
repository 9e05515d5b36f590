package seal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
)

func FuzzDecodePlain(f *testing.F) {
	for _, p := range []plain{{n: 1, noise: []byte("noise"), chunk: []byte("chunk")}, {i: 2, n: 3}} {
		b, err := p.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:60])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		full := make([]byte, PlainSize) // padded: the fuzzer need not find the size
		copy(full, b)
		p, err := decodePlain(full)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
				t.Fatalf("untyped error: %v", err)
			}
			return
		}
		if again, err := p.encode(); err != nil || !bytes.Equal(again, full) {
			t.Fatalf("encodes differently: %v", err)
		}
	})
}

func FuzzUnmarshalPart(f *testing.F) {
	b, err := (&Part{Count: 1, Noise: []byte("x"), PrekeyID: make([]byte, 8)}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := UnmarshalPart(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
				t.Fatalf("untyped error: %v", err)
			}
			return
		}
		if _, err := p.Marshal(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzDecodePayload(f *testing.F) {
	alice := newPerson(f, "alice")
	b, err := (&payload{Version: Version, ID: make([]byte, 16), Count: 1, Hash: make([]byte, 32), Kind: KindMail,
		Address: alice.Address, Bundle: alice.signed, Extensions: map[uint64][]byte{1: {2}}}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodePayload(b); err == nil && h.Sender.Address != h.payload.Address {
			t.Fatal("accepted another's bundle")
		}
	})
}

func FuzzDecodeContent(f *testing.F) {
	content := bytes.Repeat([]byte("mail "), 100)
	var small bytes.Buffer
	if _, err := compress(&small, bytes.NewReader(content), int64(len(content))); err != nil {
		f.Fatal(err)
	}
	hash := sha256.Sum256(content)
	f.Add(small.Bytes(), uint16(500))
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		r, err := newContentReader(bytes.NewReader(b), &payload{Coding: codingZstd, Size: uint64(size), Hash: hash[:]})
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err == nil && !bytes.Equal(got, content) {
			t.Fatalf("%d bytes, want %d", len(got), size)
		}
		if len(got) > int(size) {
			t.Fatalf("%d bytes came of %d", len(got), size)
		}
		if err != nil && !errors.Is(err, ErrContent) {
			t.Fatalf("untyped error: %v", err)
		}
		if err != nil && bytes.Equal(b, small.Bytes()) && size == 500 {
			t.Fatal(err)
		}
	})
}
