//go:build unix

package control

import (
	"io/fs"
	"syscall"
)

// ownedBy reports whether a file is that user's.
func ownedBy(info fs.FileInfo, uid int) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == uid
}
