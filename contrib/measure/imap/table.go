package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A figure is a row's cost in one round.
type figure struct{ took, cpu time.Duration }

// A table collects the figures of all rounds.
type table struct {
	o       options
	rows    []row
	version string // of Dovecot
	machine string
	began   time.Time
	figures [2][][]figure // by server, row, round
	wakes   [2][]time.Duration
	synced  time.Duration // of one small synced write
}

// round runs all rows once on each server.
func (t *table) round(ctx context.Context, servers []*server, mails [][]byte, round int) (err error) {
	var sessions []*session
	defer func() {
		for i, s := range sessions {
			t.wakes[i] = append(t.wakes[i], s.wakes...)
			if err == nil {
				err = s.close()
			}
		}
	}()
	for i, v := range servers {
		s, err := open(v, mails, round)
		if err != nil {
			return err
		}
		sessions = append(sessions, s)
		if t.figures[i] == nil {
			t.figures[i] = make([][]figure, len(t.rows))
		}
	}
	for n, r := range t.rows {
		sums := make([]figure, len(sessions))
		for slice := range r.slices {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			for k := range sessions {
				i := (k + slice + round) % len(sessions) // who is first changes
				f, err := t.slice(sessions[i], r, slice)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", sessions[i].server.name, r.name, err)
				}
				sums[i].took += f.took
				sums[i].cpu += f.cpu
			}
		}
		for i := range sums {
			if r.mean {
				sums[i].took /= time.Duration(r.slices)
				sums[i].cpu /= time.Duration(r.slices)
			}
			t.figures[i][n] = append(t.figures[i][n], sums[i])
		}
	}
	return nil
}

// slice runs and times one slice.
func (t *table) slice(s *session, r row, slice int) (f figure, err error) {
	if r.before != nil {
		if err := r.before(s, slice); err != nil {
			return f, fmt.Errorf("before: %w", err)
		}
	}
	if r.warm && slice == 0 {
		if err := r.run(s, slice); err != nil {
			return f, fmt.Errorf("warming up: %w", err)
		}
	}
	if t.o.profile != "" && s.server.profile != nil {
		name := strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
				return c
			}
			return '-'
		}, r.name)
		if slice == 0 {
			if err := s.server.profile(filepath.Join(t.o.profile, name+".pprof")); err != nil {
				return f, err
			}
		}
		if slice == r.slices-1 {
			defer func() { err = errors.Join(err, s.server.profile("")) }()
		}
	}
	cpu, start := ownCPU(), time.Now()
	err = r.run(s, slice)
	return figure{time.Since(start), ownCPU() - cpu}, err
}

// before looks at the machine before anything runs.
func (t *table) before(dir string) (err error) {
	t.began = time.Now()
	t.machine = machine()
	t.synced, err = probe(dir)
	return err
}

// probe returns what one small write costs when it is synced: the median of 101.
func probe(dir string) (took time.Duration, err error) {
	f, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	times := make([]time.Duration, 101)
	for i := range times {
		start := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// machine says on what this runs, and what else runs there.
func machine() string {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	return fmt.Sprintf("%s/%s, %d processors, %s; load %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " "))
}

func median[T time.Duration | float64](list []T) T {
	list = slices.Clone(list)
	slices.Sort(list)
	if len(list) == 0 {
		return 0
	}
	return list[len(list)/2]
}

// print prints the table and the line of figures.
func (t *table) print(w io.Writer, end time.Time) error {
	out := &strings.Builder{}
	fmt.Fprintf(out, "%d messages of %d bytes, %d rounds, %.0f s\n", t.o.messages, t.o.size, t.o.rounds, end.Sub(t.began).Seconds())
	fmt.Fprintf(out, "before: %s; a synced write of 4 KiB takes %v\nafter: %s\n", t.machine, t.synced.Round(time.Microsecond), machine())
	if t.version != "" {
		fmt.Fprintf(out, "Dovecot %s, %s, mail_fsync=always\n", t.version, t.o.format)
	}
	fmt.Fprintf(out, "\n%-42s %10s %10s %10s %10s %7s\n", "", "ours", "client", "dovecot", "client", "ratio")
	var last []string
	worst, worstRow := 0.0, "none"
	for n, r := range t.rows {
		took := func(i int) time.Duration {
			return median(column(t.figures[i][n], func(f figure) time.Duration { return f.took }))
		}
		cpu := func(i int) time.Duration {
			return median(column(t.figures[i][n], func(f figure) time.Duration { return f.cpu }))
		}
		fmt.Fprintf(out, "%-42s %10s %10s", r.name, ms(took(0)), ms(cpu(0)))
		if t.version != "" {
			ratios := make([]float64, t.o.rounds)
			for i := range ratios {
				ratios[i] = t.figures[0][n][i].took.Seconds() / t.figures[1][n][i].took.Seconds()
			}
			ratio := median(ratios)
			miss := ""
			if ratio > r.most {
				miss = fmt.Sprintf("  aim %.1f", r.most)
			}
			fmt.Fprintf(out, " %10s %10s %7.2f%s", ms(took(1)), ms(cpu(1)), ratio, miss)
			if ratio > worst {
				worst, worstRow = ratio, slug(r.name)
			}
			if r.key != "" {
				last = append(last, fmt.Sprintf("%s=%.2f", r.key, ratio))
			}
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "\na client in IDLE heard of a message %s after its storing was answered (median)", ms(median(t.wakes[0])))
	if t.version != "" {
		fmt.Fprintf(out, ", Dovecot's %s\n\nworst_ratio=%.2f worst_row=%s %s", ms(median(t.wakes[1])), worst, worstRow, strings.Join(last, " "))
	}
	fmt.Fprintln(out)
	_, err := io.WriteString(w, out.String())
	return err
}

func column(list []figure, get func(figure) time.Duration) []time.Duration {
	out := make([]time.Duration, len(list))
	for i, f := range list {
		out[i] = get(f)
	}
	return out
}

// ms writes a time in milliseconds with three digits that count.
func ms(d time.Duration) string {
	v := float64(d) / float64(time.Millisecond)
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f ms", v)
	case v < 100:
		return fmt.Sprintf("%.1f ms", v)
	}
	return fmt.Sprintf("%.0f ms", v)
}

// slug makes a row's name one word.
func slug(name string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(name), func(c rune) bool {
		return c < 'a' || c > 'z'
	}), "_")
}
