package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/internal/command"
	"mailproxy/internal/control"
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

// What is in the service's directory, beside what a node's has.
const (
	storeDir = "store"
	storeKey = "store.key"
)

type runCmd struct {
	Config string `help:"Configuration file." required:"" type:"path" short:"c" env:"MAILSPOOL_CONFIG" placeholder:"FILE"`
	JSON   bool   `help:"Say and log what happens in JSON, a line each."`
}

// Run runs the service until ctx ends.
func (r *runCmd) Run(ctx context.Context, c *cli) (err error) {
	cfg, err := readConfig(r.Config)
	if err != nil {
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
	switch {
	case self.Role != directory.RoleService || !slices.Contains(self.Services, mixclient.KindSpool):
		return fmt.Errorf("the network document gives node %q no spool to run", self.Name)
	case self.Provider != cfg.Spool.Provider:
		return fmt.Errorf("the network document says that node %q serves %s, the configuration that it serves %s", self.Name, self.Provider, cfg.Spool.Provider)
	}
	// The socket before the keys: a second process ends here, and touches nothing.
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		if socket(cfg.Dir()).Client().Do(ctx, http.MethodGet, pathWork, nil, new(price)) == nil {
			return exit{fmt.Errorf("the service of %s runs already: stop it first, or see \"mailspool stats\": %w", cfg.Dir(), err), exitRunning}
		}
		return fmt.Errorf("start node %q: %w", self.Name, err)
	}
	hup, ignore := command.Reloads()
	defer ignore()
	say := newSayer(r.JSON, c)
	s := &service{cfg: cfg, provider: cfg.Spool.Provider, dir: cfg.Dir(), doc: doc, log: say.log, started: time.Now()}
	if err := s.start(identity, l); err != nil {
		return errors.Join(err, s.stop(), l.Close())
	}
	figures, err := metrics.Start(cfg.Metrics, s.log, s.collectors()...)
	if err != nil {
		return errors.Join(err, s.stop())
	}
	defer func() { err = errors.Join(err, figures.Close()) }()
	s.administer()
	say.say("running", "spool of %s, node %q of network %q, is running at %s", self.Provider, self.Name, doc.Network, l.Addr())
	if figures.URL() != "" {
		say.say("metrics", "metrics are at %s", figures.URL())
	}
	s.notify("READY=1")
	for {
		select {
		case <-ctx.Done():
			say.say("stopping", "stopping")
			s.notify("STOPPING=1")
			return s.stop()
		case err := <-s.admin: // nobody could administer it: end, and be started again
			s.admin <- err
			return s.stop()
		case <-hup:
			for _, said := range s.reload(r.Config) {
				say.say("reloaded", "%s", said)
			}
		}
	}
}

// A service is what runs, from the store upwards.
type service struct {
	provider string
	dir      string
	doc      *directory.Document
	log      *slog.Logger
	started  time.Time

	store  *badgerstore.Store
	server *server.Server
	keys   *keyring.Ring
	node   *node.Node

	admin    chan error // the end of administer
	endAdmin context.CancelFunc

	mu     sync.Mutex // guards all below
	cfg    *config    // as it was taken up last
	set    setPrice
	closed bool
}

func (s *service) storeDir() string { return filepath.Join(s.dir, storeDir) }

// start starts all parts; after an error, those that run are for stop to end.
func (s *service) start(identity ed25519.PrivateKey, l net.Listener) error {
	if err := sameOwner(s.dir); err != nil {
		return err
	}
	key, err := nodedir.Key(filepath.Join(s.dir, storeKey), store.KeySize, s.storeDir())
	if err != nil {
		return err
	}
	if s.store, err = badgerstore.Open(badgerstore.Options{Dir: s.storeDir(), Key: key, Logger: s.log}); err != nil {
		return hint(err)
	}
	policy := s.cfg.policy()
	if s.server, err = server.New(server.Options{Store: s.store, Provider: s.provider, Logger: s.log, Policy: &policy}); err != nil {
		return err
	}
	if s.keys, err = keyring.Open(filepath.Join(s.dir, "keys"), s.doc.Parameters, time.Now); err != nil {
		return err
	}
	earlier, err := s.cfg.Earlier(s.doc)
	if err != nil {
		s.log.Warn("mailspool: without the earlier network document it may take an epoch until this node takes part", "err", err)
	}
	s.node, err = node.Start(node.Config{
		Document: s.doc, Earlier: earlier, Identity: identity, Keys: s.keys, Lies: filepath.Join(s.dir, nodedir.Lies),
		Listener: l, Logger: s.log,
		Services: map[string]node.Service{mixclient.KindEcho: node.Echo{}, mixclient.KindSpool: s.server},
		Notice:   s.server.Notice,
	})
	if err != nil {
		return err
	}
	return s.cfg.Keep()
}

// collectors are the figures of all parts that run.
func (s *service) collectors() []prometheus.Collector {
	detail := s.cfg.Metrics.Detail
	return append(s.node.Collectors(detail), s.server.Collectors(detail)...)
}

// administer answers the command line until stop, or until it cannot, which it says
// to s.admin.
func (s *service) administer() {
	ctx, cancel := context.WithCancel(context.Background())
	s.admin, s.endAdmin = make(chan error, 1), cancel
	go func() { s.admin <- socket(s.dir).Serve(ctx, s.handler()) }()
}

// socket is where the service with that directory is administered.
func socket(dir string) control.Socket { return control.Socket{Program: "mailspool", Dir: dir} }

func (s *service) notify(state string) {
	if err := command.Notify(state); err != nil {
		s.log.Error("mailspool: systemd does not hear how the service is", "err", err)
	}
}

// reload takes up the configuration in file and the network document that it
// names, as far as that can be done at run time, and says what it did. What is wrong
// is logged, and what was in use stays.
func (s *service) reload(file string) (said []string) {
	const kept = "mailspool: not all of the configuration could be taken up anew, and what was in use stays"
	fresh, err := readConfig(file)
	if err != nil {
		s.log.Error(kept, "err", err)
		return nil
	}
	s.mu.Lock()
	fixed := s.cfg.fixed(fresh)
	s.mu.Unlock()
	if len(fixed) > 0 {
		said = append(said, strings.Join(fixed, ", ")+": a change of this takes a restart")
		s.log.Warn("mailspool: a change of some settings takes a restart", "settings", strings.Join(fixed, " "))
	}
	if err := s.takeUp(fresh); err != nil {
		s.log.Error(kept, "err", err)
		return said
	}
	said = append(said, "the configuration is taken up")
	again := *fresh
	doc, err := nodedir.Reload(file, &again.Config, &again, s.node.Reload)
	if err != nil {
		s.log.Error(kept, "err", err)
	}
	if doc != "" {
		said = append(said, doc)
	}
	return said
}

// drainFor is longer than any answer takes.
const drainFor = 5 * time.Second

// stop ends what runs: first what others can reach, last what must be on disk.
func (s *service) stop() error {
	s.mu.Lock()
	s.closed = true
	if s.set.end != nil {
		s.set.end.Stop()
	}
	s.mu.Unlock()
	var err error
	if s.node != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainFor)
		if derr := s.node.Drain(ctx); derr != nil {
			s.log.Warn("mailspool: some answers are lost, and will be asked for again", "err", derr)
		}
		cancel()
		err = s.node.Close()
	}
	if s.admin != nil {
		s.endAdmin()
		err = errors.Join(err, <-s.admin)
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
