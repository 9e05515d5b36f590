// Package sphinx builds and unwraps Sphinx packets, bit-compatible with
// Katzenpost's Sphinx over X25519: every hop takes one layer off, and what
// arrives and what leaves cannot be matched without that hop's key.
//
// It is the packet alone: it knows no clock, no network and no topology, keeps
// no replay cache (Unwrapped.Tag is what to put into one) and chooses no path
// and no delay. It imports nothing of ours; mixnet's other packages and
// mixclient/builtin import it.
//
// The construction is Danezis and Goldberg, "Sphinx: A Compact and Provably
// Secure Mix Format" (IEEE S&P 2009), with the padding of unused hops drawn at
// random (Kuhn et al., "Breaking and (Partially) Fixing Provably Secure Onion
// Routing", IEEE S&P 2020). Its primitives are X25519 (RFC 7748), HKDF-Expand
// and HMAC with SHA-256 (RFC 5869, RFC 2104), AES-256-CTR, and AEZ v5 as the
// wide-block cipher of the payload.
//
// # Packet
//
//	header   476  version 2 (zero) | group element 32 | routing information 5 x 82 | MAC 32
//	payload  n    32 zero bytes | plaintext, under one layer of AEZ per hop
//
// # Routing commands
//
// The 82 bytes of a hop hold commands, then zeros. Each is an identifier of one
// byte and a body of fixed length:
//
//	00  null       the rest is zero
//	01  next hop   node id 32 | MAC 32 of the next header
//	02  recipient  32
//	03  SURB reply 16, the id of the SURB
//	80  delay      uint32, big-endian, milliseconds
//
// A hop that forwards has exactly a delay and a next hop; the last hop of a
// forward packet a recipient; the last hop of a reply a recipient and a SURB id.
// Unwrap refuses all else, but for a delay at the last hop of a forward packet:
// Katzenpost's clients may put one there, ours do not.
//
// A packet's length is that of its plaintext and Overhead, whatever its path is.
// The length of the plaintext is the caller's choice; a network has one.
package sphinx

import (
	"errors"
	"time"
)

// Sizes in bytes, and the number of hops.
const (
	MaxHops       = 5  // the longest path; a shorter one is padded to look like it
	KeySize       = 32 // a private or public X25519 key
	NodeIDSize    = 32
	RecipientSize = 32
	SURBIDSize    = 16
	TagSize       = 32 // the zeros before a plaintext that show it arrived whole

	// Overhead is what a packet is longer than its plaintext.
	Overhead = HeaderSize + TagSize

	HeaderSize = routingOff + routingSize + macSize // 476
	SURBSize   = HeaderSize + NodeIDSize + sprpSize // 572

	versionSize = 2
	macSize     = 32
	hopSize     = 82 // next hop 65, and 17 for a delay, or recipient and SURB id
	routingSize = MaxHops * hopSize

	elementOff = versionSize
	routingOff = elementOff + KeySize
	macOff     = routingOff + routingSize
)

// Errors of Unwrap, OpenReply and what builds packets. They say what is wrong
// with the bytes; nothing secret hangs on which it was, since an attacker can
// only tell them apart for packets of their own making.
var (
	// ErrSize is returned for bytes that are too few to be a packet or a reply, and
	// where there is one right length (a key, a SURB) for any other.
	ErrSize = errors.New("sphinx: wrong size")
	// ErrVersion is returned for a packet whose version is not zero.
	ErrVersion = errors.New("sphinx: unknown version")
	// ErrKey is returned for a public key or group element of low order, with
	// which every shared secret is zero.
	ErrKey = errors.New("sphinx: key of low order")
	// ErrMAC is returned for a header that was changed on its way, or was made
	// for another key.
	ErrMAC = errors.New("sphinx: header does not verify")
	// ErrCommands is returned for routing commands other than those in the
	// package's description. Only the sender can have caused it.
	ErrCommands = errors.New("sphinx: bad routing commands")
	// ErrPayload is returned for a payload that was changed on its way: at the
	// last hop of a forward packet, and by OpenReply.
	ErrPayload = errors.New("sphinx: payload does not verify")
	// ErrErased is returned by Unwrap after Erase.
	ErrErased = errors.New("sphinx: key was erased")
	// ErrPath is returned for a path that no packet can be built for; wrapped,
	// with the reason.
	ErrPath = errors.New("sphinx: bad path")
)

// A NodeID names a node within the network.
type NodeID [NodeIDSize]byte

// A Recipient names whom the last hop hands the payload to.
type Recipient [RecipientSize]byte

// A SURBID tells the one who made a SURB which of them was used.
type SURBID [SURBIDSize]byte

// A PublicKey is a hop's X25519 key: the u-coordinate, RFC 7748.
type PublicKey [KeySize]byte

// A Hop is one step of a path.
type Hop struct {
	ID  NodeID
	Key PublicKey

	// Delay is for how long the hop shall hold the packet: whole milliseconds
	// from 0 to 2^32-1, and 0 at the last hop, which has no such command.
	Delay time.Duration

	// Recipient is set at the last hop and no other.
	Recipient *Recipient
	// SURBID is set at the last hop of a SURB and nowhere else.
	SURBID *SURBID
}
