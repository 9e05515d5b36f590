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
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"mailproxy/contrib/measure/torture"
	"mailproxy/internal/child"
)

func main() {
	child.Main(parts)
	o := torture.Options{AtAnswer: true}
	o.Flags("service", 600*time.Millisecond)
	spools := flag.Int("spools", 12, "spools")
	clients := flag.Int("clients", 8, "clients that append")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := false, errors.New("spools and clients must be above 0")
	if *spools > 0 && *clients > 0 {
		ok, err = newTorturer(o, *spools, *clients).Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "spoolcrash:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}
