package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"mailproxy/contrib/measure/daemon"
	"mailproxy/contrib/measure/resident"
	"mailproxy/internal/child"
	"mailproxy/internal/demo"
	"mailproxy/internal/pause"
	"mailproxy/proxy"
)

const (
	idlers   = 5                // connections in IDLE
	watchFor = 15 * time.Second // how long their memory is looked at
	arrivals = 10               // messages that they hear of
)

// What a daemon with a large folder costs.
type folderFigures struct {
	start, first, again, idle time.Duration
	rss, anonymous, peak      uint64
	fill                      time.Duration
}

// measureFolder fills the inbox of a daemon with n messages of size bytes, starts
// it again and measures.
func measureFolder(ctx context.Context, n, size int) (err error) {
	dir, err := os.MkdirTemp("", "mailproxy-imap-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	before := machine()
	network, settings, err := daemon.StartNetwork(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Stop()) }()
	files, err := daemon.Configure(filepath.Join(dir, "user"), settings, true)
	if err != nil {
		return err
	}
	var f folderFigures
	if f.fill, err = fillDaemon(ctx, files, n, size); err != nil {
		return err
	}
	if err := f.measure(ctx, files.Config, n, size); err != nil {
		return err
	}
	fmt.Printf("a folder of %d messages of %d bytes, delivered in %.0f s\nbefore: %s\nafter: %s\n\n", n, size, f.fill.Seconds(), before, machine())
	fmt.Printf("start of the daemon, until it listens:  %s\n", ms(f.start))
	fmt.Printf("SELECT, the first after the start:      %s\n", ms(f.first))
	fmt.Printf("SELECT again (median of %d):             %s\n", repeats, ms(f.again))
	fmt.Printf("a client in IDLE hears of a message:    %s after its storing was answered (the last of %d, the worst of %d messages)\n", ms(f.idle), idlers, arrivals)
	fmt.Printf("resident with %d connections in IDLE:    %.1f MiB at most, %.1f of that not pages of files; peak since the start %.1f\n",
		idlers, resident.MiB(f.rss), resident.MiB(f.anonymous), resident.MiB(f.peak))
	fmt.Printf("\nfolder=%d start_ms=%.0f first_select_ms=%.1f select_ms=%.1f idle_ms=%.1f rss_mib=%.1f\n", n,
		f.start.Seconds()*1000, f.first.Seconds()*1000, f.again.Seconds()*1000, f.idle.Seconds()*1000, resident.MiB(f.rss))
	return nil
}

// fillDaemon runs a daemon for as long as it takes to add an account and mail.
func fillDaemon(ctx context.Context, files daemon.Files, n, size int) (took time.Duration, err error) {
	d, err := child.Start(daemonPart, files.Config)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	var address string
	if err := d.Read(&address); err != nil {
		return 0, err
	}
	registering, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if _, err := daemon.Register(registering, files.Data, proxy.NewAccount{Address: demo.Alice, Password: password}); err != nil {
		return 0, err
	}
	start := time.Now()
	err = d.Ask(fillRequest{n, size}, nil)
	return time.Since(start), err
}

// An idler is a connection that waits for mail.
type idler struct {
	c     *imapclient.Client
	cmd   *imapclient.IdleCommand
	heard atomic.Uint32
	news  chan time.Time // when heard changed
}

func newIdler(address string) (*idler, error) {
	i := &idler{news: make(chan time.Time, 4*arrivals)}
	var err error
	i.c, err = dialAs(address, demo.Alice, func(n uint32) {
		i.heard.Store(n)
		select {
		case i.news <- time.Now():
		default:
		}
	})
	return i, err
}

// wait returns when the idler heard of n messages.
func (i *idler) wait(ctx context.Context, n uint32) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case at := <-i.news:
			if i.heard.Load() >= n {
				return at, nil
			}
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("no word of a new message: %w", ctx.Err())
		}
	}
}

// measure starts the daemon again and looks at it.
func (f *folderFigures) measure(ctx context.Context, config string, n, size int) (err error) {
	start := time.Now()
	d, err := child.Start(daemonPart, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	var address string
	if err := d.Read(&address); err != nil {
		return err
	}
	f.start = time.Since(start)
	var clients []*idler
	defer func() {
		for _, i := range clients {
			err = errors.Join(err, i.c.Close())
		}
	}()
	for range idlers + 1 {
		i, err := newIdler(address)
		if err != nil {
			return err
		}
		clients = append(clients, i)
		// The first connection selects before the others are there.
		start := time.Now()
		data, err := i.c.Select("INBOX", nil).Wait()
		if err != nil {
			return err
		}
		if len(clients) == 1 {
			f.first = time.Since(start)
		}
		if err := want(nil, "messages", int(data.NumMessages), n); err != nil {
			return err
		}
	}
	last := clients[idlers]
	times := make([]time.Duration, repeats)
	for k := range times {
		start := time.Now()
		if _, err := last.c.Select("INBOX", nil).Wait(); err != nil {
			return err
		}
		times[k] = time.Since(start)
	}
	f.again = median(times)
	for _, i := range clients[:idlers] {
		if i.cmd, err = i.c.Idle(); err != nil {
			return err
		}
	}
	if err := f.watch(ctx, d.PID()); err != nil {
		return err
	}
	if err := f.arrive(ctx, clients, n, size); err != nil {
		return err
	}
	return f.watch(ctx, d.PID())
}

// watch looks at the daemon's memory for a while.
func (f *folderFigures) watch(ctx context.Context, pid int) error {
	for end := time.Now().Add(watchFor); time.Now().Before(end); {
		sizes, err := resident.Sizes(pid)
		if err != nil {
			return err
		}
		if sizes["VmRSS"] > f.rss {
			f.rss, f.anonymous = sizes["VmRSS"], sizes["RssAnon"]
		}
		f.peak = sizes["VmHWM"]
		if err := pause.For(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// arrive appends messages from the last connection and waits until the others have
// heard of each.
func (f *folderFigures) arrive(ctx context.Context, clients []*idler, n, size int) error {
	mails := makeMails(arrivals, size)
	from := clients[idlers]
	for k, mail := range mails {
		if err := appendTo(from.c, "INBOX", mail); err != nil {
			return err
		}
		stored := time.Now()
		var heard []time.Duration
		for _, i := range clients[:idlers] {
			at, err := i.wait(ctx, uint32(n+k+1))
			if err != nil {
				return err
			}
			heard = append(heard, max(0, at.Sub(stored)))
		}
		f.idle = max(f.idle, slices.Max(heard))
	}
	for _, i := range clients[:idlers] {
		if err := errors.Join(i.cmd.Close(), i.cmd.Wait()); err != nil {
			return err
		}
	}
	return nil
}
