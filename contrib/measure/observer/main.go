// Observer measures whether what a client's link shows, or what its gateway sees,
// depends on mail.
//
//	go run ./contrib/measure/observer
//	go run ./contrib/measure/observer -scale 1 -clients 8 -rounds 3 -length 20m -broken=false
//
// It takes part in no product: the clients are processes of "mailproxy run", which it
// builds, each with an account; the network and the spools run in this process, over
// TCP on loopback. Between the clients and their gateways stands a relay that takes
// down each TLS record, its time and its size. The gateways tell what they know of
// their clients' packets: when each came, and to or from which mix.
//
// A client is idle, sends a mail a minute, receives one a minute, moves an attachment
// up, or moves one down; mail goes in by SMTP. Each round has new processes, new
// accounts and a new network, and all scenarios at once. What happens before the
// recording (registration, first mails, the beginning of the attachments) does not
// count. The recordings are cut into windows. On their features, all scenarios are
// compared with each other: by the test of Kolmogorov and Smirnov on each feature,
// and by classifiers of scikit-learn that learn from some clients and are tried on
// others. The idle clients are also compared among themselves, as a control. Then
// come two worlds that are broken on purpose, and must be told from sound ones: in
// one the clients send no cover traffic, in the other services hold reads until mail
// comes.
//
// Times given and printed are those of scale 1: with -scale 10, all delays, rates,
// epochs, mails and windows are ten times as fast. docs/observer.md says what was
// found, and what this does not show.
//
// ks_min_p_holm is the least p-value, corrected for all pairs and features; auc_max
// the largest area under the ROC curve, auc_upper95 the largest upper bound of a 95 %
// interval; auc_control is that of the control which is farthest from 0.5;
// auc_cover_off and auc_held_reads are the largest in the broken worlds. It ends with
// an error if one of them is not as it must be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	setting
	rounds int
	window time.Duration
	broken bool
	smoke  bool
	python string
	csv    string
}

func main() {
	var o options
	flag.Float64Var(&o.scale, "scale", 10, "by which all times are divided")
	flag.IntVar(&o.clients, "clients", 4, "clients of each scenario in a round; an even number, 4 at least")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds, each with new clients")
	flag.DurationVar(&o.length, "length", 75*time.Minute, "length of a round's recording, at scale 1")
	flag.DurationVar(&o.window, "window", 20*time.Second, "length of a window, at scale 1")
	flag.BoolVar(&o.broken, "broken", true, "try the two broken worlds too")
	flag.BoolVar(&o.smoke, "smoke", false, "only see that all works: one short round of each, and no demands")
	flag.StringVar(&o.python, "python", "", "a Python that has scikit-learn; python3 or /usr/bin/python3 if not given")
	flag.StringVar(&o.csv, "csv", "", "write the windows' features to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "observer:", err)
		os.Exit(1)
	}
}

// What must hold.
const (
	leastP     = 0.01
	mostUpper  = 0.55
	leastCatch = 0.9
)

// broken is how a round is in a broken world, which shows much sooner.
const (
	brokenLength = 15 * time.Minute
	brokenHold   = 8 * time.Second // a reply later than this counts as lost
)

func run(ctx context.Context, o *options) (err error) {
	if o.smoke {
		o.rounds, o.length = 1, 4*time.Minute
	}
	if o.clients < 4 || o.clients%2 != 0 || o.rounds < 1 || o.scale < 1 || o.window <= 0 || o.length < o.window {
		return errors.New("-clients is an even number, 4 at least; -rounds and -scale are 1 at least, and -length holds a -window")
	}
	candidates := []string{"python3", "/usr/bin/python3"}
	if o.python != "" {
		candidates = []string{o.python}
	}
	if o.python, err = python(ctx, candidates...); err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp("", "mailproxy-observer-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	if o.program, err = build(ctx, o.dir, "mailproxy"); err != nil {
		return err
	}
	var f findings
	if err := o.sound(ctx, &f); err != nil {
		return err
	}
	if o.broken {
		if err := o.brokenWorlds(ctx, &f); err != nil {
			return err
		}
	}
	fmt.Printf("\nks_min_p_holm=%.4f auc_max=%.3f auc_upper95=%.3f auc_control=%.3f", f.ks, f.auc, f.upper, f.control)
	if o.broken {
		fmt.Printf(" auc_cover_off=%.3f auc_held_reads=%.3f", f.coverOff, f.heldReads)
	}
	fmt.Println()
	if o.smoke {
		return nil
	}
	return f.judge(o.broken)
}

// findings are what the last line says.
type findings struct {
	ks, auc, upper, control float64
	clean                   bool // the control
	coverOff, heldReads     float64
}

func (f *findings) judge(broken bool) error {
	var err error
	demand := func(ok bool, what string) {
		if !ok {
			err = errors.Join(err, errors.New(what))
		}
	}
	demand(f.ks > leastP, "a feature differs between scenarios")
	demand(f.upper <= mostUpper, "a classifier may tell scenarios apart, or there are too few windows to say that it cannot")
	demand(f.clean, "idle clients differ from idle clients: the measurement is not sound")
	if broken {
		demand(f.coverOff > leastCatch, "clients without cover traffic were not caught")
		demand(f.heldReads > leastCatch, "services that hold reads were not caught")
	}
	return err
}

// sound observes the world as it is.
func (o *options) sound(ctx context.Context, f *findings) error {
	begin := time.Now()
	windows, err := o.observe(ctx, &o.setting, o.rounds)
	if err != nil {
		return err
	}
	if o.csv != "" {
		if err := write(o.csv, windows); err != nil {
			return err
		}
	}
	held := count(windows)
	r, where := memory(windows)
	fmt.Printf("the largest correlation of a window with its client's next one is %.3f (%s)\n", r, where)
	list := pairs()
	ks := differences(windows, list)
	controlKS := compare(windows, pair{idle, idle}, idleHalf(0), idleHalf(1))
	correct(controlKS)
	of, control, err := successes(ctx, o.python, windows, list)
	if err != nil {
		return err
	}
	print(list, ks, of)
	printControl(controlKS, control)
	least := smallest(ks)
	auc, high := best(of)
	worst, clean := farthest(control)
	fmt.Printf("\nscale %g, %d held-out windows at least of %v each, %d tests; %v\n", o.scale, held, o.window, len(ks), time.Since(begin).Round(time.Second))
	fmt.Printf("least p: %v; largest AUC: %v; largest upper bound: %v\n", least, auc, high)
	f.ks, f.auc, f.upper, f.control, f.clean = least.holm, auc.auc, high.high, worst.auc, clean
	return nil
}

// brokenWorlds observes what is broken on purpose.
func (o *options) brokenWorlds(ctx context.Context, f *findings) error {
	silent, err := build(ctx, o.dir, "mailproxy-silent", "observer_cover_off")
	if err != nil {
		return err
	}
	for _, b := range []struct {
		name    string
		program string
		hold    time.Duration
		auc     *float64
	}{
		{"clients send no cover traffic", silent, 0, &f.coverOff},
		{"services hold reads until mail comes", o.program, brokenHold, &f.heldReads},
	} {
		fmt.Printf("\nbroken on purpose: %s\n", b.name)
		s := o.setting
		s.program, s.hold, s.length = b.program, b.hold, min(o.length, brokenLength)
		windows, err := o.observe(ctx, &s, 1)
		if err != nil {
			return err
		}
		count(windows)
		list := pairs()
		of, _, err := successes(ctx, o.python, windows, list)
		if err != nil {
			return err
		}
		print(list, nil, of)
		caught, _ := best(of)
		*b.auc = caught.auc
	}
	return nil
}

// observe runs rounds and returns their windows.
func (o *options) observe(ctx context.Context, s *setting, rounds int) (windows []window, err error) {
	var all []recording
	for round := range rounds {
		begin := time.Now()
		list, err := s.run(ctx)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", round+1, err)
		}
		fmt.Printf("round %d of %d took %v\n", round+1, rounds, time.Since(begin).Round(time.Second))
		for i := range list {
			w := window{scenario: list[i].scenario, client: len(all) + i}
			w.train, w.half = trains(round, list[i].number)
			for _, w.features = range cut(&list[i], s.scaled(o.window), s.scale) {
				windows = append(windows, w)
			}
		}
		all = append(all, list...)
	}
	evidence(s, all)
	return windows, nil
}
