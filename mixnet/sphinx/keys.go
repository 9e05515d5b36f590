package sphinx

import (
	"fmt"
	"io"
	"sync"

	"github.com/cloudflare/circl/dh/x25519"
)

// A PrivateKey is a hop's X25519 key. Its methods may be called from any
// goroutine, Erase included.
type PrivateKey struct {
	public PublicKey

	mu     sync.RWMutex // guards secret and erased: Erase runs beside Unwrap
	secret x25519.Key
	erased bool
}

// NewPrivateKey reads a key from rand.
func NewPrivateKey(rand io.Reader) (*PrivateKey, error) {
	var b [KeySize]byte
	defer clear(b[:])
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return nil, fmt.Errorf("sphinx: reading a private key: %w", err)
	}
	return PrivateKeyFromBytes(b[:])
}

// PrivateKeyFromBytes returns the key that Bytes wrote: 32 bytes, which are
// copied. Any 32 bytes are a key (RFC 7748, section 5).
func PrivateKeyFromBytes(b []byte) (*PrivateKey, error) {
	if len(b) != KeySize {
		return nil, fmt.Errorf("sphinx: private key of %d bytes: %w", len(b), ErrSize)
	}
	k := new(PrivateKey)
	copy(k.secret[:], b)
	x25519.KeyGen((*x25519.Key)(&k.public), &k.secret)
	return k, nil
}

// Public returns the public key. It remains after Erase.
func (k *PrivateKey) Public() PublicKey { return k.public }

// Bytes returns a copy of the key's 32 bytes; zeros after Erase.
func (k *PrivateKey) Bytes() []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	b := make([]byte, KeySize)
	copy(b, k.secret[:])
	return b
}

// Erase overwrites the key, once no Unwrap is using it: from then on Unwrap
// returns ErrErased. It reaches this copy of the key. The Go runtime may have
// left others behind, on a stack that it moved or in a register it saved, and
// those live until their memory is used again.
func (k *PrivateKey) Erase() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.secret[:])
	k.erased = true
}

// shared computes the secret that the sender has with this key.
func (k *PrivateKey) shared(element *x25519.Key) (secret x25519.Key, err error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.erased {
		return secret, ErrErased
	}
	if !x25519.Shared(&secret, &k.secret, element) {
		return secret, ErrKey
	}
	return secret, nil
}
