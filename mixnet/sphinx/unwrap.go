package sphinx

import (
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/cloudflare/circl/dh/x25519"
)

// Unwrapped is what a hop learns from a packet.
type Unwrapped struct {
	// Tag is the same for two packets only if one is a replay of the other: the
	// SHA-512/256 of the group element. Nothing may be done with a packet whose
	// Tag was seen under this key.
	Tag [32]byte

	// Last says that the packet ends here. Otherwise it goes on to Next, after
	// Delay: whole milliseconds, less than 50 days.
	Last  bool
	Next  NodeID
	Delay time.Duration // at the last hop zero, unless the sender is Katzenpost's

	// At the last hop: whom Payload is for, and if IsReply, which SURB it came on.
	Recipient Recipient
	IsReply   bool
	SURBID    SURBID

	// Payload aliases the packet. Of a forward packet it is the plaintext; of a
	// reply it is what OpenReply wants, TagSize bytes longer. It is nil where the
	// packet goes on.
	Payload []byte
}

// Unwrap takes off this hop's layer, in place: if the packet goes on, the same
// bytes are then the packet for the next hop. They hold nothing of use after an
// error. It does not look for replays: see Unwrapped.Tag.
//
// Its errors are ErrSize (fewer than Overhead bytes), ErrVersion, ErrKey, ErrMAC,
// ErrCommands, ErrPayload and ErrErased; ErrSize comes wrapped. What is too long
// or too short otherwise gets ErrPayload, but at the last hop only: a node should
// first check that a packet has the length of its network.
func (k *PrivateKey) Unwrap(packet []byte) (Unwrapped, error) {
	if len(packet) < Overhead {
		return Unwrapped{}, fmt.Errorf("sphinx: packet of %d bytes: %w", len(packet), ErrSize)
	}
	if [versionSize]byte(packet) != version {
		return Unwrapped{}, ErrVersion
	}
	element := (*x25519.Key)(packet[elementOff:])
	secret, err := k.shared(element)
	if err != nil {
		return Unwrapped{}, err
	}
	keys, err := deriveKeys(&secret)
	clear(secret[:])
	if err != nil {
		return Unwrapped{}, fmt.Errorf("sphinx: deriving keys: %w", err)
	}
	defer clear(keys)

	var mac [macSize]byte
	keys.mac(&mac, packet[:macOff])
	if subtle.ConstantTimeCompare(mac[:], packet[macOff:HeaderSize]) != 1 {
		return Unwrapped{}, ErrMAC
	}

	// The zeros after the routing information become the padding that the sender
	// has foreseen.
	var routing [routingSize + hopSize]byte
	copy(routing[:], packet[routingOff:macOff])
	keys.xorStream(routing[:])

	u := Unwrapped{Tag: sha512.Sum512_256(element[:])}
	if err := parseCommands(routing[:hopSize], &u, &mac); err != nil {
		return Unwrapped{}, err
	}

	payload := packet[HeaderSize:]
	decryptPayload(keys.aezKey(), keys.iv(), payload)

	switch {
	case !u.Last:
		f := keys.blinding()
		ok := x25519.Shared(element, &f, element)
		clear(f[:])
		if !ok {
			return Unwrapped{}, ErrKey // not of an element whose secret was accepted
		}
		copy(packet[routingOff:], routing[hopSize:])
		copy(packet[macOff:], mac[:])
	case u.IsReply:
		u.Payload = payload
	case !isZero(payload[:TagSize]):
		return Unwrapped{}, ErrPayload
	default:
		u.Payload = payload[TagSize:]
	}
	return u, nil
}
