package seal

import (
	"encoding/binary"
	"fmt"
	"math"

	"mailproxy/internal/codec"
	"mailproxy/spool"
)

// The plaintext of a block, PlainSize bytes; integers are big endian:
//
//	0   1  version
//	1  16  message id
//	17  4  i, the block's place in the message, from 0
//	21  4  n, the number of blocks
//	25  2  length of the Noise message: more than 0 in block 0, else 0
//	27  2  length of the chunk
//	29     Noise message, chunk, zeros
const headerSize = 29

// plain is a block's plaintext, taken apart.
type plain struct {
	id    ID
	i, n  uint32
	noise []byte
	chunk []byte
}

// encode returns the PlainSize bytes of p, which must fit.
func (p *plain) encode() ([]byte, error) {
	if len(p.noise)+len(p.chunk) > ChunkSize {
		return nil, fmt.Errorf("seal block: %d bytes do not fit", len(p.noise)+len(p.chunk))
	}
	b := make([]byte, 0, PlainSize)
	b = append(b, Version)
	b = append(b, p.id[:]...)
	b = binary.BigEndian.AppendUint32(b, p.i)
	b = binary.BigEndian.AppendUint32(b, p.n)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.noise)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.chunk)))
	b = append(b, p.noise...)
	b = append(b, p.chunk...)
	return b[:PlainSize], nil
}

// decodePlain takes a plaintext apart; the slices of the result are b's. It
// allows chunks shorter than they could be, but no padding other than zeros: a
// later version may want either.
func decodePlain(b []byte) (*plain, error) {
	if len(b) != PlainSize {
		return nil, fmt.Errorf("%w: plaintext has %d bytes", ErrMalformed, len(b))
	}
	if b[0] != Version {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrVersion, b[0], Version)
	}
	p := &plain{
		id: ID(b[1:17]),
		i:  binary.BigEndian.Uint32(b[17:]),
		n:  binary.BigEndian.Uint32(b[21:]),
	}
	noiseLen, chunkLen := int(binary.BigEndian.Uint16(b[25:])), int(binary.BigEndian.Uint16(b[27:]))
	if noiseLen+chunkLen > ChunkSize {
		return nil, fmt.Errorf("%w: lengths %d and %d", ErrMalformed, noiseLen, chunkLen)
	}
	rest := b[headerSize:]
	p.noise, p.chunk = rest[:noiseLen:noiseLen], rest[noiseLen:noiseLen+chunkLen:noiseLen+chunkLen]
	if err := p.check(); err != nil {
		return nil, err
	}
	for _, c := range rest[noiseLen+chunkLen:] {
		if c != 0 {
			return nil, fmt.Errorf("%w: padding is not zero", ErrMalformed)
		}
	}
	return p, nil
}

func (p *plain) check() error {
	switch {
	case p.n == 0 || p.n > MaxBlocks || p.i >= p.n:
		return fmt.Errorf("%w: block %d of %d", ErrMalformed, p.i, p.n)
	case (p.i == 0) != (len(p.noise) > 0):
		return fmt.Errorf("%w: block %d with a sender's message of %d bytes", ErrMalformed, p.i, len(p.noise))
	case len(p.noise)+len(p.chunk) > ChunkSize:
		return fmt.Errorf("%w: %d bytes in a block", ErrMalformed, len(p.noise)+len(p.chunk))
	}
	return nil
}

// A Part is an opened block: what its recipient keeps until the message is
// complete. It can be encoded and read back, and needs no prekey any more.
type Part struct {
	ID       ID
	Index    uint32 // its place in the message, from 0
	Count    uint32 // how many parts the message has, at most MaxBlocks
	Chunk    []byte
	PrekeyID []byte   // the prekey that opened it
	EncHash  [32]byte // SHA-256 of the block's encapsulated key
	// Noise is the sender's message, in part 0 only; not yet verified.
	Noise []byte
}

// partRecord is the stored form of a Part.
type partRecord struct {
	Version  uint8  `cbor:"1,keyasint"`
	ID       []byte `cbor:"2,keyasint"`
	Index    uint32 `cbor:"3,keyasint"`
	Count    uint32 `cbor:"4,keyasint"`
	Chunk    []byte `cbor:"5,keyasint"`
	PrekeyID []byte `cbor:"6,keyasint"`
	EncHash  []byte `cbor:"7,keyasint"`
	Noise    []byte `cbor:"8,keyasint,omitempty"` // part 0 only
}

// Marshal encodes p for storing.
func (p *Part) Marshal() ([]byte, error) {
	r := partRecord{
		Version: Version, ID: p.ID[:], Index: p.Index, Count: p.Count,
		Chunk: p.Chunk, PrekeyID: p.PrekeyID, EncHash: p.EncHash[:], Noise: p.Noise,
	}
	return codec.Marshal(&r)
}

// UnmarshalPart reads what Marshal wrote. It fails with ErrVersion for a part
// stored by another version, and with ErrMalformed for one that cannot be.
func UnmarshalPart(b []byte) (*Part, error) {
	var r partRecord
	if err := codec.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%w: stored part: %w", ErrMalformed, err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("%w: stored part has version %d, this program reads %d", ErrVersion, r.Version, Version)
	}
	if len(r.ID) != IDSize || len(r.EncHash) != 32 || len(r.PrekeyID) != spool.PrekeyIDSize {
		return nil, fmt.Errorf("%w: stored part has fields of %d, %d and %d bytes", ErrMalformed, len(r.ID), len(r.EncHash), len(r.PrekeyID))
	}
	p := &Part{
		ID: ID(r.ID), Index: r.Index, Count: r.Count, Chunk: r.Chunk,
		PrekeyID: r.PrekeyID, EncHash: [32]byte(r.EncHash), Noise: r.Noise,
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Part) check() error {
	return (&plain{id: p.ID, i: p.Index, n: p.Count, noise: p.Noise, chunk: p.Chunk}).check()
}

// Both lengths in a plaintext are two bytes.
const _ = uint(math.MaxUint16 - ChunkSize)
