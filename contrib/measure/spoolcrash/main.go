// Spoolcrash kills a spool service again and again, and counts what came of the
// blocks that it had acknowledged.
//
// The service is spool/server before spool/badgerstore, in a process of its own
// that answers requests over a Unix socket. This program starts it, appends blocks
// by several clients at once, reads them with growing cursors as a daemon does,
// registers names, ends the process with SIGKILL, and starts it again in the same
// directory. What clients were told they know in the parent, which is never
// killed. After each kill it opens the store itself and looks:
//
//	missing      blocks whose append was acknowledged, that are not there, and
//	             were not trimmed by a cursor that was sent
//	resurrected  blocks that are there, though a read with a cursor behind them
//	             was answered
//
// and has the store verify itself. A block that is there twice, or a registered name
// that is not, is wrong as well.
//
//	go run ./contrib/measure/spoolcrash -kills 200
//
// Each kill is drawn to fall at any moment of the process's life: for one in three
// from its start, start-up and recovery included, for the others from its first
// acknowledgement; one in three waits for the next acknowledgement from there.
// Files of blocks are small, so that they are made, emptied and removed all the
// time. It ends with one line of figures, and status 1 if anything is wrong:
//
//	kills=… acked=… missing=… resurrected=…
//
// A kill leaves what the process had written with the operating system: this
// finds answers given too early and states that cannot be gone on from, not
// writes that were never synced.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	if runChild() {
		return
	}
	var c config
	flag.IntVar(&c.kills, "kills", 200, "how often to kill the service")
	flag.IntVar(&c.spools, "spools", 12, "spools")
	flag.IntVar(&c.clients, "clients", 8, "clients that append")
	flag.DurationVar(&c.life, "life", 600*time.Millisecond, "longest life of the service, from its first answer")
	flag.StringVar(&c.dir, "dir", "", "directory for the store, removed in the end; default: a temporary one")
	keep := flag.Bool("keep", false, "keep the directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, c, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "spoolcrash:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, c config, keep bool) (ok bool, err error) {
	if c.kills < 1 || c.spools < 1 || c.clients < 1 || c.life <= 0 {
		return false, fmt.Errorf("all numbers must be above 0")
	}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "spoolcrash"); err != nil {
			return false, err
		}
	}
	if !keep {
		defer os.RemoveAll(c.dir)
	}
	t := newTorturer(c)
	began := time.Now()
	for n := range c.kills {
		if err := t.life(ctx, n); err != nil {
			return false, fmt.Errorf("life %d: %w", n+1, err)
		}
		if err := t.check(ctx); err != nil {
			return false, fmt.Errorf("after kill %d: %w", n+1, err)
		}
		if (n+1)%10 == 0 {
			fmt.Fprintf(os.Stderr, "%d kills in %v: %s\n", n+1, time.Since(began).Round(time.Second), t.ledger.line(n+1))
		}
	}
	t.ledger.print(os.Stdout)
	fmt.Println(t.ledger.line(c.kills))
	return t.ledger.ok(), nil
}
