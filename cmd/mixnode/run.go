package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/internal/command"
	"mailproxy/internal/metrics"
	"mailproxy/internal/nodedir"
	"mailproxy/mixnet/authority"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/node"
)

// configName is the configuration's file in a node's directory.
const configName = "mixnode.toml"

// config is the configuration: what all nodes have, and a gateway's own.
type config struct {
	nodedir.Config
	Gateway *gatewayConfig `toml:"gateway,omitempty"`
}

// gatewayConfig says how many a gateway serves.
type gatewayConfig struct {
	MaxClients int `toml:"max_clients" comment:"how many clients may be connected at once; each takes up to 0.7 MB of memory"`
}

// check returns an error that says what is wrong in file, or nil.
func (c *config) check(file string) error {
	switch {
	case c.Gateway == nil:
		return nil
	case c.Role != directory.RoleGateway:
		return fmt.Errorf("configuration %s has settings of a gateway, and the node is a %s", file, c.Role)
	case c.Gateway.MaxClients < 1:
		return fmt.Errorf("configuration %s: gateway.max_clients must be above 0", file)
	}
	return nil
}

// maxClients returns the bound on a gateway's clients.
func (c *config) maxClients() int {
	if c.Gateway == nil {
		return node.MostClients
	}
	return c.Gateway.MaxClients
}

type initCmd struct {
	Dir       string   `help:"Directory of the node; it is made." required:"" type:"path" placeholder:"DIR"`
	Config    string   `help:"Where the configuration goes, if not into that directory." type:"path" short:"c" placeholder:"FILE"`
	Name      string   `help:"Name of the node, unique in the network." required:""`
	Role      string   `help:"What it is: ${enum}." enum:"mix,gateway,directory" required:""`
	Layer     int      `help:"Layer of a mix, 1 to 3; 1 is next to the gateways."`
	Operator  string   `help:"Who runs it." required:""`
	Address   string   `help:"Where others reach it." required:"" placeholder:"HOST:PORT"`
	Listen    string   `help:"Where to listen, if not on the address's port of all interfaces." placeholder:"[HOST]:PORT"`
	Document  string   `help:"The signed network document, relative to the configuration (${default})." default:"network.note" placeholder:"FILE"`
	Trust     []string `help:"A key that may have signed the network document; may be given several times." sep:"none" placeholder:"KEY"`
	Threshold int      `help:"How many of these keys must have signed it; more than half of them if not given."`
	Metrics   string   `help:"Where Prometheus may ask for figures, such as :9464 for that port of loopback; nowhere if not given." placeholder:"[HOST]:PORT"`
}

// Run makes a node's directory, or finds that it is made.
func (i *initCmd) Run() error {
	if i.Layer != 0 && i.Role != string(directory.RoleMix) {
		return fmt.Errorf("a %s has no layer", i.Role)
	}
	listen := i.Listen
	if listen == "" {
		listen = nodedir.ListenAt(i.Address)
	}
	threshold := i.Threshold
	if threshold == 0 && len(i.Trust) > 0 {
		threshold = len(i.Trust)/2 + 1
	}
	file, state, err := nodedir.Place(i.Dir, configName, i.Config)
	if err != nil {
		return err
	}
	cfg := config{Config: nodedir.Config{
		Version: nodedir.ConfigVersion, Role: directory.Role(i.Role), Listen: listen, State: state,
		Network: nodedir.NetworkConfig{Document: i.Document, Keys: i.Trust, Threshold: threshold},
		Metrics: metrics.Config{Listen: i.Metrics},
	}}
	if cfg.Role == directory.RoleGateway {
		cfg.Gateway = &gatewayConfig{MaxClients: node.MostClients}
	}
	made, err := nodedir.Make(i.Dir, file,
		directory.Node{Name: i.Name, Operator: i.Operator, Role: directory.Role(i.Role), Layer: i.Layer, Address: i.Address}, cfg)
	if err != nil {
		return err
	}
	// The entry alone on standard output, so that it can go into a file.
	fmt.Fprint(os.Stderr, made.Say("mixnode"))
	_, err = os.Stdout.Write(made.Entry)
	return err
}

type runCmd struct {
	Config string `help:"Configuration file." required:"" type:"path" short:"c" placeholder:"FILE"`
}

// Run runs the node until ctx ends.
func (r *runCmd) Run(ctx context.Context, c *cli) (err error) {
	var cfg config
	if err := nodedir.Read(r.Config, &cfg.Config, &cfg); err != nil {
		return err
	}
	if err := cfg.check(r.Config); err != nil {
		return err
	}
	identity, err := nodedir.Identity(cfg.Dir())
	if err != nil {
		return err
	}
	doc, err := cfg.Document()
	if err != nil {
		return err
	}
	self, err := cfg.Self(doc, identity)
	if err != nil {
		return err
	}
	if self.Role == directory.RoleService {
		return fmt.Errorf("node %q is a service node: run it with mailspool", self.Name)
	}
	// The socket before the keys: a second process ends here, and touches nothing.
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("start node %q: %w", self.Name, err)
	}
	hup, ignore := command.Reloads()
	defer ignore()
	m, err := start(c, &cfg, doc, self, identity, l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	figures, err := metrics.Start(cfg.Metrics, c.Logger(), m.figures...)
	if err != nil {
		return errors.Join(err, m.stop())
	}
	defer func() { err = errors.Join(err, figures.Close()) }()
	fmt.Printf("%s %q of network %q is running at %s\n", title(self), self.Name, doc.Network, l.Addr())
	if figures.URL() != "" {
		fmt.Println("metrics are at", figures.URL())
	}
	notify(c, "READY=1")
	for {
		select {
		case <-ctx.Done():
			notify(c, "STOPPING=1")
			fmt.Println("stopping")
			return m.stop()
		case <-hup:
			var fresh config
			said, err := nodedir.Reload(r.Config, &fresh.Config, &fresh, m.reload)
			if err != nil {
				c.Logger().Error("mixnode: not all of the configuration could be taken up anew, and what was in use stays", "err", err)
			}
			if said != "" {
				fmt.Println(said)
			}
		}
	}
}

func notify(c *cli, state string) {
	if err := command.Notify(state); err != nil {
		c.Logger().Error("mixnode: systemd does not hear how the node is", "err", err)
	}
}

func title(n *directory.Node) string {
	if n.Role == directory.RoleMix {
		return fmt.Sprintf("mix of layer %d", n.Layer)
	}
	return string(n.Role)
}

// A member is the one role that runs.
type member struct {
	figures []prometheus.Collector
	reload  func(*directory.Document) (changed bool, err error)
	stop    func() error // ends it, then what it rests on
}

// start starts the one role.
func start(c *cli, cfg *config, doc *directory.Document, self *directory.Node, identity ed25519.PrivateKey, l net.Listener) (*member, error) {
	earlier, err := cfg.Earlier(doc)
	if err != nil {
		c.Logger().Warn("mixnode: without the earlier network document it may take an epoch until this node takes part", "err", err)
	}
	if self.Role == directory.RoleDirectory {
		a, err := authority.Start(authority.Config{
			Document: doc, Earlier: earlier, Identity: identity, Dir: filepath.Join(cfg.Dir(), "votes"),
			Lies: filepath.Join(cfg.Dir(), nodedir.Lies), Listener: l, Logger: c.Logger(),
		})
		if err != nil {
			return nil, err
		}
		if err := cfg.Keep(); err != nil {
			return nil, errors.Join(err, a.Close())
		}
		return &member{[]prometheus.Collector{a.Collector()}, a.Reload, a.Close}, nil
	}
	keys, err := keyring.Open(filepath.Join(cfg.Dir(), "keys"), doc.Parameters, time.Now)
	if err != nil {
		return nil, err
	}
	n, err := node.Start(node.Config{
		Document: doc, Earlier: earlier, Identity: identity, Keys: keys, Lies: filepath.Join(cfg.Dir(), nodedir.Lies),
		Listener: l, MaxClients: cfg.maxClients(), Logger: c.Logger(),
	})
	if err != nil {
		return nil, errors.Join(err, keys.Close())
	}
	if err := cfg.Keep(); err != nil {
		return nil, errors.Join(err, n.Close(), keys.Close())
	}
	return &member{n.Collectors(cfg.Metrics.Detail), n.Reload, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), doc.Parameters.MaxDelay()+time.Second)
		defer cancel()
		if err := n.Drain(ctx); err != nil {
			c.Logger().Warn("mixnode: packets are lost, and will be sent again", "err", err)
		}
		return errors.Join(n.Close(), keys.Close())
	}}, nil
}
