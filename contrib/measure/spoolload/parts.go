//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
)

// readEmpty is what a read of an empty spool costs the store.
func (m *measurement) readEmpty(ctx context.Context, n int) error {
	id := spoolOf(n)
	r, err := m.st.Read(ctx, id, 0, 1)
	if err == nil && r.Seq != 0 {
		err = errors.New("an empty spool has a block")
	}
	if err == nil {
		err = m.st.Trim(ctx, id, 0, time.Now())
	}
	return err
}

func (m *measurement) emptyReads(ctx context.Context) error {
	if err := m.open(); err != nil {
		return err
	}
	var done atomic.Int64
	var failed atomic.Value
	began := time.Now()
	var wg sync.WaitGroup
	for range m.cores {
		wg.Go(func() {
			n := 0
			for ; time.Since(began) < m.empty; n += 256 {
				for range 256 {
					if err := m.readEmpty(ctx, rand.IntN(m.emptySpools())); err != nil {
						failed.Store(err)
						return
					}
				}
			}
			done.Add(int64(n))
		})
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return err
	}
	m.add(fmt.Sprintf("reads of an empty spool, %d cores", m.cores), "/s", "empty_reads_per_s", "%.0f", float64(done.Load())/time.Since(began).Seconds())
	return nil
}

// latencies collects how long something took.
type latencies struct {
	mu   sync.Mutex // guards list
	list []time.Duration
}

func (l *latencies) add(d time.Duration) { l.mu.Lock(); l.list = append(l.list, d); l.mu.Unlock() }

func (l *latencies) at(share float64) time.Duration {
	slices.Sort(l.list)
	if len(l.list) == 0 {
		return 0
	}
	return l.list[min(len(l.list)-1, int(share*float64(len(l.list))))]
}

func (m *measurement) mix(ctx context.Context) error {
	m.close()
	debug.FreeOSMemory()
	if err := m.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
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
		all, anon, err := resident()
		if err != nil {
			return err
		}
		most, mostAnon = max(most, all), max(mostAnon, anon)
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
	for _, l := range []struct {
		what, key string
		latencies *latencies
	}{{"append", "append", &appends}, {"read of a block with trim", "read", &reads}, {"plain write and sync of 8 KiB", "plain", &plain}} {
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

// probe writes to a file and syncs it, ten times a second: how long that takes is
// the disk's doing, and of all else that uses it.
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
		took.add(time.Since(began))
		time.Sleep(100 * time.Millisecond)
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
	appends.add(time.Since(due))
	began := time.Now()
	r, err := m.st.Read(ctx, id, 0, 0)
	if err != nil {
		return err
	}
	if r, err = m.st.Read(ctx, id, r.Seq, r.Seq+1); err == nil && r.Lowest > 0 {
		err = m.st.Trim(ctx, id, r.Lowest-1, time.Now())
	}
	reads.add(time.Since(began))
	return err
}

func (m *measurement) appendAll(ctx context.Context) error {
	if err := m.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var took latencies
	began := time.Now()
	first := m.emptySpools()
	var wg sync.WaitGroup
	for range m.clients {
		wg.Go(func() {
			for time.Since(began) < m.appends && ctx.Err() == nil {
				block := m.newBlock()
				at := time.Now()
				if err := appendTo(ctx, m.st, spoolOf(first+rand.IntN(m.spools-first)), block); err != nil {
					cancel(err)
				}
				took.add(time.Since(at))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.add(fmt.Sprintf("synced appends, %d clients", m.clients), "/s", "appends_per_s", "%.0f", float64(len(took.list))/time.Since(began).Seconds())
	m.add("synced append, p99", "ms", "appends_p99_ms", "%.1f", float64(took.at(0.99).Microseconds())/1000)
	return nil
}

func (m *measurement) start(ctx context.Context) error {
	if err := m.open(); err != nil {
		return err
	}
	if err := m.fillBlocks(ctx, m.allBlocks); err != nil {
		return err
	}
	m.close()
	debug.FreeOSMemory()
	began := time.Now()
	if err := m.open(); err != nil {
		return err
	}
	if err := m.readEmpty(ctx, 0); err != nil {
		return err
	}
	m.add("start until the first answer", "s", "start_s", "%.2f", time.Since(began).Seconds())
	return nil
}

func (m *measurement) verify(ctx context.Context) error {
	if err := m.open(); err != nil {
		return err
	}
	last := time.Now()
	r, err := m.st.Verify(ctx, func(n, of int) {
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			m.say("verify: %d of %d blocks", n, of)
		}
	})
	if err != nil {
		return err
	}
	for _, p := range r.Problems {
		m.say("verify: %s", p)
	}
	m.add(fmt.Sprintf("verify of %d blocks", r.Blocks), "s", "verify_s", "%.1f", r.Took.Seconds())
	m.add("verify: blocks read", "MB/s", "verify_mb_per_s", "%.0f", float64(r.Bytes)/1e6/r.Took.Seconds())
	m.add("verify: wrong", "", "verify_wrong", "%d", r.Wrong)
	return nil
}

func (m *measurement) churnAll(ctx context.Context) error {
	dir := filepath.Join(m.dir, "churn")
	st, err := badgerstore.Open(m.options(dir))
	if err != nil {
		return err
	}
	defer st.Close()
	const spools = 1000
	if err := m.publish(ctx, st, spools); err != nil {
		return err
	}
	keep := max(2, m.churnLive<<20/spool.BlockSize/spools)
	var most atomic.Int64
	measure := func() (size, live int64, err error) {
		stats, err := st.Stats(ctx)
		if err != nil {
			return 0, 0, err
		}
		size, err = store.SizeOnDisk(dir)
		most.Store(max(most.Load(), size-3*stats.Bytes))
		return size, stats.Bytes, err
	}
	began := time.Now()
	err = m.each(ctx, "churn", m.clients, 0, m.churn, func(n int) error {
		id := spoolOf(n % spools)
		if err := appendTo(ctx, st, id, m.newBlock()); err != nil {
			return err
		}
		if n%4096 == 0 {
			if _, _, err := measure(); err != nil {
				return err
			}
		}
		// Half of what is there stays until the spool has twice as much.
		info, err := st.Spool(ctx, id)
		if err == nil && info.Blocks[spool.LaneContacts] > 3*keep/2 {
			err = st.Trim(ctx, id, info.Last-uint64(keep/2), time.Now())
		}
		return err
	})
	if err != nil {
		return err
	}
	m.add("churn: appends, with their trims", "/s", "churn_per_s", "%.0f", float64(m.churn)/time.Since(began).Seconds())
	size, live, err := measure()
	if err != nil {
		return err
	}
	m.add("churn: live", "MiB", "churn_live_mib", "%d", live>>20)
	m.add("churn: disk", "MiB", "churn_disk_mib", "%d", size>>20)
	m.add("churn: disk over three times live, at most", "MiB", "churn_over_mib", "%d", max(0, most.Load()>>20))
	return nil
}
