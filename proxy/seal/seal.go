// Package seal turns a message into blocks that only its recipient can open, and
// blocks back into a message whose sender is known.
//
// Each block is one HPKE encryption (RFC 9180, base mode; X-Wing, HKDF-SHA256,
// ChaCha20-Poly1305) to the recipient's current prekey; block 0 also carries a
// Noise_X message (Noise Protocol Framework, revision 34) from the sender's
// static key to the recipient's, which names the sender and the hash of the
// content. docs/protocol.md gives the layout byte by byte. To the provider, all
// blocks look alike.
//
// It neither keeps nor sends anything, and it decides nothing about trust: that a
// sender is the one the user knows is for proxy/contacts to say. It reads and
// writes no mail header: that is proxy/headers. It may be imported by proxy and
// the packages beneath it.
//
// Content is compressed before it is sealed, so the number of blocks depends on
// what it says: who can put text of their own into somebody else's mail, and see
// how many blocks that mail has, learns whether the rest resembles it, to the
// nearest block.
package seal

import (
	"crypto/ed25519"
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/flynn/noise"

	"mailproxy/spool"
)

// Version is the version of the block format. It is in the HPKE info, the
// plaintext and the Noise payload.
const Version = 1

// Sizes in bytes.
const (
	// BlockSize is the size of every block.
	BlockSize = spool.BlockSize
	// Overhead is what HPKE adds: the encapsulated key and the tag.
	Overhead = encSize + tagSize
	// PlainSize is what a block holds.
	PlainSize = BlockSize - Overhead
	// ChunkSize is what a block other than the first carries of a message.
	ChunkSize = PlainSize - headerSize
	// MaxContent is the largest content: a mail of 25 MB, in whatever way that is
	// counted, and room for what is added to it.
	MaxContent = 26 << 20
	// MaxPayload bounds the Noise payload, and with it what extensions may hold.
	MaxPayload = 4096
	// MaxBlocks is the largest number of blocks of one message.
	MaxBlocks = 2 + MaxContent/ChunkSize

	IDSize = 16 // a message id

	encSize = 1120 // X-Wing ciphertext: ML-KEM-768 and X25519
	tagSize = 16   // Poly1305
)

var (
	// ErrNotOurs is returned for a block that none of the live prekeys opens.
	ErrNotOurs = errors.New("block is not sealed to a key of this account")
	// ErrVersion is returned for a block or stored part of another version.
	ErrVersion = errors.New("sealed by another version of the format")
	// ErrMalformed is returned for a block whose inside cannot be right.
	ErrMalformed = errors.New("sealed block is malformed")
	// ErrSender is returned when the sender is not who the message says.
	ErrSender = errors.New("sender of the sealed message is not authentic")
	// ErrContent is returned when the content is not what the sender sealed.
	ErrContent = errors.New("content of the sealed message is damaged")
	// ErrParts is returned when parts are missing or of different messages.
	ErrParts = errors.New("parts do not make up one message")
	// ErrTooLarge is returned for content or extensions beyond their limit.
	ErrTooLarge = errors.New("message is too large to seal")
	// ErrKeys is returned for keys that cannot be used.
	ErrKeys = errors.New("keys are not usable for sealing")
)

// An ID names a message to its recipient. It is random, and different for each
// recipient of a mail: who knows it can send blocks that claim to belong to it.
type ID [IDSize]byte

// String returns the id in hexadecimal.
func (id ID) String() string { return fmt.Sprintf("%x", id[:]) }

// A Kind says what the content is.
type Kind uint8

const (
	KindMail    Kind = 1 // an Internet message (RFC 5322)
	KindReceipt Kind = 2 // tells the sender that a message arrived; no mail
	// KindKey has no content: its extension brings a new append key.
	KindKey Kind = 3
)

// A StaticKey is an X25519 key pair.
type StaticKey struct{ Private, Public []byte }

// A Sender is who seals.
type Sender struct {
	Static StaticKey           // of the account
	Bundle *spool.SignedBundle // the account's current bundle, which carries Static.Public
}

// A Prekey is a private X-Wing key that the account still keeps.
type Prekey struct {
	ID      []byte // spool.PrekeyIDSize bytes
	Private hpke.PrivateKey
}

// A Recipient is who opens.
type Recipient struct {
	Address  string
	Identity ed25519.PublicKey
	Static   StaticKey
	Prekeys  []Prekey // the likeliest first; Assemble needs none
}

// String hides the keys from logs.
func (k StaticKey) String() string { return "seal.StaticKey(secret)" }

// GoString hides the keys from logs.
func (k StaticKey) GoString() string { return k.String() }

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256)

func kdf() hpke.KDF   { return hpke.HKDFSHA256() }
func aead() hpke.AEAD { return hpke.ChaCha20Poly1305() }

// infoDomain begins the HPKE info and the Noise prologue; it carries Version.
const infoDomain = "mailproxy/seal/v1"

// info is what both HPKE and Noise bind a block to. Each part is preceded by its
// length as two bytes, big endian, so that no two sets of parts give the same
// bytes.
func info(address string, identity, prekeyID []byte) []byte {
	var b []byte
	for _, part := range [][]byte{[]byte(infoDomain), []byte(address), identity, prekeyID} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
		b = append(b, part...)
	}
	return b
}

// prologue binds the Noise message to block 0's encapsulated key, so that it
// cannot be lifted out and put into another block.
func prologue(info []byte, encHash [32]byte) []byte {
	return append(append([]byte(nil), info...), encHash[:]...)
}
