// Package resident tells how much memory a process takes, as Linux says it in
// /proc/PID/status (proc(5)).
//
// It measures nothing by itself; the programs of contrib/measure import it.
package resident

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Sizes returns the sizes in /proc/PID/status in bytes, by their names there: VmRSS
// (all that is resident), RssAnon (what of it is not pages of files) and VmHWM (the
// most since the process began) are among them. It fails where there is no such file.
func Sizes(pid int) (map[string]uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, fmt.Errorf("read resident size: %w", err)
	}
	sizes := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		if kib, ok := strings.CutSuffix(strings.TrimSpace(value), " kB"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(kib), 10, 53)
			if err != nil {
				return nil, fmt.Errorf("read resident size: %w", err)
			}
			sizes[name] = n << 10
		}
	}
	for _, name := range []string{"VmRSS", "VmHWM", "RssAnon"} {
		if sizes[name] == 0 {
			return nil, fmt.Errorf("read resident size: the system does not tell %s", name)
		}
	}
	return sizes, nil
}

// MiB returns a number of bytes in MiB.
func MiB(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
