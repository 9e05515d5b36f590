package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/internal/address"
	"mailproxy/internal/command"
	"mailproxy/internal/metrics"
	"mailproxy/internal/nodedir"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/node"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// configName is the configuration's file in the service's directory.
const configName = "mailspool.toml"

// config is the configuration: what all nodes have, and the spool's own.
type config struct {
	nodedir.Config
	Spool spoolConfig `toml:"spool"`
}

// spoolConfig says whom the spool serves and how much it keeps.
type spoolConfig struct {
	Provider  string             `toml:"provider" comment:"the domain of its users; the network document must say the same"`
	MaxBlocks int                `toml:"max_blocks" comment:"how many blocks of 8 KiB a spool holds"`
	MaxAge    directory.Duration `toml:"max_age" comment:"how long a block waits to be fetched"`
}

// What a spool keeps unless its operator says otherwise.
const (
	defaultMaxBlocks = 20_000
	defaultMaxAge    = directory.Duration(14 * 24 * time.Hour)
)

type initCmd struct {
	Dir       string   `help:"Directory of the service; it is made." required:"" type:"path" placeholder:"DIR"`
	Name      string   `help:"Name of the node, unique in the network; \"service.\" and the provider if not given."`
	Provider  string   `help:"The domain of its users." required:"" placeholder:"DOMAIN"`
	Operator  string   `help:"Who runs it; no operator of a gateway." required:""`
	Address   string   `help:"Where others reach it." required:"" placeholder:"HOST:PORT"`
	Listen    string   `help:"Where to listen, if not on the address's port of all interfaces." placeholder:"[HOST]:PORT"`
	Document  string   `help:"The signed network document, relative to the configuration (${default})." default:"network.note" placeholder:"FILE"`
	Trust     []string `help:"A key that may have signed the network document; may be given several times." sep:"none" placeholder:"KEY"`
	Threshold int      `help:"How many of these keys must have signed it; more than half of them if not given."`
	Metrics   string   `help:"Where Prometheus may ask for figures, such as :9465 for that port of loopback; nowhere if not given." placeholder:"[HOST]:PORT"`
}

// Run makes the service's directory, or finds that it is made.
func (i *initCmd) Run() error {
	// A domain is good if somebody can have an address there.
	someone, err := address.Canonical("someone@" + i.Provider)
	if err != nil {
		return fmt.Errorf("%q cannot be a provider's domain: %w", i.Provider, err)
	}
	_, provider := address.Split(someone)
	name, listen, threshold := i.Name, i.Listen, i.Threshold
	if name == "" {
		name = "service." + provider
	}
	if listen == "" {
		listen = nodedir.ListenAt(i.Address)
	}
	if threshold == 0 && len(i.Trust) > 0 {
		threshold = len(i.Trust)/2 + 1
	}
	made, err := nodedir.Make(i.Dir, configName,
		directory.Node{
			Name: name, Operator: i.Operator, Role: directory.RoleService, Provider: provider,
			Services: []string{mixclient.KindEcho, mixclient.KindSpool}, Address: i.Address,
		},
		config{
			Config: nodedir.Config{
				Version: nodedir.ConfigVersion, Role: directory.RoleService, Listen: listen,
				Network: nodedir.NetworkConfig{Document: i.Document, Keys: i.Trust, Threshold: threshold},
				Metrics: metrics.Config{Listen: i.Metrics},
			},
			Spool: spoolConfig{Provider: provider, MaxBlocks: defaultMaxBlocks, MaxAge: defaultMaxAge},
		})
	if err != nil {
		return err
	}
	// The entry alone on standard output, so that it can go into a file.
	fmt.Fprint(os.Stderr, made.Say("mailspool"))
	_, err = os.Stdout.Write(made.Entry)
	return err
}

type runCmd struct {
	Config string `help:"Configuration file." required:"" type:"path" short:"c" placeholder:"FILE"`
}

// Run runs the service until ctx ends.
func (r *runCmd) Run(ctx context.Context, c *cli) (err error) {
	var cfg config
	if err := nodedir.Read(r.Config, &cfg.Config, &cfg); err != nil {
		return err
	}
	if cfg.Spool.MaxBlocks < 1 || cfg.Spool.MaxAge <= 0 {
		return fmt.Errorf("configuration %s: spool.max_blocks and spool.max_age must be above 0", r.Config)
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
	switch {
	case self.Role != directory.RoleService || !slices.Contains(self.Services, mixclient.KindSpool):
		return fmt.Errorf("the network document gives node %q no spool to run", self.Name)
	case self.Provider != cfg.Spool.Provider:
		return fmt.Errorf("the network document says that node %q serves %s, the configuration that it serves %s", self.Name, self.Provider, cfg.Spool.Provider)
	}
	// The socket before the keys: a second process ends here, and touches nothing.
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("start node %q: %w", self.Name, err)
	}
	hup, ignore := command.Reloads()
	defer ignore()
	s := &service{cfg: &cfg, doc: doc, log: c.Logger()}
	if err := s.start(identity, l); err != nil {
		return errors.Join(err, s.stop(), l.Close())
	}
	figures, err := metrics.Start(cfg.Metrics, s.log, s.collectors()...)
	if err != nil {
		return errors.Join(err, s.stop())
	}
	defer func() { err = errors.Join(err, figures.Close()) }()
	fmt.Printf("spool of %s, node %q of network %q, is running at %s\n", self.Provider, self.Name, doc.Network, l.Addr())
	if figures.URL() != "" {
		fmt.Println("metrics are at", figures.URL())
	}
	for {
		select {
		case <-ctx.Done():
			fmt.Println("stopping")
			return s.stop()
		case <-hup:
			var fresh config
			said, err := nodedir.Reload(r.Config, &fresh.Config, &fresh, s.node.Reload)
			if err != nil {
				s.log.Error("mailspool: not all of the configuration could be taken up anew, and what was in use stays", "err", err)
			}
			if said != "" {
				fmt.Println(said)
			}
		}
	}
}

// A service is what runs, from the store upwards.
type service struct {
	cfg *config
	doc *directory.Document
	log *slog.Logger

	store  *badgerstore.Store
	server *server.Server
	keys   *keyring.Ring
	node   *node.Node
}

// start starts all parts; after an error, those that run are for stop to end.
func (s *service) start(identity ed25519.PrivateKey, l net.Listener) error {
	dir := s.cfg.Dir()
	blocks := filepath.Join(dir, "store")
	key, err := nodedir.Key(filepath.Join(dir, "store.key"), store.KeySize, blocks)
	if err != nil {
		return err
	}
	if s.store, err = badgerstore.Open(badgerstore.Options{Dir: blocks, Key: key, Logger: s.log}); err != nil {
		return err
	}
	if s.server, err = server.New(server.Options{
		Store: s.store, Provider: s.cfg.Spool.Provider, Logger: s.log,
		Limits: server.Limits{MaxBlocks: s.cfg.Spool.MaxBlocks, MaxAge: time.Duration(s.cfg.Spool.MaxAge)},
	}); err != nil {
		return err
	}
	if s.keys, err = keyring.Open(filepath.Join(dir, "keys"), s.doc.Parameters, time.Now); err != nil {
		return err
	}
	earlier, err := s.cfg.Earlier(s.doc)
	if err != nil {
		s.log.Warn("mailspool: without the earlier network document it may take an epoch until this node takes part", "err", err)
	}
	s.node, err = node.Start(node.Config{
		Document: s.doc, Earlier: earlier, Identity: identity, Keys: s.keys, Listener: l, Logger: s.log,
		Services: map[string]node.Service{mixclient.KindEcho: node.Echo{}, mixclient.KindSpool: s.server},
	})
	if err != nil {
		return err
	}
	return s.cfg.Keep()
}

// collectors are the figures of all parts that run.
func (s *service) collectors() []prometheus.Collector {
	return s.node.Collectors(s.cfg.Metrics.Detail)
}

// drainFor is longer than any answer takes.
const drainFor = 5 * time.Second

// stop ends what runs: first what others can reach, last what must be on disk.
func (s *service) stop() error {
	var err error
	if s.node != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainFor)
		if derr := s.node.Drain(ctx); derr != nil {
			s.log.Warn("mailspool: some answers are lost, and will be asked for again", "err", derr)
		}
		cancel()
		err = s.node.Close()
	}
	if s.server != nil {
		err = errors.Join(err, s.server.Close())
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	if s.keys != nil {
		err = errors.Join(err, s.keys.Close())
	}
	return err
}
