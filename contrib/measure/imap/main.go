// Imap measures our IMAP server beside Debian's Dovecot, with the same client and
// the same mail, in one run.
//
//	apt-get install dovecot-imapd
//	go run ./contrib/measure/imap
//	go run ./contrib/measure/imap -folder 100000
//
// # Against Dovecot
//
// Ours is the part of the daemon that serves mail (its store, encrypted and
// synced, its mailbox and its IMAP front end, with the daemon's own options), in a
// process of its own. Dovecot is started as an ordinary process with a
// configuration and a mail directory in a temporary directory; -format says in
// which format it keeps mail, and mail_fsync=always has it sync what it says OK
// to. Both are spoken to in plaintext over loopback, by go-imap's client.
//
// Each row is measured in slices that alternate between the two servers, so that
// what else the machine does hits both: the commands of a row that has one for
// each message are cut into slices of -slice, a row of one command is repeated.
// What only reads is done once before, untimed, so that caches on both sides are
// filled. The table has the median over the rounds, and the ratio is the median of
// the rounds' ratios.
//
// The client's cost is its process's time on processors during a row: where it is
// nearly the whole time, the row says more of the client than of the server.
//
// The last line's figures are our time divided by Dovecot's; worst_row is the one
// with the largest.
//
// # A large folder
//
// With -folder the whole daemon runs, with its network in another process, and a
// folder of so many messages: how long the start takes until the listeners are up,
// and SELECT just after it and again; how much memory the daemon has with five
// connections in IDLE; how soon these hear of a message once it is stored. This
// reads /proc, and so runs on Linux.
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
)

func main() {
	child.Main(parts)
	var o options
	flag.IntVar(&o.messages, "messages", 2000, "how many messages the folder gets")
	flag.IntVar(&o.size, "size", 10<<10, "bytes of a message")
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is done")
	flag.IntVar(&o.slice, "slice", 100, "how many commands are sent to one server before the other has its turn")
	flag.StringVar(&o.format, "format", "maildir", "the format in which Dovecot keeps mail: maildir or mdbox")
	flag.StringVar(&o.dovecot, "dovecot", "/usr/sbin/dovecot", "Dovecot's program; \"\" measures ours alone")
	flag.StringVar(&o.profile, "profile", "", "write processor profiles of our server to this directory, one for each row")
	folder := flag.Int("folder", 0, "measure the daemon with a folder of so many messages instead")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case *folder > 0:
		err = measureFolder(ctx, *folder, o.size)
	case o.messages < 10 || o.rounds < 1 || o.slice < 1 || o.size < 2048:
		err = errors.New("needs 10 messages of 2048 bytes, a round and slices of a command, or more")
	default:
		err = compare(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "imap:", err)
		os.Exit(1)
	}
}

// options say what is measured, see main.
type options struct {
	messages, size, rounds, slice int
	format, dovecot, profile      string
}

// compare runs the rounds and prints the table.
func compare(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "mailproxy-imap-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	mails := makeMails(o.messages, o.size)
	t := &table{o: o, rows: rows(o)}
	if err := t.before(dir); err != nil {
		return err
	}
	ours, err := startOurs(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.stop()) }()
	servers := []*server{ours}
	if o.dovecot != "" {
		theirs, err := startDovecot(ctx, dir, o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, theirs.stop()) }()
		t.version = theirs.version
		servers = append(servers, theirs)
	}
	for round := range o.rounds {
		if err := t.round(ctx, servers, mails, round); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "round %d of %d done\n", round+1, o.rounds)
	}
	return t.print(os.Stdout, time.Now())
}
