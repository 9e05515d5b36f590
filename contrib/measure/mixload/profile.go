//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// shares says what a sample of the profile is for: the first of which the pattern
// matches any function of its stack. What they allocate counts as theirs, since
// unwrapping alone allocates too; collecting it does not.
var shares = []struct {
	what    string
	pattern *regexp.Regexp
}{
	// The assembly of AEZ hides who called it.
	{"unwrapping", regexp.MustCompile(`sphinx\.\(\*PrivateKey\)\.Unwrap|yawning/aez`)},
	{"replay tags: the file", regexp.MustCompile(`(?s)os\.\(\*File\)\.WriteAt.*keyring\.\(\*Tags\)`)},
	{"replay tags: the set", regexp.MustCompile(`keyring\.\(\*(Tags|shard)\)`)},
	{"collecting garbage", regexp.MustCompile(`runtime\.(gcBgMarkWorker|gcAssistAlloc|bgsweep|bgscavenge|gcStart|gcMarkDone|deductSweepCredit|gcDrain)`)},
	{"sockets: writing", regexp.MustCompile(`internal/poll\.\(\*FD\)\.Write`)},
	{"sockets: reading", regexp.MustCompile(`internal/poll\.\(\*FD\)\.Read`)},
	{"TLS without its sockets", regexp.MustCompile(`crypto/tls\.`)},
	{"delays", regexp.MustCompile(`node\.\(\*delayLine\)`)},
	{"the rest of node and wire", regexp.MustCompile(`mixnet/(node|wire|keyring)`)},
	{"scheduling and polling", regexp.MustCompile(`runtime\.(mcall|schedule|findRunnable|netpoll|park_m|goexit0|sysmon|mstart)`)},
}

// share returns the index in shares for a stack; len(shares) for what none matches.
// Functions of a stack are separated by line feeds; the order of shares decides.
func share(stack string) int {
	for i := range shares {
		if shares[i].pattern.MatchString(stack) {
			return i
		}
	}
	return len(shares)
}

// printProfile prints where the time of the profile went.
func printProfile(w io.Writer, file string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "tool", "pprof", "-traces", self, file)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("read the profile: %w: %s", err, problem.String())
	}
	sums, rest, err := sum(bytes.NewReader(out))
	if err != nil {
		return err
	}
	var total time.Duration
	for _, s := range sums {
		total += s
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nof %.1f s of the core, by the profile\t\n", total.Seconds())
	for i, s := range sums {
		what := "what is left"
		if i < len(shares) {
			what = shares[i].what
		}
		fmt.Fprintf(t, "%s\t%.1f %%\n", what, 100*s.Seconds()/total.Seconds())
	}
	for _, name := range slices.SortedFunc(maps.Keys(rest), func(a, b string) int { return cmp.Compare(rest[b], rest[a]) })[:min(len(rest), 5)] {
		fmt.Fprintf(t, "  of that %s\t%.1f %%\n", name, 100*rest[name].Seconds()/total.Seconds())
	}
	return t.Flush()
}

// sum adds up samples as "go tool pprof -traces" prints them: a line of dashes
// before each, then its time and its functions, innermost first. It also returns
// what is in no share, by outermost function.
func sum(r io.Reader) (sums []time.Duration, rest map[string]time.Duration, err error) {
	sums, rest = make([]time.Duration, len(shares)+1), map[string]time.Duration{}
	var stack []string
	var took time.Duration
	end := func() {
		if len(stack) > 0 {
			i := share(strings.Join(stack, "\n"))
			sums[i] += took
			if i == len(shares) {
				rest[stack[len(stack)-1]] += took
			}
		}
		stack = nil
	}
	lines := bufio.NewScanner(r)
	begun := false
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "----") {
			end()
			begun = true
			continue
		}
		if !begun {
			continue
		}
		fields := strings.Fields(strings.ReplaceAll(line, " (inline)", ""))
		if len(stack) == 0 && len(fields) >= 2 {
			if took, err = time.ParseDuration(fields[0]); err != nil {
				return nil, nil, fmt.Errorf("read the profile: %w", err)
			}
			fields = fields[1:]
		}
		stack = append(stack, fields...)
	}
	end()
	return sums, rest, lines.Err()
}
