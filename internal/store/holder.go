package store

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Holder returns the id of the process that has the store in dir, when Open has failed
// with ErrLocked. It is false where that is not known: Badger leaves its process's id
// in a file, but not on Windows.
func Holder(dir string) (pid int, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, "LOCK"))
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	return pid, err == nil && pid > 0
}
