//go:build unix

package service

import "syscall"

// detached has a process live on when the terminal is closed.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
