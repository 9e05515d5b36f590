// Package local runs a whole mix network in one process, on loopback: gateways,
// three layers of mixes and service nodes, each with its own keys, its own
// listening socket and TLS links to the others, exactly as separate machines
// would. The demo, the tests and the measuring programs use it.
//
// The keys of nodes are new at each start, and so is the document that names
// them; an operator's signing key may be kept. It imports nothing above mixnet.
package local

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// Operators are the names of those who run the nodes and sign the document. The
// first of each pair of nodes of a kind is the first one's, and so on; no
// operator of a spool runs a gateway.
var gatewayOperators = []string{"east-operator", "west-operator"}

// mixesPerLayer is how many mixes each layer has.
const mixesPerLayer = 2

// Config says which network to run.
type Config struct {
	Parameters directory.Parameters
	// Providers are the service nodes: a domain each, and what answers for it.
	// Each also runs an echo service.
	Providers []Provider
	Logger    *slog.Logger
	Tap       wire.Tap
}

// A Provider is a service node to be run.
type Provider struct {
	Domain string
	Spool  node.Service
}

// A Network is running.
type Network struct {
	View  *directory.View
	Note  []byte          // the signed document
	Trust directory.Trust // whom it must be signed by
	cfg   Config
	keys  map[string]nodeKeys
	nodes map[string]*node.Node
	order []string
}

type nodeKeys struct {
	identity ed25519.PrivateKey
	mix      []byte
	services map[string]node.Service
}

// Start makes keys and a document and starts all nodes.
func Start(cfg Config) (*Network, error) {
	n := &Network{cfg: cfg, keys: map[string]nodeKeys{}, nodes: map[string]*node.Node{}}
	doc := &directory.Document{
		Format: directory.Format, Network: "local network in one process",
		Made: time.Now().UTC().Truncate(time.Second), Parameters: cfg.Parameters,
	}
	var listeners []net.Listener
	fail := func(err error) (*Network, error) {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return nil, fmt.Errorf("start local network: %w", err)
	}
	add := func(d directory.Node, services map[string]node.Service) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		pub, identity, err := ed25519.GenerateKey(nil)
		if err != nil {
			return err
		}
		mix, err := sphinx.NewPrivateKey(rand.Reader)
		if err != nil {
			return err
		}
		d.Address, d.Identity, d.MixKey = l.Addr().String(), directory.Key(pub), directory.Key(mix.Public())
		doc.Nodes = append(doc.Nodes, d)
		n.keys[d.Name] = nodeKeys{identity: identity, mix: mix.Bytes(), services: services}
		n.order = append(n.order, d.Name)
		return nil
	}
	for i, operator := range gatewayOperators {
		if err := add(directory.Node{Name: fmt.Sprintf("gateway%d", i+1), Operator: operator, Role: directory.RoleGateway}, nil); err != nil {
			return fail(err)
		}
	}
	for l := 1; l <= directory.Layers; l++ {
		for i := range mixesPerLayer {
			d := directory.Node{
				Name: fmt.Sprintf("mix%d%c", l, 'a'+i), Role: directory.RoleMix, Layer: l,
				Operator: fmt.Sprintf("mix-operator-%d", (l-1)*mixesPerLayer+i+1),
			}
			if err := add(d, nil); err != nil {
				return fail(err)
			}
		}
	}
	for _, p := range cfg.Providers {
		d := directory.Node{
			Name: "service." + p.Domain, Role: directory.RoleService, Operator: p.Domain,
			Provider: p.Domain, Services: []string{"echo", "spool"},
		}
		if err := add(d, map[string]node.Service{"echo": node.Echo{}, "spool": p.Spool}); err != nil {
			return fail(err)
		}
	}
	if err := n.sign(doc); err != nil {
		return fail(err)
	}
	for i, name := range n.order {
		if err := n.start(name, listeners[i]); err != nil {
			return fail(errors.Join(err, n.Close()))
		}
	}
	return n, nil
}

// sign has the gateways' operators sign doc, and reads it back as anyone would.
func (n *Network) sign(doc *directory.Document) error {
	var signers []string
	for _, operator := range gatewayOperators {
		skey, vkey, err := note.GenerateKey(rand.Reader, operator)
		if err != nil {
			return err
		}
		signers = append(signers, skey)
		n.Trust.Keys = append(n.Trust.Keys, vkey)
	}
	n.Trust.Threshold = len(signers)
	var err error
	if n.Note, err = directory.Sign(doc, signers...); err != nil {
		return err
	}
	signed, err := directory.Open(n.Note, n.Trust)
	if err != nil {
		return err
	}
	n.View, err = directory.NewView(signed)
	return err
}

func (n *Network) start(name string, l net.Listener) error {
	k := n.keys[name]
	mix, err := sphinx.PrivateKeyFromBytes(k.mix)
	if err != nil {
		return err
	}
	n.nodes[name], err = node.Start(node.Config{
		View: n.View, Identity: k.identity, MixKey: mix, Listener: l,
		Services: k.services, Logger: n.cfg.Logger, Tap: n.cfg.Tap,
	})
	return err
}

// Nodes returns the running nodes by name.
func (n *Network) Nodes() map[string]*node.Node { return n.nodes }

// Stop stops the node with that name; Restart starts it again at its address
// with its keys.
func (n *Network) Stop(name string) error {
	err := n.nodes[name].Close()
	delete(n.nodes, name)
	return err
}

// Restart starts a node that was stopped.
func (n *Network) Restart(name string) error {
	for _, d := range n.View.Document.Nodes {
		if d.Name != name {
			continue
		}
		l, err := net.Listen("tcp", d.Address)
		if err != nil {
			return fmt.Errorf("restart node %s: %w", name, err)
		}
		return n.start(name, l)
	}
	return fmt.Errorf("restart node %s: there is none of that name", name)
}

// Close stops all nodes.
func (n *Network) Close() error {
	var err error
	for _, nd := range n.nodes {
		err = errors.Join(err, nd.Close())
	}
	n.nodes = map[string]*node.Node{}
	return err
}
