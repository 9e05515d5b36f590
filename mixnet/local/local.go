// Package local runs a whole mix network in one process, on loopback: gateways,
// three layers of mixes, service nodes and directories, each with its own keys,
// its own listening socket and TLS links to the others, exactly as separate
// machines would. The demo, the tests and the measuring programs use it.
//
// The keys of nodes are new at each start, and so is the document that names
// them; an operator's signing key may be kept. It imports nothing above mixnet; internal/demo
// and cmd/mailproxy import it.
package local

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mailproxy/mixnet/authority"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/wire"
)

// Operators are the names of those who run the nodes and sign the document. The
// first of each pair of nodes of a kind is the first one's, and so on; no
// operator of a spool runs a gateway.
var gatewayOperators = []string{"east-operator", "west-operator"}

const (
	mixesPerLayer = 2
	directories   = 3
	threshold     = 2 // directories that must sign a snapshot
)

// Config says which network to run.
type Config struct {
	Parameters directory.Parameters
	// Providers are the service nodes: a domain each, and what answers for it.
	// Each also runs an echo service.
	Providers []Provider
	// Outside are nodes that the document names and somebody else runs.
	Outside []directory.Node
	Logger  *slog.Logger
	Tap     wire.Tap
	Sights  func(node.Sighting) // of all gateways
	// Front may put something between the network and a gateway: it is given the
	// socket at the gateway's address, and returns the one that the gateway is to
	// take connections from, and to close. For measuring programs.
	Front func(gateway string, l net.Listener) (net.Listener, error)
}

// A Provider is a service node to be run.
type Provider struct {
	Domain string
	Spool  node.Service
	// Notice is the service node's, as node.Config has it; may be nil.
	Notice func() []byte
}

// A Network is running.
type Network struct {
	Document *directory.Document
	Note     []byte          // the signed document
	Trust    directory.Trust // whom it must be signed by

	cfg         Config
	members     map[string]*member
	order       []string
	nodes       map[string]*node.Node
	authorities map[string]*authority.Authority
}

// member is what a node keeps when it is stopped and started again.
type member struct {
	identity ed25519.PrivateKey
	keys     *keyring.Ring // nil for a directory
	services map[string]node.Service
	notice   func() []byte
}

// Start makes keys and a document and starts all nodes.
func Start(cfg Config) (*Network, error) {
	n := &Network{
		cfg: cfg, members: map[string]*member{},
		nodes: map[string]*node.Node{}, authorities: map[string]*authority.Authority{},
	}
	doc := &directory.Document{
		Format: directory.Format, Network: "local network in one process",
		Made: time.Now().UTC().Truncate(time.Second), Parameters: cfg.Parameters,
		SnapshotThreshold: threshold,
	}
	var listeners []net.Listener
	fail := func(err error) (*Network, error) {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return nil, fmt.Errorf("start local network: %w", err)
	}
	add := func(d directory.Node, services map[string]node.Service, notice func() []byte) error {
		l, err := listen()
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		pub, identity, err := ed25519.GenerateKey(nil)
		if err != nil {
			return err
		}
		m := &member{identity: identity, services: services, notice: notice}
		if d.Role != directory.RoleDirectory {
			if m.keys, err = keyring.Open("", cfg.Parameters, time.Now); err != nil {
				return err
			}
		}
		d.Address, d.Identity = l.Addr().String(), directory.Key(pub)
		doc.Nodes = append(doc.Nodes, d)
		n.members[d.Name] = m
		n.order = append(n.order, d.Name)
		return nil
	}
	for i := range directories {
		d := directory.Node{Name: fmt.Sprintf("directory%d", i+1), Operator: fmt.Sprintf("directory-operator-%d", i+1), Role: directory.RoleDirectory}
		if err := add(d, nil, nil); err != nil {
			return fail(err)
		}
	}
	for i, operator := range gatewayOperators {
		if err := add(directory.Node{Name: fmt.Sprintf("gateway%d", i+1), Operator: operator, Role: directory.RoleGateway}, nil, nil); err != nil {
			return fail(err)
		}
	}
	for l := 1; l <= directory.Layers; l++ {
		for i := range mixesPerLayer {
			d := directory.Node{
				Name: fmt.Sprintf("mix%d%c", l, 'a'+i), Role: directory.RoleMix, Layer: l,
				Operator: fmt.Sprintf("mix-operator-%d", (l-1)*mixesPerLayer+i+1),
			}
			if err := add(d, nil, nil); err != nil {
				return fail(err)
			}
		}
	}
	for _, p := range cfg.Providers {
		d := directory.Node{
			Name: "service." + p.Domain, Role: directory.RoleService, Operator: p.Domain,
			Provider: p.Domain, Services: []string{"echo", "spool"},
		}
		if err := add(d, map[string]node.Service{"echo": node.Echo{}, "spool": p.Spool}, p.Notice); err != nil {
			return fail(err)
		}
	}
	doc.Nodes = append(doc.Nodes, cfg.Outside...)
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

// Ports of nodes lie below those that systems give to outgoing connections
// (32768 and up on Linux): a node that is stopped must find its port free again.
// For the same reason no two processes use ports of the same block, which belongs
// to whoever listens on its first port.
const (
	firstPort = 20000
	blocks    = 24
	blockSize = 500
)

// ports are the blocks that this process has, until it ends.
var ports struct {
	mu   sync.Mutex // guards all below
	own  []net.Listener
	mine []int // the first port of each
	next int   // of all ports of own blocks, the one to try next
}

// takeBlock takes a block that nobody has. ports.mu is held.
func takeBlock() bool {
	begin := mathrand.IntN(blocks)
	for i := range blocks {
		first := firstPort + (begin+i)%blocks*blockSize
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first)); err == nil {
			ports.own, ports.mine = append(ports.own, l), append(ports.mine, first)
			return true
		}
	}
	return false
}

// listen takes the next free port.
func listen() (l net.Listener, err error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range blocks * blockSize {
		if ports.next >= len(ports.mine)*blockSize && !takeBlock() {
			ports.next = 0 // none is left: some of ours are free again
		}
		if len(ports.mine) == 0 {
			break
		}
		p := ports.mine[ports.next/blockSize] + ports.next%blockSize
		ports.next++
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p)); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("find a free port: %w", errors.Join(err, errors.New("too many networks on this machine")))
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
	n.Document, err = directory.Open(n.Note, n.Trust)
	return err
}

func (n *Network) start(name string, l net.Listener) (err error) {
	m := n.members[name]
	if m.keys == nil {
		n.authorities[name], err = authority.Start(authority.Config{
			Document: n.Document, Identity: m.identity, Listener: l, Logger: n.cfg.Logger,
		})
		return err
	}
	if n.cfg.Front != nil && n.gateway(name) {
		if l, err = n.cfg.Front(name, l); err != nil {
			return err
		}
	}
	n.nodes[name], err = node.Start(node.Config{
		Document: n.Document, Identity: m.identity, Keys: m.keys, Listener: l,
		Services: m.services, Notice: m.notice, Logger: n.cfg.Logger, Tap: n.cfg.Tap, Sights: n.cfg.Sights,
	})
	return err
}

// gateway reports whether the node with that name is a gateway.
func (n *Network) gateway(name string) bool {
	_, err := n.Document.Named(name, directory.RoleGateway)
	return err == nil
}

// Nodes returns the running nodes by name.
func (n *Network) Nodes() map[string]*node.Node { return n.nodes }

// Stop stops the node or directory with that name; Restart starts it again at its
// address with its keys.
func (n *Network) Stop(name string) error {
	if a := n.authorities[name]; a != nil {
		delete(n.authorities, name)
		return a.Close()
	}
	nd := n.nodes[name]
	if nd == nil {
		return fmt.Errorf("stop node %s: it does not run", name)
	}
	delete(n.nodes, name)
	return nd.Close()
}

// Restart starts a node or directory that was stopped.
func (n *Network) Restart(name string) error {
	for _, d := range n.Document.Nodes {
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

// Close stops all nodes and directories.
func (n *Network) Close() error {
	var err error
	for _, nd := range n.nodes {
		err = errors.Join(err, nd.Close())
	}
	for _, a := range n.authorities {
		err = errors.Join(err, a.Close())
	}
	for _, m := range n.members {
		if m.keys != nil {
			err = errors.Join(err, m.keys.Close())
		}
	}
	n.nodes, n.authorities, n.members = map[string]*node.Node{}, map[string]*authority.Authority{}, map[string]*member{}
	return err
}
