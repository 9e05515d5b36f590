//go:build linux

// Mixload measures what one core of a mix carries: how many packets a second it
// forwards at its most, compared with how many it could unwrap if it did nothing
// else, and how late packets leave at 80 % of that.
//
//	go run ./contrib/measure/mixload
//	go run ./contrib/measure/mixload -profile mix.pprof
//	go run ./contrib/measure/mixload -memory
//
// The mix is mixnet/node with a keyring on disk, as "mixnode run" runs it, in a
// process of its own that has one core to itself (taskset, GOMAXPROCS=1). This
// process, on the other core, plays the nodes before it and after it: two links in
// and two out, over TLS on loopback. All packets are made beforehand and differ, so
// that replay tags are real and are written; delays are drawn as a sender does. A
// packet's payload is random bytes, which a mix cannot tell from an encrypted one.
//
// unwrap_per_s is sphinx.PrivateKey.Unwrap and nothing else, on packets of the
// network's size that lie in memory, in the mix's process and on its core: before
// and after the minute at its most, of both together. max_per_s is what arrived at
// the nodes after it in a minute in which the links in were never empty.
//
// Delay errors are measured from outside: from before a packet is written to the
// mix until it has arrived at the next node, less the delay that was drawn for it.
// So they include both links and this program's own waits, and the mix's own error
// is smaller. Packets come as a Poisson process. dropped counts, in both parts, the
// packets that were sent and did not arrive.
//
// On a rented machine the cores are away at times: other customers have them, and
// nothing here runs. A process of the highest priority on each core, which takes
// root, sleeps and notes when it wakes late. calm_percent is the share of packets
// that neither came nor were due in or shortly before such a stall, or while what
// came in one was worked off, and p99_calm_ms is their 99th percentile: what the mix
// itself does. Only stalls decide what is calm, not how late a packet was.
//
// With -profile the mix writes a CPU profile of its minute at its most, and where
// the time goes is printed: a sample belongs to the first line of the table that
// one of its functions matches ("go tool pprof" reads the samples).
//
// With -memory the mix begins with the replay tags of a full hour at -rate and of
// the grace time after it, and then forwards at that rate, on all cores. The last
// line has its largest resident size since it began.
//
// It takes Linux, taskset and, for the rest of a profile, the go command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"mailproxy/internal/child"
	"mailproxy/mixnet/directory"
)

// options are the flags.
type options struct {
	length  time.Duration
	share   float64
	profile string
	memory  bool
	rate    float64
	core    int
	network directory.Parameters // no flag: tests scale times
}

func main() {
	child.Main(parts)
	o := options{network: directory.DefaultParameters()}
	flag.DurationVar(&o.length, "length", time.Minute, "how long to measure, in each part; with -memory 20 s is enough")
	flag.Float64Var(&o.share, "share", 0.8, "share of the most at which delay errors are measured")
	flag.StringVar(&o.profile, "profile", "", "write a CPU profile of the mix at its most to this `file`, and say where the time goes")
	flag.BoolVar(&o.memory, "memory", false, "measure memory instead")
	flag.Float64Var(&o.rate, "rate", 5000, "packets a second, with -memory")
	flag.IntVar(&o.core, "core", 0, "core of the mix, 0 or 1; this program takes the other")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := errors.New("-core is 0 or 1")
	if o.core == 0 || o.core == 1 {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mixload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "mailproxy-mixload-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := newWorld(dir, o.network)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if o.memory {
		return measureMemory(ctx, w, o)
	}
	return measureLoad(ctx, w, o)
}
