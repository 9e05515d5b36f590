package directory

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/sphinx"
)

// snapshotFormat is the version of a snapshot's, and of a vote's, encoding.
const snapshotFormat = 1

// maxSnapshot bounds an encoded snapshot in bytes: some thousand nodes.
const maxSnapshot = 1 << 20

// ErrSnapshot is wrapped by errors about a snapshot or vote that cannot be right.
var ErrSnapshot = errors.New("invalid snapshot")

// ErrOtherDocument is wrapped, beside ErrSnapshot, by errors about a snapshot that
// may be right and is of no use to who does not have its network document.
var ErrOtherDocument = errors.New("it belongs to another network document; a newer one may have been signed")

// A Snapshot is the set of all mix keys of one epoch, as the directories agreed on
// it. Clients use no other keys, so that no one can show one of them a network of
// his own.
type Snapshot struct {
	Format   uint8    `cbor:"1,keyasint"`
	Document [32]byte `cbor:"2,keyasint"` // Document.Hash of the network document
	Epoch    Epoch    `cbor:"3,keyasint"`
	// Descriptors are in the order of their nodes' ids, one of each.
	Descriptors []SignedDescriptor `cbor:"4,keyasint"`
}

// A Signature is one directory's on a snapshot.
type Signature struct {
	Directory sphinx.NodeID `cbor:"1,keyasint"`
	Signature []byte        `cbor:"2,keyasint"`
}

// A SignedSnapshot is a snapshot's exact bytes and the directories' signatures.
type SignedSnapshot struct {
	Body       []byte      `cbor:"1,keyasint"`
	Signatures []Signature `cbor:"2,keyasint"`
}

// A Vote is what one directory would put into the snapshot.
type Vote struct {
	Snapshot  []byte        `cbor:"1,keyasint"` // CBOR of Snapshot
	Round     uint32        `cbor:"2,keyasint"` // of voting, from 0
	Directory sphinx.NodeID `cbor:"3,keyasint"`
	Signature []byte        `cbor:"4,keyasint"` // over the round and the bytes
}

// input is what a vote's signature is over.
func (v *Vote) input() []byte {
	return append(binary.BigEndian.AppendUint32(nil, v.Round), v.Snapshot...)
}

// encode sorts s and returns its bytes.
func (s *Snapshot) encode(d *Document) ([]byte, error) {
	type entry struct {
		id sphinx.NodeID
		SignedDescriptor
	}
	var list []entry
	for _, sd := range s.Descriptors {
		x, err := sd.Open(d)
		if err != nil {
			return nil, err
		}
		list = append(list, entry{x.Node, sd})
	}
	slices.SortFunc(list, func(a, b entry) int { return bytes.Compare(a.id[:], b.id[:]) })
	s.Descriptors = nil
	for _, e := range list {
		s.Descriptors = append(s.Descriptors, e.SignedDescriptor)
	}
	return codec.Marshal(s)
}

// parseSnapshot checks all of a snapshot but who has signed it.
func parseSnapshot(d *Document, body []byte) (*Snapshot, map[sphinx.NodeID]*Descriptor, error) {
	if len(body) > maxSnapshot {
		return nil, nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrSnapshot, len(body), maxSnapshot)
	}
	var s Snapshot
	if err := codec.Unmarshal(body, &s); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	switch {
	case s.Format != snapshotFormat:
		return nil, nil, fmt.Errorf("%w: format %d, this program reads %d", ErrSnapshot, s.Format, snapshotFormat)
	case s.Document != d.Hash():
		return nil, nil, fmt.Errorf("%w: %w", ErrSnapshot, ErrOtherDocument)
	}
	keys := map[sphinx.NodeID]*Descriptor{}
	var last []byte
	for _, sd := range s.Descriptors {
		x, err := sd.Open(d)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
		if x.Epoch != s.Epoch {
			return nil, nil, fmt.Errorf("%w: a descriptor is for %v", ErrSnapshot, x.Epoch)
		}
		if bytes.Compare(x.Node[:], last) <= 0 {
			return nil, nil, fmt.Errorf("%w: descriptors are not in order", ErrSnapshot)
		}
		last = x.Node[:]
		keys[x.Node] = x
	}
	return &s, keys, nil
}

// ParseSnapshot checks all of a snapshot's bytes but who has signed them.
func ParseSnapshot(d *Document, body []byte) (*Snapshot, error) {
	s, _, err := parseSnapshot(d, body)
	return s, err
}

// SignSnapshot adds a directory's signature.
func SignSnapshot(body []byte, identity ed25519.PrivateKey) Signature {
	n := Node{Identity: Key(identity.Public().(ed25519.PublicKey))}
	return Signature{Directory: n.ID(), Signature: sign(identity, snapshotDomain, body)}
}

// Verify reports which directory of d made the signature on body, or an error
// that names who did not.
func (g *Signature) Verify(d *Document, body []byte) (*Node, error) {
	n := d.node(g.Directory)
	switch {
	case n == nil || n.Role != RoleDirectory:
		return nil, fmt.Errorf("%w: signed by what is no directory of the network document; a newer one may have been signed", ErrSnapshot)
	case !verify(n.Identity, snapshotDomain, body, g.Signature):
		return nil, fmt.Errorf("%w: the signature of directory %q is false", ErrSnapshot, n.Name)
	}
	return n, nil
}

// Open checks a snapshot: that as many directories as the document demands have
// signed it, and its descriptors. A false signature spoils it, whoever's it is. The
// signatures come first, so that of what was altered it is said which is false.
func (s *SignedSnapshot) Open(d *Document) (*Snapshot, map[sphinx.NodeID]*Descriptor, error) {
	signed := map[sphinx.NodeID]bool{}
	for _, g := range s.Signatures {
		if _, err := g.Verify(d, s.Body); err != nil {
			return nil, nil, err
		}
		signed[g.Directory] = true
	}
	if len(signed) < d.SnapshotThreshold {
		return nil, nil, fmt.Errorf("%w: %d of %d needed directories have signed", ErrSnapshot, len(signed), d.SnapshotThreshold)
	}
	return parseSnapshot(d, s.Body)
}

// NewVote makes the vote of a directory for the descriptors that it has.
func NewVote(d *Document, e Epoch, round uint32, have []SignedDescriptor, identity ed25519.PrivateKey) (*Vote, error) {
	s := Snapshot{Format: snapshotFormat, Document: d.Hash(), Epoch: e, Descriptors: have}
	body, err := s.encode(d)
	if err != nil {
		return nil, fmt.Errorf("make vote: %w", err)
	}
	n := Node{Identity: Key(identity.Public().(ed25519.PublicKey))}
	v := &Vote{Snapshot: body, Round: round, Directory: n.ID()}
	v.Signature = sign(identity, voteDomain, v.input())
	return v, nil
}

// Open checks a vote.
func (v *Vote) Open(d *Document) (*Snapshot, error) {
	n := d.node(v.Directory)
	switch {
	case n == nil || n.Role != RoleDirectory:
		return nil, fmt.Errorf("%w: vote of what is no directory of the network document", ErrSnapshot)
	case !verify(n.Identity, voteDomain, v.input(), v.Signature):
		return nil, fmt.Errorf("%w: the signature of directory %q on its vote is false", ErrSnapshot, n.Name)
	}
	s, _, err := parseSnapshot(d, v.Snapshot)
	return s, err
}

// Tally makes the snapshot of a round from its votes: of each node the descriptor
// that as many votes have as the document demands signatures. Directories that
// saw the same votes make the same bytes, and so do rounds with the same votes.
func Tally(d *Document, e Epoch, round uint32, votes []*Vote) ([]byte, error) {
	count := map[string]int{}
	bodies := map[string]SignedDescriptor{}
	voted := map[sphinx.NodeID]bool{}
	for _, v := range votes {
		s, err := v.Open(d)
		if err != nil {
			return nil, err
		}
		if s.Epoch != e || v.Round != round || voted[v.Directory] {
			continue
		}
		voted[v.Directory] = true
		for _, sd := range s.Descriptors {
			k := string(sd.Body)
			count[k]++
			// Ed25519 signatures are not unique: the least of them stands.
			if have, ok := bodies[k]; !ok || bytes.Compare(sd.Signature, have.Signature) < 0 {
				bodies[k] = sd
			}
		}
	}
	s := Snapshot{Format: snapshotFormat, Document: d.Hash(), Epoch: e}
	nodes := map[sphinx.NodeID]int{}
	for k, n := range count {
		if n < d.SnapshotThreshold {
			continue
		}
		sd := bodies[k]
		x, err := sd.Open(d)
		if err != nil {
			return nil, err
		}
		nodes[x.Node]++
		s.Descriptors = append(s.Descriptors, sd)
	}
	// A node that published two keys, each with enough votes, takes no part.
	s.Descriptors = slices.DeleteFunc(s.Descriptors, func(sd SignedDescriptor) bool {
		x, err := sd.Open(d)
		return err != nil || nodes[x.Node] > 1
	})
	return s.encode(d)
}

// Hash names a document: what snapshots of it refer to.
func (d *Document) Hash() [32]byte { return d.hash }

// hashText is the hash of a document's text.
func hashText(text []byte) [32]byte {
	return sha256.Sum256(append([]byte("mailproxy/network-document/v1\x00"), text...))
}
