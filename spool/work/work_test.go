package work_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
	"testing"

	"golang.org/x/crypto/argon2"

	"mailproxy/spool"
	"mailproxy/spool/work"
)

// cheap are terms that tests can pay.
var cheap = spool.Terms{Memory: 64, Time: 1, Bits: 5}

func input(n byte) [32]byte {
	return spool.AppendInput(spool.LaneStrangers, spool.ServiceOf("north.test"), spool.ID{1}, spool.BlockID{n})
}

// The library computes what the reference implementation's tests say (Argon2id,
// version 0x13, t = 2, m = 256 KiB, p = 1).
func TestArgon2id(t *testing.T) {
	got := argon2.IDKey([]byte("password"), []byte("somesalt"), 2, 256, 1, 32)
	if want := "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"; hex.EncodeToString(got) != want {
		t.Fatalf("%x, want %s", got, want)
	}
}

func TestSolveAndCheck(t *testing.T) {
	for n := range byte(20) {
		proof, err := work.Solve(t.Context(), input(n), cheap)
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := work.Claimed(proof); len(proof) != work.ProofSize || !ok || c != cheap {
			t.Fatalf("proof %x is for %+v", proof, c)
		}
		if !work.Check(input(n), proof, cheap) {
			t.Fatalf("%x is no proof", proof)
		}
		// Put together a second time from the description.
		in := input(n)
		tag := argon2.IDKey(proof[1:9], in[:], 1, 64, 1, 32)
		if bits.LeadingZeros64(binary.BigEndian.Uint64(tag)) < 5 {
			t.Fatalf("tag %x", tag)
		}
		again, err := work.Solve(t.Context(), input(n), cheap)
		if err != nil || !bytes.Equal(again, proof) {
			t.Fatalf("the same work gave %x, then %x, %v", proof, again, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	proof, err := work.Solve(t.Context(), input(1), cheap)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(b []byte)) []byte { b := bytes.Clone(proof); change(b); return b }
	// A nonce that is not good enough, found by looking for one.
	var wrong []byte
	for n := uint64(0); wrong == nil; n++ {
		if b := with(func(b []byte) { binary.BigEndian.PutUint64(b[1:], n) }); !work.Check(input(1), b, cheap) {
			wrong = b
		}
	}
	dearer := cheap
	dearer.Bits++
	other := cheap
	other.Memory *= 2
	for _, tt := range []struct {
		what  string
		in    [32]byte
		proof []byte
		terms spool.Terms
	}{
		{"nothing", input(1), nil, cheap},
		{"short", input(1), proof[1:], cheap},
		{"long", input(1), append(bytes.Clone(proof), 0), cheap},
		{"another format", input(1), with(func(b []byte) { b[0]++ }), cheap},
		{"wrong nonce", input(1), wrong, cheap},
		{"for less bits than asked", input(1), proof, dearer},
		{"for other memory", input(1), proof, other},
		{"other memory in the proof", input(1), with(func(b []byte) { b[12] = 65 }), cheap},
		{"other time in the proof", input(1), with(func(b []byte) { b[16] = 2 }), cheap},
		{"no terms", input(1), with(func(b []byte) { clear(b[9:]) }), spool.Terms{}},
	} {
		if work.Check(tt.in, tt.proof, tt.terms) {
			t.Errorf("%s: taken", tt.what)
		}
	}
	// Another block: most of the time the nonce is not good for it.
	taken := 0
	for n := byte(100); n < 200; n++ {
		if work.Check(input(n), proof, cheap) {
			taken++
		}
	}
	if taken > 20 { // 3 in the mean
		t.Errorf("a proof was good for %d of 100 other blocks", taken)
	}
	// More than was asked for is enough.
	better, err := work.Solve(t.Context(), input(1), dearer)
	if err != nil || !work.Check(input(1), better, cheap) {
		t.Errorf("a dearer proof is not taken: %v", err)
	}
}

// How many evaluations a proof takes is geometric: 2^Bits in the mean.
func TestPrice(t *testing.T) {
	sum := 0.0
	const n = 200
	for i := range byte(n) {
		proof, err := work.Solve(t.Context(), input(i), cheap)
		if err != nil {
			t.Fatal(err)
		}
		sum += float64(binary.BigEndian.Uint64(proof[1:]) + 1)
	}
	if mean := sum / n; mean < 20 || mean > 50 { // 32; the standard error is 2.3
		t.Errorf("%.1f evaluations in the mean, want about 32", mean)
	}
}

func TestSolveRefuses(t *testing.T) {
	for _, terms := range []spool.Terms{
		{}, {Memory: 7, Time: 1, Bits: 1}, {Memory: 64, Bits: 1}, {Memory: 64, Time: 1}, {Memory: 1 << 20, Time: 1, Bits: 1},
		{Memory: 64, Time: 17, Bits: 1}, {Memory: 64, Time: 1, Bits: 25},
	} {
		if _, err := work.Solve(t.Context(), input(1), terms); !errors.Is(err, work.ErrTerms) {
			t.Errorf("%+v: %v", terms, err)
		}
	}
	if _, err := work.Solve(t.Context(), input(1), spool.Terms{Memory: 4096, Time: 1, Bits: 15}); !errors.Is(err, work.ErrDear) {
		t.Errorf("too dear: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := work.Solve(ctx, input(1), cheap); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The vector of docs/protocol.md: the input is that of spool's own vectors.
func TestVector(t *testing.T) {
	in, err := hex.DecodeString("5273a5c98304b20da0f3072a446de7a73f4e6d9d1592b697bfc4c754343b77c2")
	if err != nil {
		t.Fatal(err)
	}
	proof, err := work.Solve(t.Context(), [32]byte(in), spool.Terms{Memory: 256, Time: 1, Bits: 8})
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(proof); got != "010000000000000090000001000000000108" {
		t.Errorf("proof %s", got)
	}
}

func FuzzCheck(f *testing.F) {
	proof, err := work.Solve(f.Context(), input(1), cheap)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(proof)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, work.ProofSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if work.Check(input(1), b, cheap) {
			if c, ok := work.Claimed(b); !ok || c.Memory != cheap.Memory || c.Time != cheap.Time || c.Bits < cheap.Bits {
				t.Fatalf("%x was taken", b)
			}
		}
	})
}

// What an evaluation costs: the checker pays one, a sender 2^Bits in the mean.
func BenchmarkEvaluation(b *testing.B) {
	proof := make([]byte, work.ProofSize)
	proof[0], proof[17] = 1, work.Default.Bits
	binary.BigEndian.PutUint32(proof[9:], work.Default.Memory)
	binary.BigEndian.PutUint32(proof[13:], work.Default.Time)
	b.ReportAllocs()
	for b.Loop() {
		work.Check(input(1), proof, work.Default)
	}
}

func BenchmarkSolve(b *testing.B) {
	for i := 0; b.Loop(); i++ {
		in := spool.AppendInput(spool.LaneStrangers, spool.ServiceOf("north.test"), spool.ID{1}, spool.BlockID{byte(i), byte(i >> 8)})
		if _, err := work.Solve(b.Context(), in, work.Default); err != nil {
			b.Fatal(err)
		}
	}
}
