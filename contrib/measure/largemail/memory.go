//go:build linux

package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"mailproxy/contrib/measure/resident"
)

// sampleEvery is how often the size of the daemon is looked at. VmHWM needs no
// samples; what it is made of does.
const sampleEvery = 20 * time.Millisecond

// A watcher looks at the size of a process.
type watcher struct {
	pid  int
	quit chan struct{}
	done sync.WaitGroup

	mu  sync.Mutex // guards what follows
	now sizes      // largest of the present step
	all sizes
	err error
}

// sizes are in bytes.
type sizes struct{ rss, anon, peak uint64 }

func (s *sizes) add(t sizes) {
	s.rss, s.anon, s.peak = max(s.rss, t.rss), max(s.anon, t.anon), max(s.peak, t.peak)
}

func watchProcess(pid int) *watcher {
	w := &watcher{pid: pid, quit: make(chan struct{})}
	w.done.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-w.quit:
				return
			case <-tick.C:
				w.sample()
			}
		}
	})
	return w
}

func (w *watcher) sample() {
	s, err := sizesOf(w.pid)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
		return
	}
	w.now.add(s)
	w.all.add(s)
}

// stop ends the looking; the process must still be there.
func (w *watcher) stop() error {
	close(w.quit)
	w.done.Wait()
	return w.err
}

// soFar says how large the process was in the present step.
func (w *watcher) soFar() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("at most %.0f MiB resident, %.0f without pages of files", resident.MiB(w.now.rss), resident.MiB(w.now.anon))
}

// step does something and prints how large the process was meanwhile.
func (w *watcher) step(name string, do func() error) error {
	w.mu.Lock()
	w.now = sizes{}
	w.mu.Unlock()
	start := time.Now()
	err := do()
	w.sample()
	seen := w.soFar()
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Printf("%-7s %6.1f s: %s; %.0f MiB since the start\n", name, time.Since(start).Seconds(), seen, resident.MiB(w.all.peak))
	return errors.Join(err, w.err)
}

func sizesOf(pid int) (sizes, error) {
	have, err := resident.Sizes(pid)
	return sizes{have["VmRSS"], have["RssAnon"], have["VmHWM"]}, err
}
