package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"mailproxy/contrib/measure/resident"
	"mailproxy/internal/pause"
	"mailproxy/proxy"
)

// A measurement is what /proc said of a process, and the daemon of itself.
type measurement struct {
	length         time.Duration
	cpu            time.Duration // on processors
	rss, mostRSS   uint64        // bytes: at the end, and the largest
	anonymous      uint64        // of rss: not pages of files
	peak           uint64        // since the process began
	packets, reads uint64        // sent meanwhile
	lost           uint64
}

func (m *measurement) cpuPercent() float64 { return 100 * m.cpu.Seconds() / m.length.Seconds() }

func (m *measurement) print() {
	fmt.Printf("\nover %.0f s: %d packets sent, %d of them reads, %d lost\n", m.length.Seconds(), m.packets, m.reads, m.lost)
	fmt.Printf("resident: %.1f MiB at most, %.1f at the end, %.1f of that not pages of files; peak since the start %.1f\n",
		resident.MiB(m.mostRSS), resident.MiB(m.rss), resident.MiB(m.anonymous), resident.MiB(m.peak))
	fmt.Printf("processor: %.2f s, %.2f %% of a core\n", m.cpu.Seconds(), m.cpuPercent())
}

// measure watches the process pid, whose daemon has the data directory dir.
func measure(ctx context.Context, pid int, dir string, length time.Duration) (m measurement, err error) {
	before, err := proxy.Control(dir).Status(ctx)
	if err != nil {
		return m, err
	}
	cpu, err := processor(pid)
	if err != nil {
		return m, err
	}
	start := time.Now()
	for m.length < length {
		if err := pause.For(ctx, time.Second); err != nil {
			return m, err
		}
		sizes, err := resident.Sizes(pid)
		if err != nil {
			return m, err
		}
		m.rss, m.anonymous, m.peak = sizes["VmRSS"], sizes["RssAnon"], sizes["VmHWM"]
		m.mostRSS = max(m.mostRSS, m.rss)
		m.length = time.Since(start)
	}
	end, err := processor(pid)
	if err != nil {
		return m, err
	}
	m.length, m.cpu = time.Since(start), end-cpu
	after, err := proxy.Control(dir).Status(ctx)
	if err != nil {
		return m, err
	}
	a, b := after.Accounts[0].Network, before.Accounts[0].Network
	m.reads, m.lost = a.SlotsRead-b.SlotsRead, a.Lost-b.Lost
	m.packets = m.reads + a.SlotsMail - b.SlotsMail + a.SlotsCover - b.SlotsCover
	if m.reads == 0 || m.packets == m.reads {
		return m, fmt.Errorf("the daemon sent %d packets and %d reads: it has no cover traffic", m.packets, m.reads)
	}
	return m, nil
}

// ticks is the unit of times in /proc/PID/stat per second: USER_HZ, which is 100
// on all architectures of Linux that Go has (proc(5), sysconf(3)).
const ticks = 100

// processor returns how long a process has been on processors.
func processor(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	// The name, in brackets, may have spaces; utime and stime are fields 14 and 15.
	_, rest, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("read processor time: %q", b)
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseUint(f, 10, 63)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		sum += time.Duration(n) * time.Second / ticks
	}
	return sum, nil
}
