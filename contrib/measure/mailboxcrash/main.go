// Mailboxcrash kills an IMAP server again and again, and counts what came of the
// changes that it had acknowledged.
//
// The server is package imap before proxy/mailbox, as the daemon has them, encrypted
// at rest, in a process of its own that listens on a Unix socket. This program starts
// it, has several clients APPEND, STORE, COPY, MOVE and EXPUNGE messages and CREATE,
// RENAME and DELETE folders, ends the process with SIGKILL, and starts it again in the
// same directory. What clients were told they know in the parent, which is never
// killed. After each kill it opens the mailbox itself, has it check itself (as
// `mailproxy mailbox check` does) before and after what a start does, and looks:
//
//	missing  changes that were acknowledged and are not there: a message that was
//	         appended, copied or moved is not where it was put, byte for byte, or not
//	         with its flags; one that was expunged or moved away is there; a folder has
//	         not the name that it was given
//	reused   UIDs that stand for another message than before, in a folder with the same
//	         UIDVALIDITY
//
// A command that a kill cut off may be done or not; a MOVE must leave each message in
// one of its two places, a COPY be whole or not be. What the check finds, and commands
// that are refused, are wrong as well.
//
//	go run ./contrib/measure/mailboxcrash -kills 200
//
// Each kill is drawn to fall at any moment of the process's life: for one in three
// from its start, start-up and recovery included, for the others from its first
// acknowledgement. It ends with one line of figures, and status 1 if anything is wrong:
//
//	kills=… acked=… missing=… reused=…
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
	var o torture.Options
	o.Flags("server", 800*time.Millisecond)
	connections := flag.Int("clients", 6, "clients, each with a connection")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := false, errors.New("clients must be above 0")
	if *connections > 0 {
		ok, err = newTorturer(o, *connections).Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mailboxcrash:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}
