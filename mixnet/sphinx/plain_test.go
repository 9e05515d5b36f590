package sphinx

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloudflare/circl/dh/x25519"
	aez "gitlab.com/yawning/aez.git"
	"golang.org/x/crypto/chacha20"
)

// The plain construction: what testdata's packets follow, written down step by
// step, with every multiplication of the chain done as an X25519 of its own. It
// shares no code with the package but the types of its arguments.

// multiplier is an X25519; nil where the result is zero.
type multiplier func(scalar, point []byte) []byte

func standardMultiplier(scalar, point []byte) []byte {
	k, err := ecdh.X25519().NewPrivateKey(scalar)
	if err != nil {
		panic(err)
	}
	p, err := ecdh.X25519().NewPublicKey(point)
	if err != nil {
		panic(err)
	}
	s, err := k.ECDH(p)
	if err != nil {
		return nil
	}
	return s
}

// circlMultiplier is faster, which makes thousands of packets bearable.
func circlMultiplier(scalar, point []byte) []byte {
	var s, k, p x25519.Key
	copy(k[:], scalar)
	copy(p[:], point)
	if !x25519.Shared(&s, &k, &p) {
		return nil
	}
	return s[:]
}

type plainKeys struct{ mac, aes, iv, aez, factor []byte }

func plainKDF(secret []byte) plainKeys {
	var okm, prev []byte // RFC 5869, section 2.3
	for i := byte(1); i <= 5; i++ {
		m := hmac.New(sha256.New, secret)
		m.Write(prev)
		m.Write([]byte("katzenpost-kdf-v0-hkdf-sha256"))
		m.Write([]byte{i})
		prev = m.Sum(nil)
		okm = append(okm, prev...)
	}
	c, err := chacha20.NewUnauthenticatedCipher(okm[128:160], make([]byte, 12))
	if err != nil {
		panic(err)
	}
	factor := make([]byte, 32)
	c.XORKeyStream(factor, factor)
	return plainKeys{okm[:32], okm[32:64], okm[64:80], okm[80:128], factor}
}

func plainStream(k plainKeys, n int) []byte {
	block, err := aes.NewCipher(k.aes)
	if err != nil {
		panic(err)
	}
	b := make([]byte, n)
	cipher.NewCTR(block, k.iv).XORKeyStream(b, b)
	return b
}

func xor(a, b []byte) []byte {
	out := make([]byte, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] ^ b[i]
	}
	return out
}

// plainHeader returns nil for a key of low order.
func plainHeader(t testing.TB, rnd io.Reader, mul multiplier, path []Hop) (header []byte, keys []plainKeys) {
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(rnd, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	const perHop, all = 82, 5 * 82
	n := len(path)
	ephemeral := read(32)
	element := mul(ephemeral, append([]byte{9}, make([]byte, 31)...))
	var elements, streams, paddings [][]byte
	for i := range n {
		secret := mul(ephemeral, path[i].Key[:])
		for j := 0; j < i && secret != nil; j++ {
			secret = mul(keys[j].factor, secret)
		}
		if secret == nil {
			return nil, nil
		}
		keys = append(keys, plainKDF(secret))
		elements = append(elements, element)
		element = mul(keys[i].factor, element)

		stream := plainStream(keys[i], all+perHop)
		cut := all + perHop - (i+1)*perHop
		padding := stream[cut:]
		if i > 0 {
			padding = append(xor(padding, paddings[i-1]), padding[i*perHop:]...)
		}
		streams, paddings = append(streams, stream[:cut]), append(paddings, padding)
	}

	routing := read((5 - n) * perHop)
	var mac []byte
	for i := n - 1; i >= 0; i-- {
		var own []byte
		if i < n-1 {
			own = append(own, 0x80)
			own = binary.BigEndian.AppendUint32(own, uint32(path[i].Delay.Milliseconds()))
			own = append(append(append(own, 1), path[i+1].ID[:]...), mac...)
		} else {
			own = append(append(own, 2), path[i].Recipient[:]...)
			if path[i].SURBID != nil {
				own = append(append(own, 3), path[i].SURBID[:]...)
			}
		}
		own = append(own, make([]byte, perHop-len(own))...)
		routing = xor(append(own, routing...), streams[i])

		m := hmac.New(sha256.New, keys[i].mac)
		m.Write([]byte{0, 0})
		m.Write(elements[i])
		m.Write(routing)
		if i > 0 {
			m.Write(paddings[i-1])
		}
		mac = m.Sum(nil)
	}
	return bytes.Join([][]byte{{0, 0}, elements[0], routing, mac}, nil), keys
}

func plainPacket(t testing.TB, rnd io.Reader, mul multiplier, path []Hop, payload []byte) []byte {
	header, keys := plainHeader(t, rnd, mul, path)
	if header == nil {
		return nil
	}
	b := append(make([]byte, 32), payload...)
	for i := len(keys) - 1; i >= 0; i-- {
		b = aez.Encrypt(keys[i].aez, keys[i].iv, nil, 0, b, nil)
	}
	return append(header, b...)
}

func plainSURB(t testing.TB, rnd io.Reader, mul multiplier, path []Hop) (surb, surbKeys []byte) {
	header, keys := plainHeader(t, rnd, mul, path)
	own := make([]byte, 64)
	if _, err := io.ReadFull(rnd, own); err != nil {
		t.Fatal(err)
	}
	for i := len(keys) - 1; i >= 0; i-- {
		surbKeys = append(append(surbKeys, keys[i].aez...), keys[i].iv...)
	}
	return append(append(header, path[0].ID[:]...), own...), append(surbKeys, own...)
}

// randomPath returns a path of n hops and its hops' keys.
func randomPath(t testing.TB, r *rand.ChaCha8, n int, surb bool) (path []Hop, keys []*PrivateKey) {
	for range n {
		k, err := NewPrivateKey(r)
		if err != nil {
			t.Fatal(err)
		}
		h := Hop{Key: k.Public(), Delay: time.Duration(uint32(r.Uint64())) * time.Millisecond}
		r.Read(h.ID[:])
		path, keys = append(path, h), append(keys, k)
	}
	last := &path[n-1]
	last.Delay = 0
	last.Recipient = new(Recipient)
	r.Read(last.Recipient[:])
	if surb {
		last.SURBID = new(SURBID)
		r.Read(last.SURBID[:])
	}
	return path, keys
}

// twice returns two readers of the same bytes.
func twice(r *rand.ChaCha8) (a, b io.Reader) {
	var seed [32]byte
	r.Read(seed[:])
	return rand.NewChaCha8(seed), rand.NewChaCha8(seed)
}

// TestSameAsPlain compares thousands of packets and SURBs with those of the plain
// construction, over paths of all lengths.
func TestSameAsPlain(t *testing.T) {
	for _, c := range []struct {
		name  string
		mul   multiplier
		count int
	}{
		{"crypto/ecdh", standardMultiplier, 300},
		{"circl", circlMultiplier, 2000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			count := c.count
			if testing.Short() {
				count /= 10
			}
			r := rand.NewChaCha8([32]byte{byte(c.count)})
			for i := range count {
				surb := r.Uint64()%4 == 0
				path, _ := randomPath(t, r, 1+i%MaxHops, surb)
				ours, plain := twice(r)
				if surb {
					b, keys, err := NewSURB(ours, path)
					if err != nil {
						t.Fatal(err)
					}
					wantB, wantKeys := plainSURB(t, plain, c.mul, path)
					if !bytes.Equal(b, wantB) || !bytes.Equal(keys, wantKeys) {
						t.Fatalf("SURB %d over %d hops differs from the plain one", i, len(path))
					}
					continue
				}
				payload := make([]byte, r.Uint64()%100)
				r.Read(payload)
				b, err := NewPacket(ours, path, payload)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b, plainPacket(t, plain, c.mul, path, payload)) {
					t.Fatalf("packet %d over %d hops differs from the plain one", i, len(path))
				}
			}
		})
	}
}

// TestPayloadInPlace compares AEZ in place, which its documentation does not
// promise, with AEZ into a new buffer.
func TestPayloadInPlace(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	key, iv := make([]byte, aezKeySize), make([]byte, ivSize)
	r.Read(key)
	r.Read(iv)
	sizes := []int{2048, 8192, 8191, 32768}
	for n := TagSize; n < TagSize+640; n++ { // ten rounds of the widest code path
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		// What follows the payload in its buffer must stay.
		b := make([]byte, n+64)
		r.Read(b)
		tail := bytes.Clone(b[n:])
		want := aez.Encrypt(key, iv, nil, 0, bytes.Clone(b[:n]), nil)
		encryptPayload(key, iv, b[:n])
		if !bytes.Equal(b[:n], want) || !bytes.Equal(b[n:], tail) {
			t.Fatalf("encryption of %d bytes in place differs", n)
		}
		want, ok := aez.Decrypt(key, iv, nil, 0, bytes.Clone(b[:n]), nil)
		decryptPayload(key, iv, b[:n])
		if !ok || !bytes.Equal(b[:n], want) || !bytes.Equal(b[n:], tail) {
			t.Fatalf("decryption of %d bytes in place differs", n)
		}
	}
}
