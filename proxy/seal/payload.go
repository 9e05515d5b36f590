package seal

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"

	"github.com/flynn/noise"

	"mailproxy/internal/address"
	"mailproxy/internal/codec"
	"mailproxy/spool"
)

// How the chunks, put together, encode the content.
const (
	codingRaw  = 0
	codingZstd = 1 // RFC 8878
)

// payload is what the sender says in the Noise message of block 0.
type payload struct {
	Version uint8               `cbor:"1,keyasint"`
	ID      []byte              `cbor:"2,keyasint"` // the same as in every block
	Count   uint32              `cbor:"3,keyasint"` // n, the same as in every block
	Hash    []byte              `cbor:"4,keyasint"` // SHA-256 of the content
	Size    uint64              `cbor:"5,keyasint"` // of the content, in bytes
	Coding  uint8               `cbor:"6,keyasint"`
	Kind    Kind                `cbor:"7,keyasint"`
	Address string              `cbor:"8,keyasint"` // the sender's, as in the bundle
	Bundle  *spool.SignedBundle `cbor:"9,keyasint"`
	// Extensions are numbered; a reader passes over those it does not know.
	Extensions map[uint64][]byte `cbor:"10,keyasint,omitempty"`
}

// write makes the Noise_X message that carries p.
func (p *payload) write(from StaticKey, to []byte, prologue []byte, random io.Reader) ([]byte, error) {
	body, err := p.encode()
	if err != nil {
		return nil, err
	}
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Pattern: noise.HandshakeX, Initiator: true, Random: random,
		Prologue: prologue, StaticKeypair: noise.DHKey(from), PeerStatic: to,
	})
	if err != nil {
		return nil, fmt.Errorf("authenticate as sender: %w", err)
	}
	msg, _, _, err := hs.WriteMessage(nil, body)
	if err != nil {
		return nil, fmt.Errorf("%w: authenticate as sender: %w", ErrKeys, err)
	}
	return msg, nil
}

// noiseOverhead is what a Noise_X message adds to its payload: the ephemeral key,
// the static key with its tag, and the payload's tag (Noise section 7.5).
const noiseOverhead = 32 + 32 + 16 + 16

// encode returns the CBOR of p, of MaxPayload bytes at most.
func (p *payload) encode() ([]byte, error) {
	body, err := codec.Marshal(p)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxPayload {
		return nil, fmt.Errorf("%w: with the extensions the sender's part has %d bytes, at most %d", ErrTooLarge, len(body), MaxPayload)
	}
	return body, nil
}

// A Header is what the sender said about a message in its first block, verified.
type Header struct {
	ID     ID
	Count  uint32 // parts
	Size   uint64 // of the content in bytes, as the sender says
	Kind   Kind
	Sender *spool.Bundle       // whose Static sealed this
	Bundle *spool.SignedBundle // the same, as signed, to be pinned or cached
	// Extensions are what else the sender said, by number.
	Extensions map[uint64][]byte

	payload *payload
}

// Authenticate verifies the sender's message in part 0 and returns what it says:
// that the static key which made it is the one in the bundle, that the bundle is
// signed by its own identity key and is for the address the sender claims. It
// fails with ErrSender, and with ErrParts for another part than 0. Whether that
// identity is the one the user knows by that address is not checked here.
func Authenticate(to Recipient, first *Part) (*Header, error) {
	if first.Index != 0 {
		return nil, fmt.Errorf("%w: part %d where the first is wanted", ErrParts, first.Index)
	}
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Pattern: noise.HandshakeX, Initiator: false, Random: rand.Reader,
		Prologue:      prologue(info(to.Address, to.Identity, first.PrekeyID), first.EncHash),
		StaticKeypair: noise.DHKey(to.Static),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSender, err)
	}
	body, _, _, err := hs.ReadMessage(nil, first.Noise)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSender, err)
	}
	h, err := decodePayload(body)
	if err != nil {
		return nil, err
	}
	switch {
	case !bytes.Equal(hs.PeerStatic(), h.Sender.Static):
		return nil, fmt.Errorf("%w: its static key is not the bundle's", ErrSender)
	case h.ID != first.ID:
		return nil, fmt.Errorf("%w: message id differs", ErrSender)
	case h.Count != first.Count:
		return nil, fmt.Errorf("%w: it has %d parts, the sender says %d", ErrSender, first.Count, h.Count)
	}
	return h, nil
}

// decodePayload checks all that can be checked of a payload by itself.
func decodePayload(body []byte) (*Header, error) {
	if len(body) > MaxPayload {
		return nil, fmt.Errorf("%w: sender's part has %d bytes", ErrMalformed, len(body))
	}
	var p payload
	if err := codec.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("%w: sender's part: %w", ErrMalformed, err)
	}
	switch {
	case p.Version != Version:
		return nil, fmt.Errorf("%w: sender's part has version %d, this program reads %d", ErrVersion, p.Version, Version)
	case len(p.ID) != IDSize || len(p.Hash) != 32 || p.Bundle == nil:
		return nil, fmt.Errorf("%w: sender's part lacks a field", ErrMalformed)
	case p.Coding != codingRaw && p.Coding != codingZstd:
		return nil, fmt.Errorf("%w: content coding %d", ErrVersion, p.Coding)
	case p.Kind == 0:
		return nil, fmt.Errorf("%w: no kind of content", ErrMalformed)
	}
	bundle, err := p.Bundle.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSender, err)
	}
	if bundle.Address != p.Address {
		return nil, fmt.Errorf("%w: the bundle is for another address", ErrSender)
	}
	if !address.IsCanonical(p.Address) {
		return nil, fmt.Errorf("%w: the address is not in its canonical form", ErrSender)
	}
	return &Header{
		ID: ID(p.ID), Count: p.Count, Size: p.Size, Kind: p.Kind,
		Sender: bundle, Bundle: p.Bundle, Extensions: p.Extensions, payload: &p,
	}, nil
}
