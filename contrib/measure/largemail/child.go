//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"mailproxy/internal/child"
	"mailproxy/mixclient"
	"mailproxy/mixclient/memory"
	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
	"mailproxy/spool"
)

// daemonPart is the part of the process that is measured.
const daemonPart = "daemon"

const (
	provider = "north.test"
	alice    = "alice@" + provider
	bob      = "bob@" + provider
	password = "four words of a password"
)

// A childConfig says how the daemon is to run.
type childConfig struct {
	Dir   string        `json:"dir"`
	Spool string        `json:"spool"` // the socket at which the spool answers
	Slot  time.Duration `json:"slot"`
}

// ready is the line that the child prints once both accounts are registered.
type ready struct {
	SMTP   string `json:"smtp"`
	IMAP   string `json:"imap"`
	POP3   string `json:"pop3"`
	CAFile string `json:"ca_file"`
}

// run runs the daemon until the parent closes its end.
func (c childConfig) run() (err error) {
	debug.SetGCPercent(proxy.GCPercent) // as cmd/mailproxy does
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	spoolService := mixclient.Service{Kind: mixclient.KindSpool, Provider: provider, Node: "spool"}
	networks := map[string]*memory.Network{}
	for _, account := range []string{alice, bob} {
		n := memory.New(memory.Config{
			Services: map[mixclient.Service]memory.Handler{spoolService: newRemote(c.Spool)},
			// What the default parameters leave for a request and for a reply.
			Limits: mixclient.Limits{Request: spool.BlockSize + 320, Reply: spool.BlockSize + 320},
			Slot:   c.Slot, Latency: 10 * c.Slot, Pad: true,
		})
		networks[account] = n
		defer func() { err = errors.Join(err, n.Close()) }()
	}
	times := outbox.DefaultTimes()
	times.RetryFirst, times.RetryMost = time.Second, 4*time.Second
	times.Receipt = time.Second
	d, err := proxy.Open(proxy.Options{
		Dir: c.Dir, Times: times, Receipts: true,
		Listen:  proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0"},
		Network: func(account string) mixclient.Network { return networks[account] },
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for _, account := range []string{alice, bob} {
		if _, err := d.AddAccount(ctx, proxy.NewAccount{Address: account, Password: password}); err != nil {
			return err
		}
	}
	for _, account := range []string{alice, bob} {
		if err := d.WaitRegistered(ctx, account); err != nil {
			return err
		}
	}
	served := make(chan error, 1)
	go func() { served <- d.ServeControl(ctx) }()
	err = child.Say(ready{
		SMTP: d.Address("smtp").String(), IMAP: d.Address("imap").String(), POP3: d.Address("pop3").String(), CAFile: d.CAFile(),
	})
	if err == nil {
		child.Wait()
	}
	stop()
	return errors.Join(err, <-served)
}

// A remote is a service in another process.
type remote struct{ client *http.Client }

func newRemote(socket string) *remote {
	return &remote{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64, DisableCompression: true,
	}}}
}

// Answer implements memory.Handler. The other process ends after this one: a
// question that finds no answer is of the last moment.
func (r *remote) Answer(ctx context.Context, request []byte) []byte {
	reply, err := r.ask(ctx, request)
	if err != nil && ctx.Err() == nil {
		slog.Error("the spool does not answer", "err", err)
	}
	return reply
}

func (r *remote) ask(ctx context.Context, request []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://spool/", bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	reply, err := io.ReadAll(res.Body)
	return reply, errors.Join(err, res.Body.Close())
}
