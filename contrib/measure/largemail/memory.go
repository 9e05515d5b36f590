//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
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
	return fmt.Sprintf("at most %.0f MiB resident, %.0f without pages of files", mib(w.now.rss), mib(w.now.anon))
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
	fmt.Printf("%-7s %6.1f s: %s; %.0f MiB since the start\n", name, time.Since(start).Seconds(), seen, mib(w.all.peak))
	return errors.Join(err, w.err)
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

func sizesOf(pid int) (sizes, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return sizes{}, fmt.Errorf("read resident size: %w", err)
	}
	defer f.Close()
	have := map[string]uint64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib uint64
		name, value, _ := strings.Cut(lines.Text(), ":")
		if _, err := fmt.Sscanf(value, "%d kB", &kib); err == nil {
			have[name] = kib << 10
		}
	}
	s := sizes{have["VmRSS"], have["RssAnon"], have["VmHWM"]}
	if s.rss == 0 || s.anon == 0 || s.peak == 0 {
		return s, errors.New("read resident size: the system does not tell")
	}
	return s, nil
}
