package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"mailproxy/internal/child"
	"mailproxy/internal/demo"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/progress"
)

// worldPart is the part of the process that is killed.
const worldPart = "world"

var parts = map[string]child.Part{worldPart: child.Func(childConfig.run)}

// A childConfig says how the child is to run.
type childConfig struct {
	Dir   string  `json:"dir"`
	Scale float64 `json:"scale"`
	Life  int     `json:"life"` // which life this is, for the log of events
}

// A report is a line that the child prints, with some of the fields.
type report struct {
	Ready      *ready `json:"ready,omitempty"`      // the listeners are up
	Registered bool   `json:"registered,omitempty"` // both accounts are
	State      *state `json:"state,omitempty"`      // now and then
}

// ready is what mail clients have to know.
type ready struct {
	Accounts []demo.Account `json:"accounts"`
	SMTP     string         `json:"smtp"`
	IMAP     string         `json:"imap"`
	CAFile   string         `json:"ca_file"`
}

// state says what is still under way.
type state struct {
	Waiting     int `json:"waiting"`     // copies not in a spool
	Unconfirmed int `json:"unconfirmed"` // copies without a receipt
	Incomplete  int `json:"incomplete"`  // messages of which parts are here
	Held        int `json:"held"`
}

func (s state) idle() bool { return s == state{} }

// times are the outbox's for the child. What ends mail keeps its real length.
func times(scale float64) outbox.Times {
	real := outbox.DefaultTimes()
	t := real.Scaled(scale)
	t.Expire, t.Confirm, t.TellDelay = real.Expire, real.Confirm, real.TellDelay
	t.RetryMost = 4 * t.RetryFirst // an hour's wait is too long here even when scaled
	t.Receipt = t.RetryFirst / 3   // and so are ten minutes
	return t
}

// run runs the world until SIGTERM, or rather until SIGKILL.
func (c childConfig) run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	// Written by single writes, which a kill does not take back.
	events, err := os.OpenFile(filepath.Join(c.Dir, eventsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of events: %w", err)
	}
	w, err := demo.Start(demo.Config{
		Dir: filepath.Join(c.Dir, stateDir), Parameters: directory.DefaultParameters().Scaled(c.Scale),
		Times: times(c.Scale), Receipts: true,
		Listen:  proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0"},
		Observe: func(e progress.Event) { c.note(events, e) },
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	say := func(r report) {
		if err := child.Say(r); err != nil {
			stop() // the parent has gone
		}
	}
	say(report{Ready: &ready{
		Accounts: w.Accounts, SMTP: w.Daemon.Address("smtp").String(),
		IMAP: w.Daemon.Address("imap").String(), CAFile: w.Daemon.CAFile(),
	}})
	wg.Go(func() {
		if err := w.Register(ctx, func(string, time.Duration) {}); err != nil {
			slog.Error("child: registration", "err", err)
			return
		}
		say(report{Registered: true})
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s := w.Daemon.Status()
				now := state{Waiting: s.Waiting, Unconfirmed: s.Receipts}
				for _, a := range s.Accounts {
					now.Incomplete += a.Incomplete
					now.Held += a.Held
				}
				say(report{State: &now})
			}
		}
	})
	<-ctx.Done()
	wg.Wait()
	return w.Close()
}

// note writes an event down, so that the history of a mail can be told.
func (c childConfig) note(f *os.File, e progress.Event) {
	names := [...]string{"submitted", "looked-up", "sealed", "sent", "acked", "in-spool", "read", "delivered", "confirmed", "failed"}
	// The outbox's id holds no more than time and chance, the seal's too.
	fmt.Fprintf(f, "%s life=%d %s account=%s recipient=%s outbox=%s message=%x block=%d/%d\n",
		e.At.UTC().Format(stampFormat), c.Life, names[e.Kind], e.Account, e.Recipient, e.Outbox, e.Message[:8], e.Index, e.Count)
}
