package command

import (
	"os"
	"os/signal"
	"syscall"
)

// Reloads returns what tells that the operator wants the configuration to be read
// again, by SIGHUP, until stop is called. Signals that come while one is being
// worked on become one.
func Reloads() (hup <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
