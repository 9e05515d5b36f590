//go:build unix

package main

import (
	"fmt"
	"os"
	osuser "os/user"
	"strconv"
	"syscall"
)

// sameOwner refuses a directory of another user, root's commands above all: the files
// that they would make the service could not open afterwards.
func sameOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return nil
	}
	name := strconv.Itoa(int(st.Uid))
	if u, err := osuser.LookupId(name); err == nil {
		name = u.Username
	}
	return fmt.Errorf("%s is another user's, and files made here would not be: run this as %s (sudo -u %s)", dir, name, name)
}
