package store

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// releasePages gives back the pages of the value logs in dir. It finds them in the
// list of what is mapped, since Badger does not tell; should one be unmapped meanwhile
// and something else be in its place, that loses nothing either: MADV_PAGEOUT only
// asks to reclaim pages, whose bytes come back when they are used (madvise(2)).
func releasePages(dir string) error {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("list mapped files: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		_, name, ok := strings.Cut(lines.Text(), " /")
		if !ok || filepath.Dir("/"+name) != dir || filepath.Ext(name) != ".vlog" {
			continue
		}
		var from, to uint64
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); err != nil {
			return fmt.Errorf("list mapped files: %w", err)
		}
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_PAGEOUT)
		if errno != 0 && !errors.Is(errno, unix.ENOMEM) { // it is not mapped any more
			return fmt.Errorf("give back memory: %w", errno)
		}
	}
	return lines.Err()
}
