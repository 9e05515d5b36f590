package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/proxy/mailbox"
)

// networkReady is the line that the network's process prints.
type networkReady struct {
	Note      []byte
	Keys      []string
	Threshold int
}

// runNetwork runs the network and the spools.
func runNetwork(dir string) error {
	w, err := demo.StartNetwork(demo.Config{Dir: dir, Parameters: directory.DefaultParameters()})
	if err != nil {
		return err
	}
	err = say(networkReady{w.Network.Note, w.Network.Trust.Keys, w.Network.Trust.Threshold})
	if err == nil {
		untilEnd(func(string) error { return nil })
	}
	return errors.Join(err, w.Close())
}

// untilEnd answers the parent's lines until it closes its end.
func untilEnd(do func(line string) error) {
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
		answer := ""
		if err := do(asked.Text()); err != nil {
			answer = err.Error()
		}
		if say(answer) != nil {
			return // the parent is gone
		}
	}
}

// runDaemon does what "mailproxy run" does with the configuration in file. It says
// where its IMAP listener is, and fills a folder when asked to.
func runDaemon(file string) (err error) {
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
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.ServeControl(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	if err := say(d.Address("imap").String()); err != nil {
		return err
	}
	untilEnd(func(line string) error {
		words := strings.Fields(line)
		if len(words) != 3 || words[0] != "fill" {
			return errors.New("no such request")
		}
		n, nErr := strconv.Atoi(words[1])
		size, sizeErr := strconv.Atoi(words[2])
		if err := errors.Join(nErr, sizeErr); err != nil {
			return err
		}
		return fill(d, n, size)
	})
	return nil
}

// fill puts n messages into the inbox, nearly all of them read.
func fill(d *proxy.Daemon, n, size int) error {
	box, err := d.Mailbox(demo.Alice)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < n; {
		var list []mailbox.Delivery
		for ; len(list) < 256 && i < n; i++ {
			m := mailbox.Delivery{Raw: makeMail(r, i, size), Date: time.Now().Add(time.Duration(i-n) * time.Minute)}
			if i%unreadEvery != 0 {
				m.Flags = []string{mailbox.FlagSeen}
			}
			list = append(list, m)
		}
		if _, err := box.DeliverAll(mailbox.Inbox, list); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}

// register adds the account to the daemon with the data directory dir, and waits
// until its provider has it.
func register(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	control := proxy.Control(dir)
	for {
		if _, err := control.Status(ctx); err == nil {
			break
		} else if sleepErr := sleep(ctx, 50*time.Millisecond); sleepErr != nil {
			return fmt.Errorf("wait for the daemon: %w", err)
		}
	}
	added, err := control.AddAccount(ctx, proxy.NewAccount{Address: demo.Alice, Password: password})
	if err == nil && added.Problem != "" {
		err = errors.New(added.Problem)
	}
	return err
}

// setUp writes the configuration of a daemon below dir, in the network that net
// describes, and returns its file.
func setUp(dir string, cfg proxy.Config, net networkReady) (string, error) {
	cfg.Network = proxy.NetworkConfig{Document: "network.note", Keys: net.Keys, Threshold: net.Threshold}
	cfg.Listen = proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true}
	file := dir + "/mailproxy.toml"
	return file, errors.Join(os.WriteFile(dir+"/network.note", net.Note, 0o644), cfg.Write(file))
}

// say prints a line for the parent.
func say(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }
