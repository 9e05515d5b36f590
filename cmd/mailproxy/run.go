package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mailproxy/internal/command"
	"mailproxy/internal/durable"
	"mailproxy/internal/netdoc"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/proxy/storekey"
)

type configFlag struct {
	Config string `help:"Configuration file; without it, that of \"mailproxy join\"." type:"path" short:"c" placeholder:"FILE"`
}

// AfterApply names the file where none was named.
func (f *configFlag) AfterApply() (err error) {
	if f.Config == "" {
		f.Config, err = proxy.DefaultConfigFile()
	}
	return err
}

type runCmd struct{ configFlag }

// Run runs the daemon until ctx ends.
func (r *runCmd) Run(ctx context.Context, c *cli) (err error) {
	cfg, err := proxy.LoadConfig(r.Config)
	if err != nil {
		return err
	}
	doc, err := loadNetwork(cfg)
	if err != nil {
		return err
	}
	log := c.Logger()
	if err := cutLog(cfg.Dir); err != nil {
		log.Warn("mailproxy: the log grows on", "err", err)
	}
	// Before anything is offered or sent: it may have to wait for a passphrase.
	key, err := storekey.Open(cfg.Dir, keySources(ctx))
	if err != nil {
		return keyStatus(err)
	}
	gateway, err := keptGateway(cfg, doc)
	if err != nil {
		return err
	}
	earlier, err := copies(cfg).Earlier(doc)
	if err != nil {
		log.Warn("mailproxy: without the earlier network document it may take an epoch until it is online", "err", err)
	}
	open, err := cfg.Network.Dialer()
	if err != nil {
		return err
	}
	network, err := builtin.New(builtin.Config{Document: doc, Earlier: earlier, Gateway: gateway, Open: open, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	d, err := proxy.Open(proxy.Options{
		Dir: cfg.Dir, StoreKey: key, Listen: cfg.Listen, Receipts: cfg.Mail.Receipts, Logger: log,
		KeepAutocrypt: cfg.Mail.Autocrypt,
		Network:       func(string) mixclient.Network { return network },
		Checks:        pageChecks(r.Config),

		Autoconfig: autoconfigCommand(r.Config),
	})
	if errors.Is(err, store.ErrLocked) {
		return runsAlready(ctx, cfg, err)
	}
	if errors.Is(err, proxy.ErrMoved) {
		return keyError{err, exitMoved}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := keepDocument(cfg); err != nil {
		return err
	}
	hup, ignore := command.Reloads()
	defer ignore()
	fmt.Printf("mailproxy is running.\n\n")
	fmt.Printf("  SMTP %s, IMAP %s, POP3 %s\n", d.Address("smtp"), d.Address("imap"), d.Address("pop3"))
	for _, name := range []string{"smtps", "imaps", "pop3s"} {
		if a := d.Address(name); a != nil {
			fmt.Printf("  %s with TLS from the start %s\n", strings.ToUpper(strings.TrimSuffix(name, "s")), a)
		}
	}
	fmt.Printf("  certificate of these: %s\n", d.CAFile())
	if a := d.Address("web"); a != nil {
		fmt.Printf("  status page on %s: mailproxy page --config %s\n", a, r.Config)
	}
	fmt.Printf("  network %q through %s; cover traffic takes %s, mail or no mail\n\n",
		doc.Network, network.Gateway(), costs(network.Status()))
	if len(d.Status().Accounts) == 0 {
		fmt.Printf("There is no account yet. If you are about to join by an invitation, type the same words once more, in another terminal;\nelse, with the code of an invitation where the provider wants one:\n\n  mailproxy account add NAME@PROVIDER --config %s\n\nProviders of this network: %s\n\n",
			r.Config, strings.Join(providers(doc), ", "))
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for e := range network.Events() {
			if e.Connected {
				fmt.Println("connected to the network")
			} else {
				fmt.Println("offline:", e.Reason)
			}
			if ctx.Err() != nil {
				return
			}
		}
	})
	reloading, stop := context.WithCancel(ctx)
	defer stop() // before the wait
	renewed := make(chan struct{}, 1)
	wg.Go(func() { reload(reloading, hup, renewed, r.Config, network, log) })
	if cfg.Network.URL != "" {
		wg.Go(func() { renewal{cfg: cfg, log: log}.run(reloading, renewed) })
	}
	control := d.ServeControl(ctx)
	// Events ends with the network, which is closed before the wait.
	return errors.Join(control, network.Close())
}

// runsAlready says what to do about a daemon that has the directory.
func runsAlready(ctx context.Context, cfg proxy.Config, locked error) error {
	st, err := proxy.Control(cfg.Dir).Status(ctx)
	if err != nil {
		return fmt.Errorf("%w, and it answers nothing: it is starting or stopping, so try again; or another command works on the mail", locked)
	}
	if differ := otherListeners(cfg.Listen.Ports(), st.Listen); len(differ) > 0 {
		return fmt.Errorf("%w, and it goes by the settings that it was started with; for %s the configuration says something else now: "+
			"stop it, and start it again", locked, strings.Join(differ, ", "))
	}
	return fmt.Errorf("%w; \"mailproxy status\" says how it is", locked)
}

// otherListeners returns the settings by which a daemon would listen elsewhere than one
// does that runs.
func otherListeners(config, running map[string]string) (differ []string) {
	for _, name := range slices.Sorted(maps.Keys(config)) {
		if at := config[name]; at != running[name] && !strings.HasSuffix(at, ":0") {
			differ = append(differ, "listen."+name)
		}
	}
	return differ
}

// copies are of the network documents that this daemon has used.
func copies(cfg proxy.Config) netdoc.Copies {
	return netdoc.Copies{Dir: cfg.Dir, Trust: directory.Trust{Keys: cfg.Network.Keys, Threshold: cfg.Network.Threshold}}
}

// keepDocument keeps a copy of the document in use, for the next start.
func keepDocument(cfg proxy.Config) error {
	note, err := os.ReadFile(cfg.Network.Document)
	if err != nil {
		return fmt.Errorf("read network document: %w", err)
	}
	return copies(cfg).Keep(note)
}

// reload takes up a new network document on each SIGHUP, and when one was fetched,
// until ctx ends.
func reload(ctx context.Context, hup <-chan os.Signal, renewed <-chan struct{}, config string, network *builtin.Client, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		case <-renewed:
		}
		cfg, err := proxy.LoadConfig(config)
		var doc *directory.Document
		if err == nil {
			doc, err = loadNetwork(cfg)
		}
		changed := false
		if err == nil {
			changed, err = network.Reload(doc)
		}
		if changed {
			err = keepDocument(cfg)
		}
		switch {
		case err != nil:
			log.Error("mailproxy: the network document is not taken up, and the one in use stays", "err", err)
		case changed:
			fmt.Printf("the network document of %s is taken up\n", doc.Made.UTC().Format(time.DateTime))
		default:
			fmt.Printf("the network document of %s is in use already\n", doc.Made.UTC().Format(time.DateTime))
		}
	}
}

func providers(d *directory.Document) []string {
	var names []string
	for _, n := range d.Offering(mixclient.KindSpool) {
		names = append(names, n.Provider)
	}
	return names
}

// clockTold is from which difference of clocks on, in seconds, status tells of it.
const clockTold = 20

// costs says in plain words what the cover traffic takes.
func costs(s mixclient.Status) string {
	return fmt.Sprintf("%.1f GB a day each way", float64(s.BytesPerDay)/1e9)
}

// loadNetwork reads and checks the network document that cfg names.
func loadNetwork(cfg proxy.Config) (*directory.Document, error) {
	msg, err := os.ReadFile(cfg.Network.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read network document: %w; join once more with your invitation, which gets it again, or ask your provider for it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read network document: %w", err)
	}
	doc, err := directory.Open(msg, directory.Trust{Keys: cfg.Network.Keys, Threshold: cfg.Network.Threshold})
	switch {
	case errors.Is(err, directory.ErrUntrusted) || errors.Is(err, directory.ErrDocument):
		return nil, fmt.Errorf("network document %s: %w; ask your provider for the current one", cfg.Network.Document, err)
	case err != nil: // the document is not to blame
		return nil, fmt.Errorf("%w; correct network.keys and network.threshold in the configuration", err)
	}
	return doc, nil
}

// keptGateway returns the gateway that the configuration names, or the one that
// was chosen at an earlier start and is still there, or chooses one and keeps it:
// a client that changes its gateway often shows itself to more of them.
func keptGateway(cfg proxy.Config, d *directory.Document) (string, error) {
	if cfg.Network.Gateway != "" {
		return cfg.Network.Gateway, nil
	}
	file := filepath.Join(cfg.Dir, gatewayFile)
	kept, err := os.ReadFile(file)
	switch {
	case err == nil:
		if _, err := d.Named(string(kept), directory.RoleGateway); err == nil {
			return string(kept), nil
		}
	case !errors.Is(err, fs.ErrNotExist): // a choice that is only out of reach is not made anew
		return "", fmt.Errorf("read which gateway was chosen: %w", err)
	}
	name := builtin.ChooseGateway(d)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return "", fmt.Errorf("make data directory: %w", err)
	}
	if err := durable.WriteFile(file, []byte(name), 0o600); err != nil {
		return "", fmt.Errorf("keep gateway: %w", err)
	}
	return name, nil
}

type statusCmd struct {
	configFlag
	command.JSONFlag
}

func (s *statusCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(s.Config)
	if err != nil {
		return err
	}
	st, err := proxy.Control(cfg.Dir).Status(ctx)
	if err != nil {
		return err
	}
	if s.JSON {
		return printJSON(st)
	}
	if h := st.Headline; h != nil {
		fmt.Println(h.Text)
		for _, more := range h.More {
			fmt.Println(more)
		}
		fmt.Println()
	}
	fmt.Printf("SMTP %s, IMAP %s, POP3 %s\n", st.Listen["smtp"], st.Listen["imap"], st.Listen["pop3"])
	fmt.Printf("outbox: %d on the way, %d at recipients' providers and not confirmed yet\n", st.Waiting, st.Receipts)
	printSending(st.Sending)
	for _, p := range st.Paying {
		fmt.Printf("  to %s, a new recipient: paying with computing time, %d of %d blocks\n", p.Recipient, p.Paid, p.Blocks)
	}
	printAlarms(st.Alarms)
	for _, a := range st.Accounts {
		n := a.Network
		fmt.Printf("\n%s %s%s\n", a.Address, accountState(a), aliasNote(a))
		if a.Ending == proxy.Deleted.String() {
			continue
		}
		if a.Held > 0 {
			fmt.Printf("  held: %s; their sender's key changed, or its provider's log does not hold it (mailproxy contact list)\n", mails(a.Held))
		}
		if a.Blocked > 0 {
			fmt.Printf("  dropped since the start, from contacts that you have blocked: %s\n", mails(int(a.Blocked)))
		}
		if a.Incomplete > 0 {
			fmt.Printf("  arriving: %s\n", mails(a.Incomplete))
			printArriving(a.Arriving)
		}
		if a.SharesWith != "" {
			fmt.Printf("  over the same connection as %s, at no further cost\n", a.SharesWith)
			continue
		}
		if n.Connected {
			fmt.Printf("  connected; %.1f packets a second, %.1f GB a day each way, mail or no mail\n", n.PerSecond, float64(n.BytesPerDay)/1e9)
		} else {
			fmt.Printf("  offline: %s\n", n.Reason)
		}
		if off := n.ClockOffset; off > clockTold || off < -clockTold {
			fmt.Printf("  this computer's clock is %s; set it right\n", clockWords(off))
		}
		fmt.Printf("  sent so far: %d for mail, %d reads, %d cover; %s\n", n.SlotsMail, n.SlotsRead, n.SlotsCover, lostWords(n))
		if n.Interrupted > 0 {
			fmt.Printf("  %d more had no answer in time, since this computer slept, or the connection ended or stood still\n", n.Interrupted)
		}
		if n.LoopsSent > 0 {
			fmt.Printf("  loops that measure loss: %d sent, %d back\n", n.LoopsSent, n.LoopsBack)
			if n.LoopAlarm {
				fmt.Printf("  WARNING: %.0f %% of the last ones were lost: %s\n", 100*n.LoopsLost, lossReason(n.ClockOffset))
			}
		}
	}
	return nil
}

// lostWords says how many of the packets so far got lost.
func lostWords(n proxy.NetworkStatus) string {
	all := n.SlotsMail + n.SlotsRead + n.SlotsCover
	if n.Lost == 0 || all == 0 {
		return "none got lost"
	}
	return fmt.Sprintf("%d of these %d (%.1f %%) got lost", n.Lost, all, 100*float64(n.Lost)/float64(all))
}

// clockWords says how many seconds the network's clock is ahead of ours.
func clockWords(off float64) string {
	if off < 0 {
		return fmt.Sprintf("%.0f s ahead of the network's", -off)
	}
	return fmt.Sprintf("%.0f s behind the network's", off)
}

// lossReason says why many loops may be lost. With a clock that is off by some
// minutes, what is sent near the end of each epoch is under keys of another hour.
func lossReason(off float64) string {
	if off > clockTold || off < -clockTold {
		return "this computer's clock is " + clockWords(off)
	}
	return "a node is broken, or packets are dropped on purpose"
}

func printJSON(v any) error { return command.PrintJSON(os.Stdout, v) }
