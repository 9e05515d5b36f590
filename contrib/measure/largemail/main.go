//go:build linux

// Largemail measures how much memory a user's daemon takes while large mails move
// through it: ten of 25 MB at once, if nothing else is said.
//
//	go run ./contrib/measure/largemail
//
// The daemon is a process of its own with two accounts, alice and bob, so that it
// sends and receives the same mails, which is twice what a daemon has to do. Its
// listeners, its store and all that a mail goes through are the real ones; only the
// network is the engine in memory, with a slot for a block and one for a read every
// millisecond: at the default parameters of a real network a mail of 25 MB would
// take two hours. The spool is in the process that measures, and is asked over a
// socket.
//
// All mails are submitted at once, by SMTP with STARTTLS, some of them by BDAT. Once
// they have arrived, several mail programs fetch them all at the same time by IMAP
// and one by POP3, and copies are put into Sent by APPEND. Each body that comes back
// must have the bytes that were sent.
//
// peak_rss_mib is VmHWM of the daemon: all that was ever resident at once, pages of
// files included, which the system may take back at any time. peak_anon_mib is the
// largest RssAnon of many samples: what it may not.
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

type options struct {
	messages int
	bytes    int
	slot     time.Duration
	dir      string
	logs     bool
}

func main() {
	child.Main(map[string]child.Part{daemonPart: child.Func(childConfig.run)})
	var o options
	size := flag.Float64("size", 24.9, "size of a mail in MiB; the daemon takes 25 at most")
	flag.IntVar(&o.messages, "messages", 10, "how many mails move at once")
	flag.DurationVar(&o.slot, "slot", time.Millisecond, "time between two slots of the network in memory")
	flag.StringVar(&o.dir, "dir", "", "directory for all state; a temporary one if empty")
	flag.BoolVar(&o.logs, "log", false, "show what the daemon logs")
	flag.Parse()
	o.bytes = int(*size * (1 << 20))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "largemail:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "mailproxy-largemail-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, err := start(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"submit", m.submitAll},
		{"way", m.arrive},
		{"imap", m.fetchAll},
		{"pop3", m.retrieveAll},
		{"append", m.appendAll},
	} {
		if err := m.watch.step(step.name, func() error { return step.do(ctx) }); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return m.report()
}
