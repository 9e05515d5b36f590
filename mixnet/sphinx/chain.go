package sphinx

import (
	"crypto/subtle"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
	"github.com/cloudflare/circl/dh/x25519"
)

// The chain of blinded keys, the expensive part of a header.
//
// Written out, hop i receives the group element
//
//	E_i = f_{i-1} ( ... f_0 ( e G ))      and shares with the sender
//	S_i = f_{i-1} ( ... f_0 ( e P_i ))
//
// with e the ephemeral key, f_j hop j's blinding factor, P_i its public key, and
// every product an X25519, which clamps its scalar: 15 multiplications by a
// varying point for five secrets, and 4 of them and 1 by the generator for the
// elements. f_i is derived from S_i, so the secrets must be computed in order,
// but nothing says that a secret must be computed from a point of the chain:
//
//	T_i = clamp(e) clamp(f_0) ... clamp(f_{i-1}),   E_i = T_i G,   S_i = T_i P_i
//
// takes five of each kind and no more.
//
// T_i may be reduced. The points of the curve form a group of order 8l, l prime,
// and all factors are multiples of 8, so T_i mod 8l = 8 (T_i/8 mod l), and this
// holds for every point of the curve, also one with a component of small order.
// An X25519 that clamps takes a scalar as it is if it is a multiple of 8 in
// [2^254, 2^255). Of t = T_i mod 8l and 8l-t, which give points that differ in
// their sign only and hence have the same u-coordinate, the larger is in
// (2^254, 8l), and 8l = 2^255 + 2^127.4: all but a fraction of 2^-126 of them are
// such scalars. For the rest secret falls back on the chain as written out.
//
// T_i is never 0 mod l: l is prime, and no multiple of 8l is in [2^254, 2^255),
// where all factors are. So no E_i is the neutral element.
//
// Half of all 32-byte strings are not on the curve but on its twist, whose order
// is not 8l, and there the S_i of i > 0 differ from the chain's. It makes no
// difference to anyone: no private key has such a public key, so the hop that
// announced it cannot compute either of the two, and a packet through it ends
// there, as it does with any other key that is not the hop's own. What leaks is
// nothing: S_i never leaves the sender but through HKDF, and the points of small
// order, which would make it predictable, are refused on the twist too.

// factors are the clamped scalars of a chain: the ephemeral key, then the
// blinding factors of the hops so far, with their product modulo l.
type factors struct {
	product edwards25519.Scalar
	list    [MaxHops]x25519.Key
	n       int
}

// eighth is 1/8 modulo l.
var eighth = func() *edwards25519.Scalar {
	b := [32]byte{8}
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(b[:])
	if err != nil {
		panic(err)
	}
	return s.Invert(s)
}()

// multiply appends f, to be clamped, to the chain.
func (c *factors) multiply(f *x25519.Key) {
	var s edwards25519.Scalar
	if _, err := s.SetBytesWithClamping(f[:]); err != nil {
		panic(err) // its size is a constant
	}
	if c.n == 0 {
		c.product.Set(&s)
	} else {
		c.product.Multiply(&c.product, &s)
	}
	c.list[c.n] = *f
	c.n++
}

// secret computes S = T P. It returns false if P is of low order.
func (c *factors) secret(public *PublicKey) (s x25519.Key, ok bool) {
	p := (*x25519.Key)(public)
	t, clamped := ladderScalar(&c.product)
	if clamped {
		ok = x25519.Shared(&s, &t, p)
		return s, ok
	}
	s = *p
	for i := range c.n {
		if !x25519.Shared(&s, &c.list[i], &s) {
			return s, false
		}
	}
	return s, true
}

// ladderScalar returns a scalar equal to product or its negative modulo 8l, a
// multiple of 8, and whether clamping leaves it as it is. It runs in constant
// time.
func ladderScalar(product *edwards25519.Scalar) (t x25519.Key, clamped bool) {
	var s, neg edwards25519.Scalar
	s.Multiply(product, eighth) // t/8 mod l
	neg.Negate(&s)

	// The larger of s and l-s has bit 251 or bit 252: l = 2^252 + 2^124.4.
	copy(t[:], s.Bytes())
	small := subtle.ConstantTimeByteEq(t[31]&0x18, 0)
	subtle.ConstantTimeCopy(small, t[:], neg.Bytes())

	var carry byte
	for i, b := range t {
		t[i] = b<<3 | carry
		carry = b >> 5
	}
	return t, t[31]>>6 == 1
}

// elements sets out to the group elements E = T G. It multiplies on the Edwards
// form of the curve, whose u-coordinate is (Z+Y)/(Z-Y) (RFC 7748, section 4.1),
// and divides them all at the price of one inversion (Montgomery, "Speeding the
// Pollard and elliptic curve methods of factorization", section 10.3.1). No Z-Y
// is zero, see above.
//
// Measured per element, with circl's dh/x25519.KeyGen as 1: this 0.81,
// edwards25519's ScalarBaseMult and BytesMontgomery 0.95, crypto/ecdh 2.4. For
// the secrets, with circl's Shared as 1: crypto/ecdh 1.7 if it can keep the key
// and 3.4 if not (it computes the public key of every private one), x/crypto's
// curve25519, which is crypto/ecdh underneath, 3.4.
func elements(out []x25519.Key, products []edwards25519.Scalar) {
	var num, den, prefix [MaxHops]field.Element
	var point edwards25519.Point
	acc := new(field.Element).One()
	for i := range products {
		// An Edwards multiplication takes the scalar mod l, not mod 8l: the
		// generator has order l.
		point.ScalarBaseMult(&products[i])
		_, y, z, _ := point.ExtendedCoordinates()
		num[i].Add(z, y)
		den[i].Subtract(z, y)
		prefix[i].Set(acc)
		acc.Multiply(acc, &den[i])
	}
	acc.Invert(acc)
	for i := len(products) - 1; i >= 0; i-- {
		num[i].Multiply(&num[i], prefix[i].Multiply(&prefix[i], acc))
		acc.Multiply(acc, &den[i])
		copy(out[i][:], num[i].Bytes())
	}
}
