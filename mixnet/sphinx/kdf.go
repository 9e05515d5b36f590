package sphinx

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"

	"github.com/cloudflare/circl/dh/x25519"
	aez "gitlab.com/yawning/aez.git"
	"golang.org/x/crypto/chacha20"
)

const (
	aesKeySize = 32
	ivSize     = 16
	aezKeySize = 48
	seedSize   = 32
	sprpSize   = aezKeySize + ivSize // an AEZ key and its IV, as SURBs and SURBKeys hold them

	// Offsets into hopKeys.
	aesKeyOff   = macSize
	ivOff       = aesKeyOff + aesKeySize
	aezKeyOff   = ivOff + ivSize
	seedOff     = aezKeyOff + aezKeySize
	hopKeysSize = seedOff + seedSize // 160

	kdfInfo = "katzenpost-kdf-v0-hkdf-sha256"
)

// hopKeys are all keys of one hop: MAC key 32 | AES key 32 | IV 16 | AEZ key 48
// | blinding seed 32.
type hopKeys []byte

// deriveKeys expands a shared secret. The secret is the pseudorandom key itself:
// Katzenpost has no extract step.
func deriveKeys(secret *x25519.Key) (hopKeys, error) {
	// It fails only where the standard library is restricted to FIPS 140 and
	// then not for these arguments.
	return hkdf.Expand(sha256.New, secret[:], kdfInfo, hopKeysSize)
}

// mac computes the MAC over the parts of a header into sum.
func (k hopKeys) mac(sum *[macSize]byte, parts ...[]byte) {
	m := hmac.New(sha256.New, k[:macSize])
	for _, p := range parts {
		m.Write(p)
	}
	m.Sum(sum[:0])
}

// xorStream adds the key stream of the routing information to b.
func (k hopKeys) xorStream(b []byte) {
	block, err := aes.NewCipher(k[aesKeyOff:ivOff])
	if err != nil {
		panic(err) // the key's size is a constant
	}
	cipher.NewCTR(block, k.iv()).XORKeyStream(b, b)
}

// iv serves the routing information and the payload: their keys and ciphers
// differ.
func (k hopKeys) iv() []byte { return k[ivOff:aezKeyOff] }

func (k hopKeys) aezKey() []byte { return k[aezKeyOff:seedOff] }

// blinding returns the factor by which this hop multiplies the group element:
// the first bytes of the ChaCha20 key stream under the seed. Katzenpost's nonce
// is 8 bytes and its counter 64 bits; in the first block that is RFC 8439's with
// all of it zero.
func (k hopKeys) blinding() (factor x25519.Key) {
	var nonce [chacha20.NonceSize]byte
	c, err := chacha20.NewUnauthenticatedCipher(k[seedOff:], nonce[:])
	if err != nil {
		panic(err) // the sizes are constants
	}
	c.XORKeyStream(factor[:], factor[:])
	return factor
}

// encryptPayload and decryptPayload transform a payload of TagSize bytes or more
// in place. The library's documentation forbids overlapping slices, its code
// works in place where they are the same: Encrypt copies and then does just that,
// and Decrypt runs the same passes with other constants. Tests compare both with
// separate buffers at every length modulo the cipher's double block.
func encryptPayload(key, iv, payload []byte) {
	aez.Encrypt(key, iv, nil, 0, payload, payload[:0])
}

func decryptPayload(key, iv, payload []byte) {
	// There is no tag at tau 0, so this does not fail.
	aez.Decrypt(key, iv, nil, 0, payload, payload[:0])
}
