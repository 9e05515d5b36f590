// Crash kills a whole world of mail again and again, and counts what came of the
// mail.
//
// The world is internal/demo's: the network's nodes, the spools of two providers
// and a user daemon with two accounts, in one process with state on disk. This
// program starts that process as a child, submits mail to it over SMTP and reads
// it over IMAP, ends it with SIGKILL, and starts it again in the same directory.
// What the mail clients know they know in the parent, which is never killed:
//
//	accepted  250 was received after the message: it must arrive exactly once
//	          with each recipient, its body byte for byte the same
//	unknown   the connection went before the answer came: it may arrive once or
//	          not at all, but not twice
//	aborted   the client went away in the middle of the message, on purpose: it
//	          must not arrive
//
// Each kill is drawn to fall at any moment of the child's life, start-up and
// recovery included; one in four waits for the next 250 from there, and one in
// four for the next mail seen in an INBOX, since these are the moments at which
// others hold the child to its word. Each life of the child is also read over
// IMAP: a message that was there must still be there under its UID, unless the
// client expunged it; no UID comes twice; UIDVALIDITY stays.
//
// After the last kill the child runs until all that was accepted is there and
// its receipts are back with the senders. It is then stopped in an orderly way,
// started once more, and read a last time.
//
//	go run ./contrib/measure/crash -kills 100
//
// All times of the network, and the retry times of the outbox, are scaled down
// by -scale, so that much happens between kills; the times after which mail is
// given up or reported on are not. The seed makes kills and mail the same again,
// but not what the operating system makes of them.
//
// It ends with one line of figures, and status 1 if lost or duplicated is not 0
// or anything else was wrong:
//
//	kills       times that the child was killed
//	sent        copies that were accepted: one for each recipient of a mail
//	delivered   of these, how many are in an INBOX, or were when the client
//	            expunged them
//	lost        of these, how many are not, or have another body
//	duplicated  copies beyond the first, of accepted and of unknown mail
//
// A kill leaves what the process had written with the operating system: this
// finds answers given too early and states that cannot be gone on from, not
// writes that were never synced.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"mailproxy/internal/child"
)

// mostPending keeps all slots in use and the end near.
const mostPending = 40

func main() {
	child.Main(parts)
	var o options
	flag.IntVar(&o.kills, "kills", 100, "how often to kill")
	flag.Float64Var(&o.scale, "scale", 40, "divide all times by this")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of kills and mail; 0 draws one")
	flag.DurationVar(&o.life, "life", 3*time.Second, "the child is killed between start and this long after it")
	flag.StringVar(&o.dir, "dir", "", "keep state here, where there is none yet; without it a temporary directory is used, and removed if all is well")
	flag.BoolVar(&o.verbose, "v", false, "print each life of the child")
	flag.Parse()
	o.drain, o.pending, o.out = 5*time.Minute, mostPending, os.Stdout
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := o.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// run does the whole and prints the figures. ok says whether no mail was lost or
// duplicated and nothing else was wrong.
func (o options) run(ctx context.Context) (ok bool, err error) {
	temporary := o.dir == ""
	if temporary {
		if o.dir, err = os.MkdirTemp("", "mailproxy-crash-"); err != nil {
			return false, fmt.Errorf("make temporary directory: %w", err)
		}
	} else if _, err := os.Stat(filepath.Join(o.dir, stateDir)); err == nil {
		return false, fmt.Errorf("%s has state of an earlier run, of whose mail nothing is known", o.dir)
	}
	fmt.Fprintf(o.out, "seed %d, state and logs in %s\n", o.seed, o.dir)
	result, err := torture(ctx, o)
	if err != nil {
		return false, fmt.Errorf("%w (see %s)", err, o.dir)
	}
	result.print(o.out)
	if result.ok() && temporary {
		if err := os.RemoveAll(o.dir); err != nil {
			return false, fmt.Errorf("remove state: %w", err)
		}
	}
	fmt.Fprintln(o.out, result.line())
	return result.ok(), nil
}
