//go:build unix && !linux

package command

import (
	"fmt"
	"syscall"
)

// noDump keeps what is in memory, keys and mail among it, out of core dumps.
func noDump() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("switch core dumps off: %w", err)
	}
	return nil
}
