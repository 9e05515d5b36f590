package sphinx

import (
	"errors"
	"fmt"
)

// QueryOverhead is what the plaintext of a query is longer than the user's bytes,
// with or without a SURB: a flag, a zero byte, the SURB.
const QueryOverhead = 2 + SURBSize

// ErrQuery is returned by UnpackQuery, wrapped, for a plaintext that is no query,
// and by PackQuery for what does not fit.
var ErrQuery = errors.New("sphinx: bad query")

// Values of a query's flag. The room for the SURB is there in both cases.
const (
	flagNoSURB = 0
	flagSURB   = 1
)

// PackQuery returns a plaintext of size bytes for NewPacket, which carries the
// SURB (of SURBSize bytes, or nil for none) and up to size-QueryOverhead bytes of
// the user's, filled up with zeros.
func PackQuery(surb, user []byte, size int) ([]byte, error) {
	if surb != nil && len(surb) != SURBSize {
		return nil, fmt.Errorf("%w: SURB of %d bytes", ErrQuery, len(surb))
	}
	if len(user) > size-QueryOverhead {
		return nil, fmt.Errorf("%w: %d bytes where %d fit", ErrQuery, len(user), max(size-QueryOverhead, 0))
	}
	b := make([]byte, size)
	if surb != nil {
		b[0] = flagSURB
		copy(b[2:], surb)
	}
	copy(b[QueryOverhead:], user)
	return b, nil
}

// UnpackQuery returns the parts of a query's plaintext: the SURB, nil if there is
// none, and the user's bytes with the zeros after them. Both alias plaintext.
func UnpackQuery(plaintext []byte) (surb, user []byte, err error) {
	if len(plaintext) < QueryOverhead {
		return nil, nil, fmt.Errorf("%w: %d bytes", ErrQuery, len(plaintext))
	}
	if plaintext[1] != 0 {
		return nil, nil, fmt.Errorf("%w: reserved byte %#02x", ErrQuery, plaintext[1])
	}
	switch plaintext[0] {
	case flagNoSURB:
	case flagSURB:
		surb = plaintext[2:QueryOverhead:QueryOverhead]
	default:
		return nil, nil, fmt.Errorf("%w: flag %#02x", ErrQuery, plaintext[0])
	}
	return surb, plaintext[QueryOverhead:], nil
}
