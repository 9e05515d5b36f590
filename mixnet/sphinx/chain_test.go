package sphinx

import (
	"bytes"
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
	"github.com/cloudflare/circl/dh/x25519"
)

// order is l, the order of the generator (RFC 7748, section 4.1).
var order, _ = new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)

func pow2(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }

func toBig(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

func toScalar(t testing.TB, v *big.Int) *edwards25519.Scalar {
	t.Helper()
	b := new(big.Int).Mod(v, order).FillBytes(make([]byte, 32))
	slices.Reverse(b)
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLadderScalar checks, at the edges and at random, that the scalar is plus or
// minus the product modulo 8l, and usable unless it lies in the 2^-126 that are
// not.
func TestLadderScalar(t *testing.T) {
	excess := new(big.Int).Sub(order, pow2(252)) // 2^124.4
	var cases []*big.Int                         // of t/8
	for _, v := range []*big.Int{
		big.NewInt(1), excess, pow2(251), pow2(252), order,
		new(big.Int).Sub(order, pow2(251)), new(big.Int).Rsh(order, 1),
	} {
		for d := int64(-2); d <= 2; d++ {
			c := new(big.Int).Add(v, big.NewInt(d))
			if c.Sign() > 0 && c.Cmp(order) < 0 {
				cases = append(cases, c)
			}
		}
	}
	r := rand.NewChaCha8([32]byte{2})
	for range 2000 {
		var b [32]byte
		r.Read(b[:])
		cases = append(cases, new(big.Int).Mod(toBig(b[:]), order))
	}

	eight := big.NewInt(8)
	whole := new(big.Int).Mul(order, eight)
	unusable := 0
	for _, c := range cases {
		want := new(big.Int).Mul(c, eight)
		neg := new(big.Int).Sub(whole, want)
		ts, clamped := ladderScalar(toScalar(t, want))
		got := toBig(ts[:])
		if got.Cmp(want) != 0 && got.Cmp(neg) != 0 {
			t.Fatalf("t/8 = %v: got %v", c, got)
		}
		// Both out of range if and only if t is within 8 excess of 0 or of 8l.
		small := c.Cmp(excess) <= 0 || new(big.Int).Sub(order, c).Cmp(excess) <= 0
		if clamped == small {
			t.Fatalf("t/8 = %v: usable %v", c, clamped)
		}
		if !clamped {
			unusable++
			continue
		}
		if got.Cmp(pow2(254)) < 0 || got.Cmp(pow2(255)) >= 0 {
			t.Fatalf("t/8 = %v: %v is called usable", c, got)
		}
	}
	if unusable == 0 {
		t.Fatal("no case was unusable")
	}
}

// chainPoint multiplies the factors one by one.
func chainPoint(factors []x25519.Key, p []byte) []byte {
	for i := range factors {
		if p = standardMultiplier(factors[i][:], p); p == nil {
			return nil
		}
	}
	return p
}

// TestUnusableProduct builds chains whose product is one of the 2^-126 that an
// X25519 would clamp into another scalar.
func TestUnusableProduct(t *testing.T) {
	r := rand.NewChaCha8([32]byte{3})
	for i := range int64(20) {
		var first, last x25519.Key
		r.Read(first[:])
		var c factors
		c.multiply(&first)
		// Choose the second factor so that the product is 8 (i+1) or minus that.
		var s edwards25519.Scalar
		s.Multiply(s.Invert(&c.product), toScalar(t, big.NewInt(8*(i+1))))
		last, clamped := ladderScalar(&s)
		if !clamped {
			t.Fatal("the factor itself is unusable")
		}
		c.multiply(&last)
		if _, clamped := ladderScalar(&c.product); clamped {
			t.Fatal("the product is usable")
		}

		k, err := NewPrivateKey(r)
		if err != nil {
			t.Fatal(err)
		}
		public := k.Public()
		got, ok := c.secret(&public)
		want := chainPoint(c.list[:c.n], public[:])
		if !ok || !bytes.Equal(got[:], want) {
			t.Fatal("secret differs from the chain's")
		}
		if _, ok := c.secret(&PublicKey{1}); ok {
			t.Fatal("accepted a key of low order")
		}
		var element [1]x25519.Key
		elements(element[:], []edwards25519.Scalar{c.product})
		if want := chainPoint(c.list[:c.n], append([]byte{9}, make([]byte, 31)...)); !bytes.Equal(element[0][:], want) {
			t.Fatal("element differs from the chain's")
		}
	}
}

// TestTorsion builds packets for keys with a component of small order, which a
// hop cannot have but may announce: the secrets are those of the chain.
func TestTorsion(t *testing.T) {
	torsion := order8(t)
	r := rand.NewChaCha8([32]byte{4})
	for i := range 40 {
		path, _ := randomPath(t, r, MaxHops, false)
		for j := range path {
			var k [32]byte
			r.Read(k[:])
			s, err := new(edwards25519.Scalar).SetBytesWithClamping(k[:])
			if err != nil {
				t.Fatal(err)
			}
			p := new(edwards25519.Point).ScalarBaseMult(s)
			for range 1 + (i+j)%7 {
				p.Add(p, torsion)
			}
			path[j].Key = PublicKey(p.BytesMontgomery())
		}
		ours, plain := twice(r)
		b, err := NewPacket(ours, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, plainPacket(t, plain, standardMultiplier, path, nil)) {
			t.Fatal("packet differs from the plain one")
		}
	}
}

// order8 returns a point of order 8: any point times l, unless that is of lower
// order.
func order8(t testing.TB) *edwards25519.Point {
	id := edwards25519.NewIdentityPoint()
	for y := byte(2); y < 100; y++ {
		p, err := new(edwards25519.Point).SetBytes(append([]byte{y}, make([]byte, 31)...))
		if err != nil {
			continue
		}
		// Scalars are modulo l: l p = (l-1) p + p.
		q := new(edwards25519.Point).ScalarMult(toScalar(t, big.NewInt(-1)), p)
		q.Add(q, p)
		half := new(edwards25519.Point).Add(q, q)
		half.Add(half, half)
		if half.Equal(id) == 0 {
			return q
		}
	}
	t.Fatal("no point of order 8")
	return nil
}

// lowOrder returns the u-coordinates of the points of order 1, 2, 4 and 8 on the
// curve and of order 4 on the twist, in all their encodings.
func lowOrder(t testing.TB) (keys []PublicKey) {
	p := new(big.Int).Sub(pow2(255), big.NewInt(19))
	u := []*big.Int{big.NewInt(0), big.NewInt(1), new(big.Int).Sub(p, big.NewInt(1))}
	q := order8(t)
	q3 := new(edwards25519.Point).Add(q, q)
	q3.Add(q3, q)
	u = append(u, toBig(q.BytesMontgomery()), toBig(q3.BytesMontgomery()))
	for _, v := range u {
		for v := new(big.Int).Set(v); v.Cmp(pow2(255)) < 0; v.Add(v, p) {
			for _, high := range []byte{0, 0x80} {
				b := v.FillBytes(make([]byte, 32))
				slices.Reverse(b)
				b[31] |= high
				keys = append(keys, PublicKey(b))
			}
		}
	}
	return keys
}

func TestLowOrder(t *testing.T) {
	r := rand.NewChaCha8([32]byte{5})
	low := lowOrder(t)
	if len(low) != 14 { // five, of which 0 and 1 are below 19 and have a second encoding
		t.Fatalf("%d encodings of points of low order", len(low))
	}
	for _, key := range low {
		for n := 1; n <= MaxHops; n++ {
			path, _ := randomPath(t, r, n, false)
			path[n-1].Key = key
			if _, err := NewPacket(r, path, nil); !errors.Is(err, ErrKey) || !errors.Is(err, ErrPath) {
				t.Errorf("hop %d with key %x: %v", n-1, key, err)
			}
		}
		path, keys := randomPath(t, r, 1, false)
		packet, err := NewPacket(r, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		copy(packet[elementOff:], key[:])
		if _, err := keys[0].Unwrap(packet); !errors.Is(err, ErrKey) {
			t.Errorf("element %x: %v", key, err)
		}
	}
}

// TestTwist sends a packet through a hop whose key is on the twist: it goes as
// far as that hop, which cannot unwrap it, and nothing else happens.
func TestTwist(t *testing.T) {
	r := rand.NewChaCha8([32]byte{6})
	for bad := range MaxHops {
		path, keys := randomPath(t, r, MaxHops, false)
		for onCurve(t, path[bad].Key) {
			r.Read(path[bad].Key[:])
		}
		packet, err := NewPacket(r, path, make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
		for i := range bad {
			if u, err := keys[i].Unwrap(packet); err != nil || u.Next != path[i+1].ID {
				t.Fatalf("hop %d, before the bad one: %v", i, err)
			}
		}
		if _, err := keys[bad].Unwrap(packet); !errors.Is(err, ErrMAC) {
			t.Fatalf("hop with a key on the twist: %v", err)
		}
	}
}

// onCurve reports whether u^3 + 486662 u^2 + u is a square (RFC 7748, section 4.1).
func onCurve(t testing.TB, key PublicKey) bool {
	u, err := new(field.Element).SetBytes(key[:])
	if err != nil {
		t.Fatal(err)
	}
	one := new(field.Element).One()
	v := new(field.Element).Mult32(u, 486662)
	v.Add(v, one)
	v.Add(v, new(field.Element).Square(u))
	v.Multiply(v, u)
	_, square := new(field.Element).SqrtRatio(v, one)
	return square == 1
}
