package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"

	"mailproxy/internal/demo"
	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

// partEnv names, in a child's environment, the part that it is to play.
const (
	partEnv     = "MAILPROXY_IDLE_PART"
	networkPart = "network"
	userPart    = "user"
)

// networkReady is the line that the network's process prints.
type networkReady struct {
	Note      []byte
	Keys      []string
	Threshold int
}

// runPart plays a part until it is interrupted.
func runPart(part string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		return fmt.Errorf("%d arguments, want 1", len(os.Args)-1)
	}
	switch part {
	case networkPart:
		return runNetwork(ctx, os.Args[1])
	case userPart:
		return runUser(ctx, os.Args[1])
	}
	return errors.New("there is no such part")
}

func runNetwork(ctx context.Context, dir string) error {
	w, err := demo.StartNetwork(demo.Config{Dir: dir, Parameters: directory.DefaultParameters()})
	if err != nil {
		return err
	}
	err = json.NewEncoder(os.Stdout).Encode(networkReady{w.Network.Note, w.Network.Trust.Keys, w.Network.Trust.Threshold})
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, w.Close())
}

// runUser does what "mailproxy run" does with the configuration in file.
func runUser(ctx context.Context, file string) (err error) {
	debug.SetGCPercent(proxy.GCPercent) // as cmd/mailproxy does
	cfg, err := proxy.LoadConfig(file)
	if err != nil {
		return err
	}
	msg, err := os.ReadFile(cfg.Network.Document)
	if err != nil {
		return err
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
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // until the parent closes its end, which it does first
		for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
			printProfile(os.Stdout)
			fmt.Println()
		}
	})
	return d.ServeControl(ctx)
}
