package sphinx

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"

	"filippo.io/edwards25519"
	"github.com/cloudflare/circl/dh/x25519"
	aez "gitlab.com/yawning/aez.git"
	"golang.org/x/crypto/curve25519"
)

// Each benchmark stands beside its floor: what no implementation of the packet
// can leave out, by the fastest well-kept libraries that were found. That is, to
// create, five multiplications of a varying point and five of the generator, and
// to unwrap two of a varying point; and AEZ, HMAC and AES-CTR over the bytes that
// have to pass through them, with the set-up of their keys. The derivation of
// the keys, scalars, commands and copying are not in it. The figures of
// BenchmarkMultiplications, which chose the libraries, are in chain.go. That
// elements does the five of the generator together is our gain over the floor,
// which does them one by one.

// The first multiplication by the generator computes a table.
func init() { edwards25519.NewIdentityPoint().ScalarBaseMult(edwards25519.NewScalar()) }

func benchmarkSizes(b *testing.B, f func(b *testing.B, r *rand.ChaCha8, size int)) {
	for _, kib := range []int{2, 8, 32} {
		b.Run(fmt.Sprintf("%dKiB", kib), func(b *testing.B) {
			b.ReportAllocs()
			f(b, rand.NewChaCha8([32]byte{30}), kib<<10)
		})
	}
}

func BenchmarkCreate(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, r *rand.ChaCha8, size int) {
		path, _ := randomPath(b, r, MaxHops, false)
		payload := make([]byte, size)
		for b.Loop() {
			if _, err := NewPacket(r, path, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCreateFloor(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, r *rand.ChaCha8, size int) {
		f := newFloor(r, size)
		for b.Loop() {
			for range MaxHops {
				f.generator.ScalarBaseMult(&f.edwards).BytesMontgomery()
				x25519.Shared(&f.out, &f.scalar, &f.point)
				f.symmetric()
			}
		}
	})
}

func BenchmarkUnwrap(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, r *rand.ChaCha8, size int) {
		path, keys := randomPath(b, r, MaxHops, false)
		packet, err := NewPacket(r, path, make([]byte, size))
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, len(packet))
		for b.Loop() {
			copy(buf, packet)
			if _, err := keys[0].Unwrap(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkUnwrapFloor(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, r *rand.ChaCha8, size int) {
		f := newFloor(r, size)
		for b.Loop() {
			x25519.Shared(&f.out, &f.scalar, &f.point)
			x25519.Shared(&f.out, &f.scalar, &f.point)
			f.symmetric()
		}
	})
}

type floor struct {
	scalar, point, out x25519.Key
	edwards            edwards25519.Scalar // is scalar
	generator          edwards25519.Point
	keys               [hopKeysSize]byte
	header             [macOff]byte
	routing            [routingSize + hopSize]byte
	sum                [macSize]byte
	payload            []byte
}

func newFloor(r *rand.ChaCha8, size int) *floor {
	f := &floor{payload: make([]byte, TagSize+size)}
	r.Read(f.scalar[:])
	r.Read(f.keys[:])
	x25519.KeyGen(&f.point, &f.scalar)
	if _, err := f.edwards.SetBytesWithClamping(f.scalar[:]); err != nil {
		panic(err)
	}
	return f
}

// symmetric is what one hop costs, or costs the sender, beside multiplications.
func (f *floor) symmetric() {
	m := hmac.New(sha256.New, f.keys[:32])
	m.Write(f.header[:])
	m.Sum(f.sum[:0])
	block, err := aes.NewCipher(f.keys[32:64])
	if err != nil {
		panic(err)
	}
	cipher.NewCTR(block, f.keys[64:80]).XORKeyStream(f.routing[:], f.routing[:])
	aez.Encrypt(f.keys[80:128], f.keys[64:80], nil, 0, f.payload, f.payload[:0])
}

// BenchmarkMultiplications measures one multiplication by each library there is.
func BenchmarkMultiplications(b *testing.B) {
	r := rand.NewChaCha8([32]byte{31})
	var k, p, out x25519.Key
	r.Read(k[:])
	x25519.KeyGen(&p, &k)
	s, err := new(edwards25519.Scalar).SetBytesWithClamping(k[:])
	if err != nil {
		b.Fatal(err)
	}
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		b.Fatal(err)
	}
	public, err := ecdh.X25519().NewPublicKey(p[:])
	if err != nil {
		b.Fatal(err)
	}
	var outs [MaxHops]x25519.Key
	var products [MaxHops]edwards25519.Scalar
	for i := range products {
		products[i].Set(s)
	}
	for _, c := range []struct {
		name string
		n    int
		f    func()
	}{
		{"generator/circl", 1, func() { x25519.KeyGen(&out, &k) }},
		{"generator/edwards25519", 1, func() { new(edwards25519.Point).ScalarBaseMult(s).BytesMontgomery() }},
		{"generator/five-at-once", MaxHops, func() { elements(outs[:], products[:]) }},
		{"generator/ecdh", 1, func() { ecdh.X25519().NewPrivateKey(k[:]) }},
		{"point/circl", 1, func() { x25519.Shared(&out, &k, &p) }},
		{"point/ecdh", 1, func() { private.ECDH(public) }},
		{"point/x-crypto", 1, func() { curve25519.X25519(k[:], p[:]) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.n), "ns/multiplication")
		})
	}
}
