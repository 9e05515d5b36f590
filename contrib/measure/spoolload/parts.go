//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

// taken is when something was begun, or due, and how long it took from then on.
type taken struct {
	began time.Time
	took  time.Duration
}

// latencies collects how long something took.
type latencies struct {
	mu   sync.Mutex // guards list
	list []taken
}

// add notes that what was begun then has ended now.
func (l *latencies) add(began time.Time) {
	now := taken{began, time.Since(began)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, now)
}

func (l *latencies) at(share float64) time.Duration {
	if len(l.list) == 0 {
		return 0
	}
	slices.SortFunc(l.list, func(a, b taken) int { return int(a.took - b.took) })
	return l.list[min(len(l.list)-1, int(share*float64(len(l.list))))].took
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
				took.add(at)
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
