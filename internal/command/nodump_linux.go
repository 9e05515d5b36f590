package command

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noDump keeps what is in memory, keys and mail among it, out of core dumps. A limit
// of zero is not enough: where the system hands dumps to a program (core(5)), as
// systemd-coredump, the limit does not count, but that the process is not dumpable
// does. That also keeps other programs of the same user from reading its memory.
func noDump() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switch core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("switch core dumps off: %w", err)
	}
	return nil
}
