//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watchEnv holds, in the environment of a process that watches, the core it watches.
const watchEnv = "MAILPROXY_MIXLOAD_WATCH"

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

// runWatch watches a core if this process is there for it, and returns false if not.
func runWatch() bool {
	core, err := strconv.Atoi(os.Getenv(watchEnv))
	if err != nil {
		return false
	}
	if err := watch(core); err != nil {
		fmt.Fprintln(os.Stderr, "watch:", err)
		os.Exit(1)
	}
	return true
}

// watch writes "ready", and then each stall of a core, until standard input ends.
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
	fmt.Println("ready")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin) // either way it has ended
	}()
	for last := clock(); ; {
		wait := unix.NsecToTimespec(int64(watchStep))
		if err := unix.Nanosleep(&wait, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		now := clock()
		if now-last > int64(watchStep+stallAfter) {
			fmt.Println(last, now)
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
	cmds []*exec.Cmd
	ends []io.Closer
	errs []error
	wg   sync.WaitGroup

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
	self, err := os.Executable()
	if err != nil {
		return w, err
	}
	for core := range cores {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), watchEnv+"="+strconv.Itoa(core))
		var problem strings.Builder
		cmd.Stderr = &problem
		in, err := cmd.StdinPipe()
		if err != nil {
			return w, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return w, err
		}
		if err := cmd.Start(); err != nil {
			return w, err
		}
		w.cmds, w.ends = append(w.cmds, cmd), append(w.ends, in)
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			_ = cmd.Wait() // it has said why
			w.cmds, w.ends = w.cmds[:core], w.ends[:core]
			return w, errors.New(strings.TrimSpace(problem.String()))
		}
		w.wg.Go(func() { w.errs[core] = w.read(lines) })
	}
	return w, nil
}

// read takes the lines of one process.
func (w *watcher) read(lines *bufio.Scanner) error {
	for lines.Scan() {
		var s stall
		if _, err := fmt.Sscan(lines.Text(), &s.start, &s.end); err != nil {
			return fmt.Errorf("read a stall: %w", err)
		}
		w.mu.Lock()
		w.stalls = append(w.stalls, s)
		w.mu.Unlock()
	}
	return lines.Err()
}

// stop ends the watching and returns all stalls.
func (w *watcher) stop() ([]stall, error) {
	var errs []error
	for _, in := range w.ends {
		errs = append(errs, in.Close())
	}
	w.wg.Wait() // before Wait, which closes what they read
	for _, cmd := range w.cmds {
		errs = append(errs, cmd.Wait())
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
