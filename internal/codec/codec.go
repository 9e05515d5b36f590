// Package codec is the one CBOR encoding (RFC 8949) of everything mailproxy
// writes that is not mail: network document, spool messages, sealed payloads,
// stored records.
//
// Encoding is deterministic (RFC 8949 section 4.2.1), so that bytes can be
// hashed and signed. Decoding is strict: duplicate keys, unknown fields,
// indefinite lengths, trailing bytes and tags are errors, and nesting and
// lengths are bounded. It is a leaf: any package may import it.
package codec

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var (
	enc = must(cbor.CoreDetEncOptions().EncMode())
	dec = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   16,
		MaxArrayElements:  1 << 16,
		MaxMapPairs:       1 << 16,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // fixed options: wrong only by a programming error
	}
	return v
}

// Marshal encodes v deterministically.
func Marshal(v any) ([]byte, error) {
	b, err := enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode cbor: %w", err)
	}
	return b, nil
}

// Unmarshal decodes data, all of it, into v.
func Unmarshal(data []byte, v any) error {
	if err := dec.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode cbor: %w", err)
	}
	return nil
}
