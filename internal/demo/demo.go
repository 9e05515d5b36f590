// Package demo puts a whole world into one process: the built-in network with
// the spools of two providers, and a user daemon with two accounts, each with a
// client, slots and processes of its own, as two people would have. They meet
// over TCP on loopback, exactly as separate machines would.
//
// "mailproxy demo" (cmd/mailproxy) is a thin skin over it; the end-to-end tests and the
// measuring programs in contrib/measure use it too. Nothing else imports it.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/wire"
	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/ports"
	"mailproxy/proxy/progress"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// Alice and Bob are the demo's two people.
const (
	Alice = "alice@north.test"
	Bob   = "bob@south.test"
)

// Providers are the domains of the demo's spools.
var Providers = []string{"north.test", "south.test"}

// Config says how the world is.
type Config struct {
	Dir        string // where all state is kept
	Parameters directory.Parameters
	Times      outbox.Times // zero: the defaults
	Limits     server.Limits
	Policy     *server.Policy // of both providers; nil: that of Policy
	Listen     proxy.ListenConfig
	Receipts   bool
	AliasWait  time.Duration // as proxy.Options has it
	FreePorts  bool          // take another port where one is taken, and tell Taken
	Taken      func(taken *ports.TakenError, instead string)
	Observe    progress.Func
	Logger     *slog.Logger
	Tap        wire.Tap
	Slots      func(account string, s builtin.Slot) // as builtin.Config has it; may be nil
	// Client may change how an account takes part in the network, and Now is the
	// daemon's clock, for tests; both may be nil.
	Client func(account string, c *builtin.Config)
	Now    func() time.Time
	// Front may put something before a provider's spool, for tests; may be nil.
	Front func(domain string, s node.Service) node.Service
}

// An Account is one of the two, as its mail client has to know it.
type Account struct {
	Address  string `json:"address"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// A World is running.
type World struct {
	Network  *local.Network
	Daemon   *proxy.Daemon
	Accounts []Account // Alice, then Bob
	Spools   map[string]*server.Server

	cfg     Config
	stores  []*badgerstore.Store
	clients map[string]*builtin.Client
}

// Start starts a world. It returns when the listeners are up; Register waits for
// the network.
func Start(cfg Config) (*World, error) {
	w := &World{cfg: cfg, clients: map[string]*builtin.Client{}, Spools: map[string]*server.Server{}}
	if err := w.start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// StartNetwork starts a world without users: the network and the spools.
func StartNetwork(cfg Config) (*World, error) {
	w := &World{cfg: cfg, Spools: map[string]*server.Server{}}
	if err := w.startNetwork(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) startNetwork() error {
	policy := w.cfg.Policy
	if policy == nil {
		p := Policy(w.cfg.Parameters)
		policy = &p
	}
	var providers []local.Provider
	for _, domain := range Providers {
		st, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(w.cfg.Dir, domain), Logger: w.cfg.Logger})
		if err != nil {
			return err
		}
		w.stores = append(w.stores, st)
		s, err := server.New(server.Options{Store: st, Provider: domain, Limits: w.cfg.Limits, Policy: policy, Logger: w.cfg.Logger})
		if err != nil {
			return err
		}
		w.Spools[domain] = s
		p := local.Provider{Domain: domain, Spool: s, Notice: s.Notice}
		if w.cfg.Front != nil {
			p.Spool = w.cfg.Front(domain, s)
		}
		providers = append(providers, p)
	}
	var err error
	w.Network, err = local.Start(local.Config{
		Parameters: w.cfg.Parameters, Providers: providers, Logger: w.cfg.Logger, Tap: w.cfg.Tap,
	})
	return err
}

func (w *World) start() error {
	if err := w.startNetwork(); err != nil {
		return err
	}
	var err error
	gateways := w.Network.Document.WithRole(directory.RoleGateway)
	for i, address := range []string{Alice, Bob} {
		cfg := builtin.Config{Document: w.Network.Document, Gateway: gateways[i%len(gateways)].Name, Logger: w.cfg.Logger, Tap: w.cfg.Tap}
		if w.cfg.Slots != nil {
			cfg.Slots = func(s builtin.Slot) { w.cfg.Slots(address, s) }
		}
		if w.cfg.Client != nil {
			w.cfg.Client(address, &cfg)
		}
		w.clients[address], err = builtin.New(cfg)
		if err != nil {
			return err
		}
	}
	w.Daemon, err = proxy.Open(proxy.Options{
		Dir: filepath.Join(w.cfg.Dir, "user"), Listen: w.cfg.Listen,
		FreePorts: w.cfg.FreePorts, Taken: w.cfg.Taken, Receipts: w.cfg.Receipts,
		Network: func(account string) mixclient.Network {
			if c := w.clients[account]; c != nil {
				return c
			}
			return nil // not a nil *builtin.Client in an interface
		},
		Times: w.cfg.Times, AliasWait: w.cfg.AliasWait, Observe: w.cfg.Observe, Logger: w.cfg.Logger, Now: w.cfg.Now,
	})
	if err != nil {
		return err
	}
	return w.accounts()
}

// Client returns the engine of one of the two.
func (w *World) Client(address string) *builtin.Client { return w.clients[address] }

// Store returns what a provider keeps, for tests of what goes wrong there.
func (w *World) Store(domain string) *badgerstore.Store {
	return w.stores[slices.Index(Providers, domain)]
}

// accounts makes the two accounts, or finds their passwords in a directory that
// was used before.
func (w *World) accounts() error {
	file := filepath.Join(w.cfg.Dir, "accounts.json")
	b, err := os.ReadFile(file)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &w.Accounts); err != nil {
			return fmt.Errorf("read the demo's accounts in %s: %w; remove %s to begin anew", file, err, w.cfg.Dir)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the demo's accounts: %w", err)
	default:
		// The passwords first, so that an account never exists without one that is
		// known.
		for _, address := range []string{Alice, Bob} {
			w.Accounts = append(w.Accounts, Account{Address: address, Username: address, Password: proxy.NewPassword()})
		}
		if b, err = json.MarshalIndent(w.Accounts, "", "  "); err != nil {
			return err
		}
		if err := os.WriteFile(file+".new", b, 0o600); err != nil {
			return fmt.Errorf("write the demo's accounts: %w", err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			return fmt.Errorf("write the demo's accounts: %w", err)
		}
	}
	for _, a := range w.Accounts {
		_, err := w.Daemon.AddAccount(context.Background(), proxy.NewAccount{Address: a.Address, Password: a.Password})
		if err != nil && !errors.Is(err, proxy.ErrAccountExists) {
			return err
		}
	}
	return nil
}

// Register waits until both providers have their accounts, and tells done of
// each.
func (w *World) Register(ctx context.Context, done func(address string, took time.Duration)) error {
	start := time.Now()
	for _, a := range w.Accounts {
		if err := w.Daemon.WaitRegistered(ctx, a.Address); err != nil {
			return err
		}
		done(a.Address, time.Since(start))
	}
	return nil
}

// Close stops everything, the users first.
func (w *World) Close() error {
	var err error
	if w.Daemon != nil {
		err = w.Daemon.Close()
	}
	for _, c := range w.clients {
		err = errors.Join(err, c.Close())
	}
	if w.Network != nil {
		err = errors.Join(err, w.Network.Close())
	}
	for _, s := range w.Spools {
		err = errors.Join(err, s.Close())
	}
	for _, st := range w.stores {
		err = errors.Join(err, st.Close())
	}
	return err
}
