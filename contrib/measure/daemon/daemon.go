// Package daemon is what programs share that measure a user's daemon from another
// process: a network apart from it, its configuration there, the daemon as "mailproxy
// run" has it, and its registration.
//
// It measures nothing by itself. The programs imap, idle and observer beside it import
// it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"mailproxy/internal/child"
	"mailproxy/internal/demo"
	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

// NetworkPart is the name by which a program gives RunNetwork to child.Main.
const NetworkPart = "network"

// A note is what the network's process says of its network.
type note struct {
	Document  []byte
	Keys      []string
	Threshold int
}

// RunNetwork runs the demo's network and its spools, with the default parameters and
// all state below dir, until the parent closes its end.
func RunNetwork(dir string) error {
	w, err := demo.StartNetwork(demo.Config{Dir: dir, Parameters: directory.DefaultParameters()})
	if err != nil {
		return err
	}
	if err = child.Say(note{w.Network.Note, w.Network.Trust.Keys, w.Network.Trust.Threshold}); err == nil {
		child.Wait()
	}
	return errors.Join(err, w.Close())
}

// StartNetwork starts a process with RunNetwork, and returns by what settings daemons
// find its network. All that it writes is below dir.
func StartNetwork(dir string) (*child.Process, proxy.NetworkConfig, error) {
	p, err := child.Start(NetworkPart, dir)
	if err != nil {
		return nil, proxy.NetworkConfig{}, err
	}
	var n note
	file := filepath.Join(dir, "network.note")
	if err = p.Read(&n); err == nil {
		err = os.WriteFile(file, n.Document, 0o644)
	}
	if err != nil {
		return nil, proxy.NetworkConfig{}, errors.Join(err, p.Stop())
	}
	return p, proxy.NetworkConfig{Document: file, Keys: n.Keys, Threshold: n.Threshold}, nil
}

// Files are a daemon's.
type Files struct {
	Config string // the configuration
	Data   string // the directory of its data, by which proxy.Control finds it
}

// Configure writes the configuration of a daemon, all of whose files are below dir. Its
// ports are any that are free; with plaintext they take passwords without TLS.
func Configure(dir string, network proxy.NetworkConfig, plaintext bool) (Files, error) {
	cfg := proxy.DefaultConfig()
	f := Files{Config: filepath.Join(dir, "mailproxy.toml"), Data: filepath.Join(dir, "data")}
	cfg.Dir, cfg.Network = f.Data, network
	cfg.Listen = proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: plaintext}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, fmt.Errorf("make a daemon's directory: %w", err)
	}
	return f, cfg.Write(f.Config)
}

// Run does what "mailproxy run" does with a configuration, until use returns. Its
// listeners are up when use is called.
func Run(config string, use func(*proxy.Daemon) error) (err error) {
	debug.SetGCPercent(proxy.GCPercent) // as cmd/mailproxy does
	cfg, err := proxy.LoadConfig(config)
	if err != nil {
		return err
	}
	msg, err := os.ReadFile(cfg.Network.Document)
	if err != nil {
		return fmt.Errorf("read network document: %w", err)
	}
	doc, err := directory.Open(msg, directory.Trust{Keys: cfg.Network.Keys, Threshold: cfg.Network.Threshold})
	if err != nil {
		return err
	}
	network, err := builtin.New(builtin.Config{Document: doc})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	d, err := proxy.Open(proxy.Options{
		Dir: cfg.Dir, Listen: cfg.Listen, Receipts: cfg.Mail.Receipts,
		Network: func(string) mixclient.Network { return network },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.ServeControl(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	return use(d)
}

// lookEvery is how often Register looks for a daemon that is starting.
const lookEvery = 50 * time.Millisecond

// Register adds an account to the daemon with the data directory, as soon as that
// answers, and waits until its provider has it.
func Register(ctx context.Context, data string, account proxy.NewAccount) (proxy.AddedAccount, error) {
	control := proxy.Control(data)
	for {
		_, err := control.Status(ctx)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return proxy.AddedAccount{}, fmt.Errorf("wait for the daemon of %s: %w", account.Address, err)
		case <-time.After(lookEvery):
		}
	}
	added, err := control.AddAccount(ctx, account)
	if err == nil && added.Problem != "" {
		err = errors.New(added.Problem)
	}
	if err != nil {
		return added, fmt.Errorf("register %s: %w", account.Address, err)
	}
	return added, nil
}
