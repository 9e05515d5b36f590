package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/internal/pause"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
	"mailproxy/proxy"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// A scenario is what the user of a client does while it is watched.
type scenario int

const (
	idle scenario = iota
	sends
	receives
	up
	down
	scenarios // their number
)

func (s scenario) String() string {
	return [...]string{"idle", "sends a mail a minute", "receives a mail a minute", "moves an attachment up", "moves an attachment down"}[s]
}

// short is for tables.
func (s scenario) short() string {
	return [...]string{"idle", "sends", "receives", "up", "down"}[s]
}

// A setting says how a round is run. Times are those of scale 1.
type setting struct {
	dir     string
	program string        // the daemon
	scale   float64       // by which all times are divided
	clients int           // for each scenario
	length  time.Duration // of the recording
	hold    time.Duration // for which services hold reads; zero: they answer at once
}

// scaled returns a time as it is on this machine's clock.
func (s *setting) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / s.scale)
}

func (s *setting) parameters() directory.Parameters {
	return directory.DefaultParameters().Scaled(s.scale)
}

// A recording is what a round has taken down of one client.
type recording struct {
	scenario   scenario
	number     int // among the clients of its scenario
	tape       *tape
	calm       time.Duration // when preparations were over, on the tape's clock
	start, end time.Duration // of the time that counts
	// What the client and its provider say of the same time.
	mail, lost              uint64 // packets sent for mail, and packets lost
	appended, reads, blocks int    // at its spool: blocks that came, reads, reads that brought one
}

// patience is longer than any preparation takes, but for a fault.
const patience = 20 * time.Minute

// A round is a network with its clients, which are new.
type round struct {
	*setting
	rec     *recorder
	network *local.Network
	spools  map[string]*watched // by domain
	daemons [scenarios][]*daemon
	closers []func() error // in the order to be called in
}

// run runs one round and returns what was recorded.
func (s *setting) run(ctx context.Context) (list []recording, err error) {
	dir, err := os.MkdirTemp(s.dir, "round-")
	if err != nil {
		return nil, err
	}
	r := &round{setting: s, rec: newRecorder(), spools: map[string]*watched{}}
	defer func() {
		for _, c := range r.closers {
			err = errors.Join(err, c())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if err := r.startNetwork(dir); err != nil {
		return nil, err
	}
	preparing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.startClients(preparing, dir); err != nil {
		return nil, err
	}
	if err := r.prepare(preparing); err != nil {
		return nil, err
	}
	return r.record(ctx)
}

// first has f called before all that was started up to now is stopped.
func (r *round) first(f func() error) {
	r.closers = append([]func() error{f}, r.closers...)
}

func (r *round) startNetwork(dir string) error {
	var providers []local.Provider
	for _, domain := range demo.Providers {
		store, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(dir, domain)})
		if err != nil {
			return err
		}
		r.first(store.Close)
		s, err := server.New(server.Options{Store: store, Provider: domain})
		if err != nil {
			return err
		}
		r.first(s.Close)
		r.spools[domain] = newWatched(s, r.scaled(r.hold))
		providers = append(providers, local.Provider{Domain: domain, Spool: r.spools[domain], Notice: s.Notice})
	}
	r.first(func() error { r.rec.close(); return nil })
	var err error
	r.network, err = local.Start(local.Config{
		Parameters: r.parameters(), Providers: providers, Sights: r.rec.sight, Front: r.rec.front,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	r.first(r.network.Close)
	r.rec.learn(r.network.Document)
	return os.WriteFile(filepath.Join(dir, "network.note"), r.network.Note, 0o644)
}

// startClients starts the daemons one after the other, so that it is known whose
// connection is whose, in a random order, and registers them all.
func (r *round) startClients(ctx context.Context, dir string) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // after all is registered
	order := rand.Perm(int(scenarios) * r.clients)
	note := proxy.NetworkConfig{
		Document: filepath.Join(dir, "network.note"), Keys: r.network.Trust.Keys, Threshold: r.network.Trust.Threshold,
	}
	for !r.rec.ready(r.network.Document) {
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the mixes to connect: %w", err)
		}
	}
	registered := make(chan error, len(order))
	begun := 0
	defer func() {
		if err != nil {
			cancel()
		}
		for range begun {
			err = errors.Join(err, <-registered)
		}
	}()
	for n, i := range order {
		address := fmt.Sprintf("user%d@%s", n, demo.Providers[rand.IntN(len(demo.Providers))])
		t := r.rec.begin()
		d, err := start(r.program, filepath.Join(dir, fmt.Sprint(n)), note, address)
		if err != nil {
			return err
		}
		r.first(d.stop)
		d.tape = t
		s := scenario(i % int(scenarios))
		r.daemons[s] = append(r.daemons[s], d)
		begun++
		go func() { registered <- d.register(ctx) }() // which makes even a silent client send
		for !r.rec.known(t) {
			if err := pause.For(ctx, 10*time.Millisecond); err != nil {
				return fmt.Errorf("wait for the packets of a new client: %w", err)
			}
		}
	}
	return nil
}

// each calls f for all clients at once.
func (r *round) each(f func(s scenario, i int, d *daemon) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, int(scenarios)*r.clients)
	for s, list := range r.daemons {
		for i, d := range list {
			wg.Go(func() { errs <- f(scenario(s), i, d) })
		}
	}
	wg.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// usage returns what became of a client's spool up to now.
func (r *round) usage(d *daemon) use {
	var sum use
	for _, w := range r.spools {
		if u := w.usage(d.address); u.address != "" {
			sum = u
		}
	}
	return sum
}

// record lets the scenarios go on for the length of the recording.
func (r *round) record(ctx context.Context) ([]recording, error) {
	list := make([]recording, int(scenarios)*r.clients)
	of := func(s scenario, i int) *recording { return &list[int(s)*r.clients+i] }
	err := r.each(func(s scenario, i int, d *daemon) error {
		n, err := d.status(ctx)
		u := r.usage(d)
		*of(s, i) = recording{
			scenario: s, number: i, tape: d.tape,
			mail: n.SlotsMail, lost: n.Lost, appended: u.appended, reads: u.reads, blocks: u.brought,
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	machine := make(chan *strain, 1)
	go func() { machine <- watchMachine(watching) }()
	start := time.Since(r.rec.began)
	err = r.mails(ctx)
	end := time.Since(r.rec.began)
	stop()
	strain := <-machine
	if err != nil {
		return nil, err
	}
	var after int64
	for _, n := range r.network.Nodes() {
		after = max(after, n.Counters.AnswerAfter.Load())
	}
	fmt.Printf("%v; services answered after %v\n", strain, time.Duration(after))
	err = r.each(func(s scenario, i int, d *daemon) error {
		n, err := d.status(ctx)
		u := r.usage(d)
		rec := of(s, i)
		rec.calm, rec.start, rec.end = start-r.scaled(settle), start, end
		rec.mail, rec.lost = n.SlotsMail-rec.mail, n.Lost-rec.lost
		rec.appended, rec.reads, rec.blocks = u.appended-rec.appended, u.reads-rec.reads, u.brought-rec.blocks
		return err
	})
	return list, errors.Join(err, r.rec.err())
}
