//go:build linux

// Spoolload measures what a provider's spool bears: the store under load, and the
// whole way of a request through its service node.
//
//	go run ./contrib/measure/spoolload
//
// Its parts, which -parts chooses from, work on one store unless said otherwise:
//
//	fill     makes -spools names with their spools, and -gib of blocks in them
//	empty    reads of empty spools, with the trim that each has, as fast as -cores
//	         cores can
//	mixed    for -mixed, -empty-rate such reads a second, and beside them -rate
//	         appends a second, each with the read that brings the block and the
//	         next, which trims it; none waits for another. Latency counts from when
//	         it was due. Memory is the largest resident size of the process
//	         meanwhile, with the store opened anew before. Beside it a file is
//	         written and synced some forty times a second, which tells when the disk
//	         was slow, and before it for 10 s alone. calm_append_* are of those
//	         appends that none of these writes over 20 ms can have held up
//	appends  for -appends, synced appends of 64 clients, one after the other each
//	churn    -churn appends and as many trims in a store of its own, with about
//	         -churn-live MiB in it; then how much disk it takes, by itself, and the
//	         most meanwhile
//	start    fills up to -start-gib and opens the store, so that it answers
//	verify   checks that store
//	path     on one core: Sphinx packets unwrapped, against unwrapped, answered as
//	         reads of an empty spool, and the reply put on its SURB; and how many
//	         users that is, with 0.8 reads and 0.7 queries of others kinds each in
//	         a second (docs/parameters.md), at 80 % of what is possible. Counted by
//	         the time on the processor
//
// Short runs have smaller numbers: -spools 2000 -gib 0.1 -start-gib 0.2 -churn
// 20000 -mixed 10s. The last line has all figures as key=value.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"mailproxy/spool"
)

// A config says what to measure.
type config struct {
	dir               string
	parts             []string
	spools, cores     int
	gib, startGiB     float64
	empty, mixed      time.Duration
	emptyRate, rate   int
	appends           time.Duration
	clients           int
	churn, churnLive  int
	path              time.Duration
	plain             bool
	blocks, allBlocks int // of gib and startGiB
}

var allParts = []string{"fill", "empty", "mixed", "appends", "churn", "start", "verify", "path"}

func main() {
	var c config
	flag.StringVar(&c.dir, "dir", "", "directory for the stores, removed in the end; default: a temporary one")
	parts := flag.String("parts", strings.Join(allParts, ","), "what to measure")
	flag.IntVar(&c.spools, "spools", 200_000, "names with a spool")
	flag.IntVar(&c.cores, "cores", runtime.NumCPU(), "cores to use")
	flag.Float64Var(&c.gib, "gib", 2, "GiB of blocks in them")
	flag.Float64Var(&c.startGiB, "start-gib", 5, "GiB of blocks for the parts start and verify")
	flag.DurationVar(&c.empty, "empty", 10*time.Second, "length of the part empty")
	flag.DurationVar(&c.mixed, "mixed", 2*time.Minute, "length of the part mixed")
	flag.IntVar(&c.emptyRate, "empty-rate", 20_000, "reads of empty spools per second in the part mixed")
	flag.IntVar(&c.rate, "rate", 100, "appends per second in the part mixed")
	flag.DurationVar(&c.appends, "appends", 20*time.Second, "length of the part appends")
	flag.IntVar(&c.clients, "clients", 64, "clients of the parts appends and churn")
	flag.IntVar(&c.churn, "churn", 1_000_000, "appends of the part churn")
	flag.IntVar(&c.churnLive, "churn-live", 256, "MiB that are not trimmed in the part churn, about")
	flag.DurationVar(&c.path, "path", 5*time.Second, "length of each measurement of the part path")
	flag.BoolVar(&c.plain, "plain", false, "do not encrypt the store")
	profile := flag.String("cpuprofile", "", "write a profile of the processor to this file")
	flag.Parse()
	c.parts = strings.Split(*parts, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := profiled(*profile, func() error { return run(ctx, c) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "spoolload:", err)
		stop()
		os.Exit(1)
	}
}

// profiled runs fn, and writes its profile if that is asked for.
func profiled(file string, fn func() error) error {
	if file == "" {
		return fn()
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = fn()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

func run(ctx context.Context, c config) (err error) {
	for _, p := range c.parts {
		if !slices.Contains(allParts, p) {
			return fmt.Errorf("there is no part %q", p)
		}
	}
	c.blocks, c.allBlocks = int(c.gib*(1<<30))/spool.BlockSize, int(c.startGiB*(1<<30))/spool.BlockSize
	if c.spools < 10 || c.clients < 1 || c.cores < 1 || c.rate < 1 || c.emptyRate < 1 {
		return fmt.Errorf("at least 10 spools, and all else above 0")
	}
	runtime.GOMAXPROCS(c.cores)
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "spoolload"); err != nil {
			return err
		}
		defer os.RemoveAll(c.dir)
	}
	m := &measurement{config: c, began: time.Now()}
	defer m.close()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"fill", m.fill}, {"empty", m.emptyReads}, {"mixed", m.mix}, {"appends", m.appendAll}, {"start", m.start},
		{"verify", m.verify}, {"churn", m.churnAll}, {"path", m.wholePath},
	} {
		if !slices.Contains(c.parts, part.name) {
			continue
		}
		m.say("%s", part.name)
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	m.print()
	return nil
}

// A figure is what was measured, for the table and for the last line.
type figure struct{ what, value, key, plain string }

func (m *measurement) add(what, unit, key, format string, value any) {
	plain := fmt.Sprintf(format, value)
	m.figures = append(m.figures, figure{what, strings.TrimSpace(plain + " " + unit), key, plain})
}

func (m *measurement) print() {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	var line []string
	for _, f := range m.figures {
		fmt.Fprintf(t, "%s\t%s\n", f.what, f.value)
		line = append(line, f.key+"="+f.plain)
	}
	t.Flush()
	fmt.Println(strings.Join(line, " "))
}

// say tells of progress.
func (m *measurement) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6s  %s\n", time.Since(m.began).Round(time.Second), fmt.Sprintf(format, args...))
}

func (m *measurement) storeDir() string { return filepath.Join(m.dir, "store") }
