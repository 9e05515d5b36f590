//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mailproxy/internal/child"
)

const (
	// watchStep is how often a watcher wants to wake.
	watchStep = time.Millisecond
	// stallAfter is how late it wakes when the core was away. On a core that runs,
	// nothing keeps the highest priority waiting for a tenth of that.
	stallAfter = 2 * time.Millisecond
	// margin is how late a packet may be: what is asked of the 99th percentile. A
	// stall that begins later than that after a packet was due is not to blame for it.
	margin = 10 * time.Millisecond
)

// A stall is a time in which a core ran nothing at all, not even what has the
// highest priority: whoever shares the machine had it. By the monotonic clock, in
// nanoseconds.
type stall struct{ start, end int64 }

// watch says "ready", and then each stall of a core by its two ends, until the parent
// closes its end.
func watch(core int) error {
	// Both are this thread's alone, and it ends with the process.
	runtime.LockOSThread()
	var cores unix.CPUSet
	cores.Set(core)
	if err := unix.SchedSetaffinity(0, &cores); err != nil {
		return fmt.Errorf("take core %d: %w", core, err)
	}
	highest := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 50}
	if err := unix.SchedSetAttr(0, &highest, 0); err != nil {
		return fmt.Errorf("take the highest priority: %w", err)
	}
	if err := child.Say("ready"); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		child.Wait()
	}()
	for last := clock(); ; {
		wait := unix.NsecToTimespec(int64(watchStep))
		if err := unix.Nanosleep(&wait, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		now := clock()
		if now-last > int64(watchStep+stallAfter) {
			if err := child.Say([2]int64{last, now}); err != nil {
				return err
			}
		}
		last = now
		select {
		case <-ended:
			return nil
		default:
		}
	}
}

// clock is the monotonic clock that all processes share.
func clock() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // Linux has it
	}
	return t.Nano()
}

// A watcher is the processes that watch all cores.
type watcher struct {
	cores []*child.Process
	errs  []error
	wg    sync.WaitGroup

	mu     sync.Mutex // guards stalls
	stalls []stall
}

// startWatch watches the first cores. It fails where this user may not take the
// highest priority.
func startWatch(cores int) (w *watcher, err error) {
	w = &watcher{errs: make([]error, cores)}
	defer func() {
		if err != nil {
			_, stopped := w.stop()
			err = errors.Join(err, stopped)
		}
	}()
	for core := range cores {
		cmd, err := child.Command(watchPart, core)
		if err != nil {
			return w, err
		}
		var problem strings.Builder
		cmd.Stderr = &problem
		p, err := child.Launch(watchPart, cmd)
		if err != nil {
			return w, err
		}
		var ready string
		if err := p.Read(&ready); err != nil {
			_ = p.Wait() // it has said why
			return w, errors.New(strings.TrimSpace(problem.String()))
		}
		w.cores = append(w.cores, p)
		w.wg.Go(func() { w.errs[core] = w.read(p) })
	}
	return w, nil
}

// read takes what one process says.
func (w *watcher) read(p *child.Process) error {
	for {
		var ends [2]int64
		err := p.Read(&ends)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a stall: %w", err)
		}
		w.mu.Lock()
		w.stalls = append(w.stalls, stall{ends[0], ends[1]})
		w.mu.Unlock()
	}
}

// stop ends the watching and returns all stalls.
func (w *watcher) stop() ([]stall, error) {
	var errs []error
	for _, p := range w.cores {
		errs = append(errs, p.End())
	}
	w.wg.Wait() // until all is read
	for _, p := range w.cores {
		errs = append(errs, p.Wait())
	}
	return w.stalls, errors.Join(append(errs, w.errs...)...)
}

// A shadow is the times in which packets are late because a core was away: its
// stalls, and after each the time in which what came meanwhile is worked off.
type shadow []stall

// shadowOf returns the shadow of stalls for a mix that is busy for that share of its
// time: it has the rest of it to work off what came in a stall.
func shadowOf(stalls []stall, busy float64) shadow {
	list := slices.Clone(stalls)
	for i := range list {
		list[i].end += int64(float64(list[i].end-list[i].start) * busy / (1 - busy))
	}
	slices.SortFunc(list, func(a, b stall) int { return int(a.start - b.start) })
	var s shadow
	for _, next := range list {
		if n := len(s); n > 0 && next.start <= s[n-1].end {
			s[n-1].end = max(s[n-1].end, next.end)
			continue
		}
		s = append(s, next)
	}
	return s
}

// on reports whether any of it lies on the margin after t.
func (s shadow) on(t int64) bool {
	i, _ := slices.BinarySearchFunc(s, t, func(x stall, t int64) int { return int(x.end - t) })
	return i < len(s) && s[i].start < t+int64(margin)
}
