package service

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// detached has a process live on when the console is closed, and shows none of its own.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}
