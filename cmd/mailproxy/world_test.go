package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mailproxy/internal/demo"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/spool"
)

// A sharedWorld is one running network with one daemon and its two accounts, for all
// scripts that need a daemon and change nothing of it that others see. It is made when
// the first of them asks.
type sharedWorld struct {
	dir  string
	fast bool // epochs of seconds
	once sync.Once
	err  error

	world  *demo.World
	config string // the daemon's
	stop   context.CancelFunc
	served chan error
}

// newSharedWorld returns a world that ends with the test, its subtests included.
func newSharedWorld(t *testing.T) *sharedWorld {
	s := &sharedWorld{dir: t.TempDir()}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("close the scripts' world: %v", err)
		}
	})
	return s
}

func (s *sharedWorld) start() error {
	const local = "127.0.0.1:0"
	parameters := directory.DefaultParameters()
	if s.fast {
		parameters = parameters.Scaled(8)
		parameters.Epoch = directory.Duration(120 * time.Duration(parameters.MixDelay)) // the shortest
	}
	w, err := demo.Start(demo.Config{
		Dir: s.dir, Parameters: parameters, Receipts: true,
		Listen: proxy.ListenConfig{SMTP: local, IMAP: local, POP3: local, SMTPS: local, IMAPS: local, POP3S: local},
	})
	if err != nil {
		return fmt.Errorf("start the scripts' world: %w", err)
	}
	s.world, s.served = w, make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.served <- w.Daemon.ServeControl(ctx) }()

	note := filepath.Join(s.dir, "network.note")
	if err := os.WriteFile(note, w.Network.Note, 0o600); err != nil {
		return err
	}
	at := func(protocol string) string { return w.Daemon.Address(protocol).String() }
	c := proxy.DefaultConfig()
	c.Dir, c.Network = filepath.Join(s.dir, "user"), networkConfig(note, w.Network)
	c.Listen = proxy.ListenConfig{
		SMTP: at("smtp"), IMAP: at("imap"), POP3: at("pop3"),
		SMTPS: at("smtps"), IMAPS: at("imaps"), POP3S: at("pop3s"),
	}
	s.config = filepath.Join(s.dir, "user.toml")
	if err := c.Write(s.config); err != nil {
		return err
	}
	registering, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := w.Register(registering, func(string, time.Duration) {}); err != nil {
		return err
	}
	for { // until it answers
		switch _, err := proxy.Control(c.Dir).Status(registering); {
		case err == nil:
			return nil
		case registering.Err() != nil:
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *sharedWorld) close() error {
	if s.world == nil {
		return nil
	}
	s.stop()
	return errors.Join(<-s.served, s.world.Close())
}

// command is "world": it starts the world unless it runs, and sets the script's
// variables CONFIG, ALICE, ALICE_PASSWORD, BOB, BOB_PASSWORD, SMTP, IMAP and CA.
func (s *sharedWorld) command(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "world")
	s.once.Do(func() { s.err = s.start() })
	ts.Check(s.err)
	ts.Setenv("CONFIG", s.config)
	ts.Setenv("ALICE", s.world.Accounts[0].Address)
	ts.Setenv("ALICE_PASSWORD", s.world.Accounts[0].Password)
	ts.Setenv("BOB", s.world.Accounts[1].Address)
	ts.Setenv("BOB_PASSWORD", s.world.Accounts[1].Password)
	ts.Setenv("SMTP", s.world.Daemon.Address("smtp").String())
	ts.Setenv("IMAP", s.world.Daemon.Address("imap").String())
	ts.Setenv("CA", s.world.Daemon.CAFile())
}

// alarmed is "alarmed": it starts a fast world, has bob's provider revoke his keys, and
// waits for the alarm, whose id it puts into ALARM.
func (s *sharedWorld) alarmed(ts *testscript.TestScript, neg bool, args []string) {
	s.fast = true
	s.command(ts, neg, args)
	alarms := func() []proxy.Alarm { return s.world.Daemon.Status().Alarms }
	// A log that his daemon has seen him in is what it can miss him from.
	wait(ts, "bob's own look-up", func() bool {
		return s.world.Spools["south.test"].Answers(spool.TypeLookup, spool.StatusOK) > 0
	})
	ts.Check(s.world.Store("south.test").Revoke(context.Background(), "bob", false, time.Now()))
	wait(ts, "an alarm", func() bool { return len(alarms()) > 0 })
	ts.Setenv("ALARM", alarms()[0].ID)
}
