package directory

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/sphinx"
)

// descriptorFormat is the version of a descriptor's encoding; 2 added notices.
const descriptorFormat = 2

// MaxNotice bounds what a node announces, in bytes.
const MaxNotice = 128

// Domains separate what the same identity key signs.
const (
	descriptorDomain = "mailproxy/descriptor/v1\x00"
	voteDomain       = "mailproxy/vote/v1\x00"
	snapshotDomain   = "mailproxy/snapshot/v1\x00"
)

// ErrDescriptor is wrapped by errors about a descriptor that cannot be right.
var ErrDescriptor = errors.New("invalid descriptor")

// A Descriptor is a node's mix key for one epoch, and what it announces in it.
type Descriptor struct {
	Format uint8         `cbor:"1,keyasint"`
	Node   sphinx.NodeID `cbor:"2,keyasint"`
	Epoch  Epoch         `cbor:"3,keyasint"`
	MixKey Key           `cbor:"4,keyasint"`
	// Notice is what the node's service wants all clients to see alike, at most
	// MaxNotice bytes: the directories sign it with the snapshot. Its meaning is
	// between the service and its clients.
	Notice []byte `cbor:"5,keyasint,omitempty"`
}

// A SignedDescriptor is a descriptor's exact bytes and the node's signature.
type SignedDescriptor struct {
	Body      []byte `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint"` // Ed25519 by the node's identity key
}

// NewDescriptor makes and signs a descriptor; notice may be nil.
func NewDescriptor(identity ed25519.PrivateKey, e Epoch, mix sphinx.PublicKey, notice []byte) (*SignedDescriptor, error) {
	if len(notice) > MaxNotice {
		return nil, fmt.Errorf("make descriptor: the notice has %d bytes, the limit is %d", len(notice), MaxNotice)
	}
	n := Node{Identity: Key(identity.Public().(ed25519.PublicKey))}
	body, err := codec.Marshal(Descriptor{Format: descriptorFormat, Node: n.ID(), Epoch: e, MixKey: Key(mix), Notice: notice})
	if err != nil {
		return nil, fmt.Errorf("make descriptor: %w", err)
	}
	return &SignedDescriptor{Body: body, Signature: sign(identity, descriptorDomain, body)}, nil
}

// Open checks a descriptor against the document: that it is of one of its nodes
// that has a mix key, and signed by it.
func (s *SignedDescriptor) Open(d *Document) (*Descriptor, error) {
	var x Descriptor
	if err := codec.Unmarshal(s.Body, &x); err != nil {
		return nil, fmt.Errorf("%w: its signature cannot be checked, for it does not say whose it is: %w", ErrDescriptor, err)
	}
	n := d.node(x.Node)
	switch {
	case n == nil || n.Role == RoleDirectory:
		return nil, fmt.Errorf("%w: its signature cannot be checked: no node of the network document has its id", ErrDescriptor)
	case !verify(n.Identity, descriptorDomain, s.Body, s.Signature):
		return nil, fmt.Errorf("%w: the signature of node %q is false", ErrDescriptor, n.Name)
	case x.Format != descriptorFormat:
		return nil, fmt.Errorf("%w: format %d, this program reads %d", ErrDescriptor, x.Format, descriptorFormat)
	}
	if len(x.Notice) > MaxNotice {
		return nil, fmt.Errorf("%w: its notice has %d bytes, the limit is %d", ErrDescriptor, len(x.Notice), MaxNotice)
	}
	return &x, nil
}

func sign(key ed25519.PrivateKey, domain string, body []byte) []byte {
	return ed25519.Sign(key, append([]byte(domain), body...))
}

func verify(key Key, domain string, body, signature []byte) bool {
	return ed25519.Verify(key[:], append([]byte(domain), body...), signature)
}
