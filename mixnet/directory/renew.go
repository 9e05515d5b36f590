package directory

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"mailproxy/mixnet/sphinx"
)

// ErrSuccessor is wrapped by errors about a document that cannot take another's
// place in a running network.
var ErrSuccessor = errors.New("this network document cannot follow the one in use")

// Succeeds returns an error that wraps ErrSuccessor and says why d cannot take the
// place of old while the network runs, or nil. Both have been signed. Nodes may come,
// go and move; the parameters stay, for all must change them at one moment.
func (d *Document) Succeeds(old *Document) error {
	switch changed := old.Parameters.differences(d.Parameters); {
	case d.Network != old.Network:
		return fmt.Errorf("%w: it is of network %q, the one in use of %q", ErrSuccessor, d.Network, old.Network)
	case !d.Made.After(old.Made):
		return fmt.Errorf("%w: it was made at %s, the one in use at %s, and the later one holds",
			ErrSuccessor, d.Made.UTC().Format(time.RFC3339), old.Made.UTC().Format(time.RFC3339))
	case len(changed) > 0:
		return fmt.Errorf("%w: it changes %s; all members must be stopped and started anew for that",
			ErrSuccessor, strings.Join(changed, ", "))
	}
	return nil
}

// differences returns the names of the parameters that are not alike in p and q.
func (p Parameters) differences(q Parameters) (names []string) {
	a, b := reflect.ValueOf(p), reflect.ValueOf(q)
	for i := range a.NumField() {
		if !a.Field(i).Equal(b.Field(i)) {
			names = append(names, a.Type().Field(i).Tag.Get("toml"))
		}
	}
	return names
}

// Keeps returns an error that wraps ErrSuccessor and says why the node that is known
// by identity cannot go on with d as what it was in old, or nil: it must be in it,
// with the same name and the same duties. Its address may change.
func (d *Document) Keeps(old *Document, identity ed25519.PublicKey) error {
	id := (&Node{Identity: Key(identity)}).ID()
	was, is := old.node(id), d.node(id)
	switch {
	case was == nil:
		return fmt.Errorf("%w: this node is not in the one in use", ErrSuccessor)
	case is == nil:
		return fmt.Errorf("%w: node %q is not in it; stop the node when the network has taken it up", ErrSuccessor, was.Name)
	case is.Name != was.Name || is.Role != was.Role || is.Layer != was.Layer || is.Provider != was.Provider || !slices.Equal(is.Services, was.Services):
		return fmt.Errorf("%w: node %q is another in it than it was; stop the node and start it anew for that", ErrSuccessor, was.Name)
	}
	return nil
}

// Node returns the node with that id, or nil.
func (d *Document) Node(id sphinx.NodeID) *Node { return d.node(id) }
