// Package directory says who takes part in a mix network: the network document,
// its signatures, and the view of it that nodes and clients act on.
//
// The document lists operators, nodes and parameters. It is TOML inside a C2SP
// signed note (https://c2sp.org/signed-note), signed by a threshold of the
// operators' keys, which a client is given by other means. Mix keys change with
// every epoch: nodes sign descriptors of theirs, directories vote on them and
// sign one snapshot for all. A View is a document with the keys of one epoch.
//
// It neither fetches nor serves anything (mixnet/authority does) and knows nothing
// of packets. mixnet's other packages, mixclient/builtin, internal/netdoc,
// internal/nodedir and cmd import it.
package directory

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"mailproxy/mixnet/sphinx"
)

// Format is the version of the network document that this program reads.
const Format = 1

// maxDocument bounds a network document in bytes.
const maxDocument = 1 << 20

var (
	// ErrDocument is wrapped by every error about a document that cannot be right.
	ErrDocument = errors.New("invalid network document")
	// ErrUntrusted is wrapped when too few of the trusted keys have signed.
	ErrUntrusted = errors.New("network document is not signed by enough trusted keys")
)

// A Role is what a node does.
type Role string

// The roles of section 4 of the design.
const (
	RoleGateway Role = "gateway"
	RoleMix     Role = "mix"
	RoleService Role = "service"
	// RoleDirectory collects descriptors and signs snapshots.
	RoleDirectory Role = "directory"
)

// Key is 32 bytes that are written as base64 in the document.
type Key [32]byte

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString(k[:])), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(b []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(b))
	if err != nil {
		return fmt.Errorf("key is not base64: %w", err)
	}
	if len(raw) != len(k) {
		return fmt.Errorf("key has %d bytes, want %d", len(raw), len(k))
	}
	copy(k[:], raw)
	return nil
}

// A Document describes a network. It is immutable once parsed.
type Document struct {
	Format     int        `toml:"format"`
	Network    string     `toml:"network"` // its name
	Made       time.Time  `toml:"made"`
	Parameters Parameters `toml:"parameters"`
	// SnapshotThreshold is how many directories must sign a snapshot: more than
	// half of them.
	SnapshotThreshold int    `toml:"snapshot_threshold"`
	Nodes             []Node `toml:"node"`

	hash [32]byte // of the text that it was parsed from
}

// Parameters are the same for all who take part. Rates are events per second.
type Parameters struct {
	MixDelay  Duration `toml:"mix_delay"`  // mean of the exponential delay at a mix
	QueryRate float64  `toml:"query_rate"` // λ_P: a waiting query, else a loop
	ReadRate  float64  `toml:"read_rate"`  // λ_R: a read of the own spool
	LoopRate  float64  `toml:"loop_rate"`  // λ_L: loops that measure loss
	// NodeLoopRate is how many loops of its own each node sends per second.
	NodeLoopRate float64  `toml:"node_loop_rate"`
	Request      int      `toml:"request"` // bytes a query carries for its service
	Epoch        Duration `toml:"epoch"`   // the life of a mix key
}

// DefaultParameters are those of section 2 of the design. docs/parameters.md
// gives the reasons.
func DefaultParameters() Parameters {
	return Parameters{
		MixDelay:  Duration(400 * time.Millisecond),
		QueryRate: 0.6, ReadRate: 0.8, LoopRate: 0.1,
		NodeLoopRate: 0.2,
		Request:      DefaultRequest,
		Epoch:        Duration(time.Hour),
	}
}

// DefaultRequest holds a block of 8 KiB and what a spool request adds to it.
const DefaultRequest = 8192 + 320

// Scaled returns p with all times divided by factor, for tests.
func (p Parameters) Scaled(factor float64) Parameters {
	p.MixDelay = Duration(float64(p.MixDelay) / factor)
	p.QueryRate *= factor
	p.ReadRate *= factor
	p.LoopRate *= factor
	p.NodeLoopRate *= factor
	p.Epoch = Duration(float64(p.Epoch) / factor)
	return p
}

// MaxDelay bounds one drawn delay: ten times the mean. A longer one is drawn
// anew (about one in 22,000), so that a path has a largest delay after which a
// reply is known to be lost and a mix key can be erased.
func (p Parameters) MaxDelay() time.Duration { return 10 * time.Duration(p.MixDelay) }

// Delay returns a delay for a mix, in whole milliseconds as packets carry them.
// exp draws from the exponential distribution with mean 1.
func (p Parameters) Delay(exp func() float64) time.Duration {
	for {
		if d := time.Duration(exp() * float64(p.MixDelay)); d <= p.MaxDelay() {
			return d.Round(time.Millisecond)
		}
	}
}

// ReplySlack is how much longer than its drawn delays a packet may take to come
// back before it counts as lost: twenty mean delays and two seconds.
func (p Parameters) ReplySlack() time.Duration { return 20*time.Duration(p.MixDelay) + 2*time.Second }

// Payload is the number of plaintext bytes in each packet: what a query's
// request, its SURB and their frame take. A reply carries as many.
func (p Parameters) Payload() int { return sphinx.QueryOverhead + p.Request }

// Packet is the size of each Sphinx packet in bytes.
func (p Parameters) Packet() int { return sphinx.HeaderSize + sphinx.TagSize + p.Payload() }

// Rate is the number of packets a client sends per second, on average.
func (p Parameters) Rate() float64 { return p.QueryRate + p.ReadRate + p.LoopRate }

// A Duration is written as "400ms" in the document.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// A Node is one member of the network.
type Node struct {
	Name     string   `toml:"name"`
	Operator string   `toml:"operator"`
	Role     Role     `toml:"role"`
	Layer    int      `toml:"layer,omitempty"`    // of a mix: 1 is next to the gateways
	Provider string   `toml:"provider,omitempty"` // of a service node: the domain whose spool it runs
	Services []string `toml:"services,omitempty"` // of a service node
	Address  string   `toml:"address"`            // host:port of its listening socket
	Identity Key      `toml:"identity"`           // Ed25519: proves the node on links, and signs its descriptors
}

// node returns the node with that id, or nil.
func (d *Document) node(id sphinx.NodeID) *Node {
	for i := range d.Nodes {
		if d.Nodes[i].ID() == id {
			return &d.Nodes[i]
		}
	}
	return nil
}

// Layered reports whether the node with that id is a mix.
func (d *Document) Layered(id sphinx.NodeID) bool {
	n := d.node(id)
	return n != nil && n.Role == RoleMix
}

// WithRole returns the nodes that have the role.
func (d *Document) WithRole(role Role) []*Node {
	var list []*Node
	for i := range d.Nodes {
		if d.Nodes[i].Role == role {
			list = append(list, &d.Nodes[i])
		}
	}
	return list
}

// Layer returns the mixes of a layer, 1 being next to the gateways.
func (d *Document) Layer(l int) []*Node {
	return slices.DeleteFunc(d.WithRole(RoleMix), func(n *Node) bool { return n.Layer != l })
}

// Named returns the node with that name and role.
func (d *Document) Named(name string, role Role) (*Node, error) {
	for _, n := range d.WithRole(role) {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("network %q has no %s %q", d.Network, role, name)
}

// Offering returns the service nodes that run a service of the kind.
func (d *Document) Offering(kind string) []*Node {
	return slices.DeleteFunc(d.WithRole(RoleService), func(n *Node) bool { return !slices.Contains(n.Services, kind) })
}

// ID is the name by which packets find the node: the SHA-256 of its identity key.
func (n *Node) ID() sphinx.NodeID { return sha256.Sum256(n.Identity[:]) }

// Check returns an error that says what is wrong with d, or nil.
func (d *Document) Check() error {
	switch {
	case d.Format != Format:
		return fmt.Errorf("%w: format %d, this program reads %d; another release may fit", ErrDocument, d.Format, Format)
	case d.Network == "":
		return fmt.Errorf("%w: network has no name", ErrDocument)
	}
	if err := d.Parameters.Check(); err != nil {
		return err
	}
	return d.checkNodes()
}

// Check returns an error that says which parameter cannot be, or nil.
func (p Parameters) Check() error {
	switch {
	case p.MixDelay <= 0 || p.MixDelay > Duration(time.Hour):
		return fmt.Errorf("%w: mix_delay %v is not between 0 and 1h", ErrDocument, time.Duration(p.MixDelay))
	case !goodRate(p.QueryRate) || !goodRate(p.ReadRate) || !goodRate(p.LoopRate) || !goodRate(p.NodeLoopRate):
		return fmt.Errorf("%w: each rate must be above 0 and at most 1000 a second", ErrDocument)
	case p.Epoch < 100*p.MixDelay || p.Epoch > Duration(24*time.Hour):
		return fmt.Errorf("%w: epoch %v is not between a hundred mean delays and 24h", ErrDocument, time.Duration(p.Epoch))
	case p.Request < DefaultRequest || p.Request > 15<<10:
		return fmt.Errorf("%w: request %d is not between %d and %d bytes", ErrDocument, p.Request, DefaultRequest, 15<<10)
	}
	return nil
}

// goodRate is written so that it refuses NaN too.
func goodRate(r float64) bool { return r > 0 && r <= 1000 }

func (d *Document) checkNodes() error {
	ids := map[sphinx.NodeID]string{}
	names := map[string]bool{}
	providers := map[string]string{}
	gatewayOperators := map[string]bool{}
	layers := map[int]int{}
	var echo, gateways, directories int
	for i := range d.Nodes {
		n := &d.Nodes[i]
		if err := n.Check(); err != nil {
			return err
		}
		if names[n.Name] {
			return fmt.Errorf("%w: two nodes are called %q", ErrDocument, n.Name)
		}
		names[n.Name] = true
		if other, ok := ids[n.ID()]; ok {
			return fmt.Errorf("%w: nodes %q and %q have one identity key", ErrDocument, other, n.Name)
		}
		ids[n.ID()] = n.Name
		switch n.Role {
		case RoleGateway:
			gateways++
			gatewayOperators[n.Operator] = true
		case RoleDirectory:
			directories++
		case RoleMix:
			layers[n.Layer]++
		case RoleService:
			if slices.Contains(n.Services, "echo") {
				echo++
			}
			if slices.Contains(n.Services, "spool") {
				if other, ok := providers[n.Provider]; ok {
					return fmt.Errorf("%w: nodes %q and %q run the spool of one provider", ErrDocument, other, n.Name)
				}
				providers[n.Provider] = n.Name
			}
		}
	}
	for l := 1; l <= Layers; l++ {
		if layers[l] == 0 {
			return fmt.Errorf("%w: layer %d has no mix", ErrDocument, l)
		}
	}
	if gateways == 0 || echo == 0 || directories == 0 {
		return fmt.Errorf("%w: it takes a gateway, an echo service and a directory at least", ErrDocument)
	}
	if t := d.SnapshotThreshold; t <= directories/2 || t > directories {
		return fmt.Errorf("%w: snapshot_threshold %d is not more than half of %d directories", ErrDocument, t, directories)
	}
	for i := range d.Nodes {
		if n := &d.Nodes[i]; slices.Contains(n.Services, "spool") && gatewayOperators[n.Operator] {
			return fmt.Errorf("%w: operator %q runs a spool and a gateway, and would hold both ends of a path", ErrDocument, n.Operator)
		}
	}
	return nil
}

// Check returns an error that says what is wrong with the entry by itself, or nil.
func (n *Node) Check() error {
	if n.Name == "" || n.Operator == "" {
		return fmt.Errorf("%w: a node at %q has no name or no operator", ErrDocument, n.Address)
	}
	if _, port, err := net.SplitHostPort(n.Address); err != nil || !goodPort(port) {
		return fmt.Errorf("%w: node %q: address %q is not host:port", ErrDocument, n.Name, n.Address)
	}
	switch n.Role {
	case RoleGateway, RoleDirectory:
	case RoleMix:
		if n.Layer < 1 || n.Layer > Layers {
			return fmt.Errorf("%w: mix %q: layer %d is not between 1 and %d", ErrDocument, n.Name, n.Layer, Layers)
		}
	case RoleService:
		if slices.Contains(n.Services, "spool") && n.Provider == "" {
			return fmt.Errorf("%w: node %q runs a spool and has no provider", ErrDocument, n.Name)
		}
	default:
		return fmt.Errorf("%w: node %q has the unknown role %q", ErrDocument, n.Name, n.Role)
	}
	return nil
}

func goodPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// Layers is the number of mix layers that a path crosses.
const Layers = 3
