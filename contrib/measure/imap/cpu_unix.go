//go:build unix

package main

import (
	"syscall"
	"time"
)

// ownCPU returns how long this process has been on processors.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // cannot be, for a process that asks of itself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
