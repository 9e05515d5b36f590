package directory

import (
	"fmt"
	"slices"

	"mailproxy/mixnet/sphinx"
)

// A View is the network as it is to be used now: a document, and the mix keys
// in force. It is immutable; a change of epoch or document makes a new one.
type View struct {
	Document *Document
	byID     map[sphinx.NodeID]*Node
	layers   [Layers][]*Node
	gateways []*Node
	services map[string][]*Node // by kind
}

// NewView checks d and indexes it.
func NewView(d *Document) (*View, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	v := &View{Document: d, byID: map[sphinx.NodeID]*Node{}, services: map[string][]*Node{}}
	for i := range d.Nodes {
		n := &d.Nodes[i]
		v.byID[n.ID()] = n
		switch n.Role {
		case RoleMix:
			v.layers[n.Layer-1] = append(v.layers[n.Layer-1], n)
		case RoleGateway:
			v.gateways = append(v.gateways, n)
		case RoleService:
			for _, kind := range n.Services {
				v.services[kind] = append(v.services[kind], n)
			}
		}
	}
	return v, nil
}

// Node returns the node with that id, or nil.
func (v *View) Node(id sphinx.NodeID) *Node { return v.byID[id] }

// Layer returns the mixes of a layer, 1 being next to the gateways.
func (v *View) Layer(l int) []*Node { return slices.Clone(v.layers[l-1]) }

// Gateways returns the gateways.
func (v *View) Gateways() []*Node { return slices.Clone(v.gateways) }

// Services returns the nodes that run a service of the kind.
func (v *View) Services(kind string) []*Node { return slices.Clone(v.services[kind]) }

// Named returns the node with that name and role.
func (v *View) Named(name string, role Role) (*Node, error) {
	for i := range v.Document.Nodes {
		if n := &v.Document.Nodes[i]; n.Name == name && n.Role == role {
			return n, nil
		}
	}
	return nil, fmt.Errorf("network %q has no %s %q", v.Document.Network, role, name)
}

// Key returns the mix key of n that is in force.
func (v *View) Key(n *Node) sphinx.PublicKey { return sphinx.PublicKey(n.MixKey) }
