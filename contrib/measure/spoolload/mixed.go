//go:build linux

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"mailproxy/contrib/measure/resident"
)

const (
	aloneFor  = 10 * time.Second       // plain writes are timed before the part mixed
	slowWrite = 20 * time.Millisecond  // a plain write of this length is one that the disk held up
	allowed   = 100 * time.Millisecond // is what an append may take
)

func (m *measurement) mix(ctx context.Context) error {
	m.close()
	debug.FreeOSMemory()
	if err := m.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var alone latencies
	if err := m.probe(ctx, began.Add(min(aloneFor, m.mixed)), &alone); err != nil {
		return err
	}
	began = time.Now()
	end := began.Add(m.mixed)
	var appends, reads latencies
	var empty atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { // reads of empty spools: 20 at once, whenever they are due
		const burst = 20
		for n := 0; time.Now().Before(end) && ctx.Err() == nil; n += burst {
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(m.emptyRate))))
			for range burst {
				if err := m.readEmpty(ctx, rand.IntN(m.emptySpools())); err != nil {
					cancel(err)
				}
			}
			empty.Add(burst)
		}
	})
	wg.Go(func() {
		var mails sync.WaitGroup
		defer mails.Wait()
		for n := 0; ctx.Err() == nil; n++ {
			due := began.Add(time.Duration(n) * time.Second / time.Duration(m.rate))
			if due.After(end) {
				return
			}
			time.Sleep(time.Until(due))
			mails.Go(func() {
				if err := m.mail(ctx, due, &appends, &reads); err != nil {
					cancel(err)
				}
			})
		}
	})
	var plain latencies
	wg.Go(func() {
		if err := m.probe(ctx, end, &plain); err != nil {
			cancel(err)
		}
	})
	most, mostAnon := 0, 0
	for lap := 1; time.Now().Before(end) && ctx.Err() == nil; lap++ {
		time.Sleep(500 * time.Millisecond)
		sizes, err := resident.Sizes(os.Getpid())
		if err != nil {
			return err
		}
		all := int(sizes["VmRSS"] >> 20)
		most, mostAnon = max(most, all), max(mostAnon, int(sizes["RssAnon"]>>20))
		if lap%20 == 0 {
			m.say("mixed: %s of %s, %d MiB", time.Since(began).Round(time.Second), m.mixed, all)
		}
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	seconds := m.mixed.Seconds()
	m.add("mixed: reads of an empty spool", "/s", "mixed_empty_reads_per_s", "%.0f", float64(empty.Load())/seconds)
	m.add("mixed: appends", "/s", "mixed_appends_per_s", "%.0f", float64(len(appends.list))/seconds)
	quiet := calm(&appends, &plain)
	m.add("mixed: appends while no plain write was slow", "%", "calm_percent", "%.0f", 100*float64(len(quiet.list))/float64(max(1, len(appends.list))))
	for _, l := range []struct {
		what, key string
		latencies *latencies
	}{{"append", "append", &appends}, {"read of a block with trim", "read", &reads}, {"plain write and sync of 8 KiB, meanwhile", "plain", &plain}, {"the same before", "alone", &alone},
		{"append while no plain one was slow", "calm_append", quiet}} {
		for _, p := range []struct {
			share float64
			name  string
		}{{0.5, "p50"}, {0.99, "p99"}, {1, "max"}} {
			m.add("mixed: "+l.what+", "+p.name, "ms", l.key+"_"+p.name+"_ms", "%.1f", float64(l.latencies.at(p.share).Microseconds())/1000)
		}
	}
	m.add("mixed: memory", "MiB", "rss_mib", "%d", most)
	m.add("mixed: memory that is not of files", "MiB", "rss_anon_mib", "%d", mostAnon)
	return nil
}

// calm returns those of some that no slow plain write can have held up: none was
// under way while one of these was to end, nor within its own length before. How long
// these took themselves does not decide.
func calm(some, plain *latencies) *latencies {
	var slow []taken
	for _, p := range plain.list {
		if p.took > slowWrite {
			slow = append(slow, p)
		}
	}
	var quiet latencies
	for _, a := range some.list {
		if !slices.ContainsFunc(slow, func(p taken) bool {
			return p.began.Before(a.began.Add(allowed)) && a.began.Before(p.began.Add(2*p.took))
		}) {
			quiet.list = append(quiet.list, a)
		}
	}
	return &quiet
}

// probe writes to a file and syncs it, some forty times a second: how long that takes
// is the disk's doing, and of all else that uses it, the store among them.
func (m *measurement) probe(ctx context.Context, end time.Time, took *latencies) (err error) {
	f, err := os.Create(filepath.Join(m.dir, "probe"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	for time.Now().Before(end) && ctx.Err() == nil {
		began := time.Now()
		if _, err := f.Write(m.newBlock()); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		took.add(began)
		time.Sleep(25 * time.Millisecond)
	}
	return nil
}

// mail appends a block, reads it as its owner does, and trims it by the next read.
func (m *measurement) mail(ctx context.Context, due time.Time, appends, reads *latencies) error {
	first := m.emptySpools()
	id := spoolOf(first + rand.IntN(m.spools-first))
	if err := appendTo(ctx, m.st, id, m.newBlock()); err != nil {
		return err
	}
	appends.add(due)
	began := time.Now()
	r, err := m.st.Read(ctx, id, 0, 0)
	if err != nil {
		return err
	}
	if r, err = m.st.Read(ctx, id, r.Seq, r.Seq+1); err == nil && r.Lowest > 0 {
		err = m.st.Trim(ctx, id, r.Lowest-1, time.Now())
	}
	reads.add(began)
	return err
}
