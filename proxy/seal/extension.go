package seal

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"

	"mailproxy/spool"
)

// The extensions that are defined.
const (
	// ExtensionAppendKey gives the recipient the append key of the sender's spool.
	ExtensionAppendKey = 1
)

// appendKeySize is a version and a seed.
const appendKeySize = 8 + ed25519.SeedSize

// AppendKeyExtension returns the value of ExtensionAppendKey: version (8,
// big-endian) ‖ seed of the Ed25519 key (32).
func AppendKeyExtension(key ed25519.PrivateKey, version uint64) []byte {
	return append(binary.BigEndian.AppendUint64(nil, version), key.Seed()...)
}

// AppendKey returns the append key that the sender gives, nil if the message brings
// none. It fails with ErrMalformed for one that cannot be.
func (h *Header) AppendKey() (key ed25519.PrivateKey, version uint64, err error) {
	b, ok := h.Extensions[ExtensionAppendKey]
	if !ok {
		return nil, 0, nil
	}
	if len(b) != appendKeySize {
		return nil, 0, fmt.Errorf("%w: append key of %d bytes", ErrMalformed, len(b))
	}
	version = binary.BigEndian.Uint64(b)
	if version == 0 || version > spool.MaxSequence {
		return nil, 0, fmt.Errorf("%w: append key has version %d", ErrMalformed, version)
	}
	return ed25519.NewKeyFromSeed(b[8:]), version, nil
}
