package sphinx

import (
	"crypto/subtle"
	"fmt"
	"io"

	"filippo.io/edwards25519"
	"github.com/cloudflare/circl/dh/x25519"
)

var version [versionSize]byte

// A header is a Sphinx header with the keys that its hops will derive.
type header struct {
	bytes [HeaderSize]byte
	keys  [MaxHops]hopKeys

	// What follows is scratch, here to be one allocation and one wipe.
	factors  factors
	products [MaxHops]edwards25519.Scalar
	elements [MaxHops]x25519.Key
	streams  [MaxHops][routingSize + hopSize]byte
}

// erase overwrites all but the header itself, which is public.
func (h *header) erase() {
	for _, k := range h.keys {
		clear(k)
	}
	*h = header{bytes: h.bytes}
}

// newHeader reads an ephemeral key from rand, then what a path shorter than
// MaxHops lacks in routing information. The path must have been checked.
func newHeader(rand io.Reader, path []Hop) (*header, error) {
	h := new(header)
	if err := h.deriveKeys(rand, path); err != nil {
		h.erase()
		return nil, err
	}
	if err := h.encode(rand, path); err != nil {
		h.erase()
		return nil, err
	}
	return h, nil
}

// deriveKeys sets the keys and the group element of each hop.
func (h *header) deriveKeys(rand io.Reader, path []Hop) error {
	var f x25519.Key
	defer clear(f[:])
	if _, err := io.ReadFull(rand, f[:]); err != nil {
		return fmt.Errorf("sphinx: reading an ephemeral key: %w", err)
	}
	for i := range path {
		h.factors.multiply(&f)
		h.products[i] = h.factors.product

		secret, ok := h.factors.secret(&path[i].Key)
		if !ok {
			return fmt.Errorf("%w: hop %d: %w", ErrPath, i, ErrKey)
		}
		keys, err := deriveKeys(&secret)
		clear(secret[:])
		if err != nil {
			return fmt.Errorf("sphinx: deriving keys: %w", err)
		}
		h.keys[i] = keys
		f = keys.blinding()
	}
	elements(h.elements[:len(path)], h.products[:len(path)])
	return nil
}

// encode writes the header.
//
// A hop takes its commands from the front of the routing information and fills
// it up from its key stream at the back. So the routing information that hop i
// receives ends with i hops' worth of padding that only key streams determine,
// and before it, at the offset of hop i, is what hop i-1 decrypted. The commands
// are thus written from the last hop to the first, each at its place in the
// header, and nothing moves.
func (h *header) encode(rand io.Reader, path []Hop) error {
	last := len(path) - 1
	routing := h.bytes[routingOff:macOff]

	// padding returns what ends the routing information of the hop after i.
	padding := func(i int) []byte { return h.streams[i][routingSize-i*hopSize:] }
	for i := range path {
		h.keys[i].xorStream(h.streams[i][:])
		if i > 0 {
			subtle.XORBytes(padding(i), padding(i), padding(i-1))
		}
	}

	// Were the room of hops that are not there constant, then the last hop could
	// see how many those are (Kuhn et al.).
	if _, err := io.ReadFull(rand, routing[len(path)*hopSize:]); err != nil {
		return fmt.Errorf("sphinx: reading padding: %w", err)
	}
	var mac [macSize]byte
	for i := last; i >= 0; i-- {
		hop := &path[i]
		b := routing[i*hopSize : i*hopSize : (i+1)*hopSize]
		if i < last {
			b = appendDelay(b, hop.Delay)
			appendNextHop(b, &path[i+1].ID, &mac)
		} else {
			b = appendRecipient(b, hop.Recipient)
			if hop.SURBID != nil {
				appendSURBReply(b, hop.SURBID)
			}
		}
		own := routing[i*hopSize:]
		subtle.XORBytes(own, own, h.streams[i][:])

		var fill []byte
		if i > 0 {
			fill = padding(i - 1)
		}
		h.keys[i].mac(&mac, version[:], h.elements[i][:], own, fill)
	}
	copy(h.bytes[elementOff:], h.elements[0][:])
	copy(h.bytes[macOff:], mac[:])
	return nil
}

// checkPath returns an error for a path that has no header: of a SURB, or of a
// forward packet.
func checkPath(path []Hop, surb bool) error {
	if len(path) == 0 || len(path) > MaxHops {
		return fmt.Errorf("%w: %d hops", ErrPath, len(path))
	}
	for i := range path {
		h, last := &path[i], i == len(path)-1
		if err := checkDelay(h.Delay); err != nil {
			return err
		}
		switch {
		case last && h.Delay != 0:
			return fmt.Errorf("%w: the last hop has a delay", ErrPath)
		case (h.Recipient != nil) != last:
			return fmt.Errorf("%w: hop %d: a recipient belongs to the last hop", ErrPath, i)
		case (h.SURBID != nil) != (last && surb):
			return fmt.Errorf("%w: hop %d: a SURB id belongs to the last hop of a SURB", ErrPath, i)
		}
	}
	return nil
}
