//go:build unix

package storekey

import (
	"fmt"
	"os"
	"syscall"
)

// openToErase opens the file that is about to be replaced.
func openToErase(file string) (*os.File, error) { return os.OpenFile(file, os.O_WRONLY, 0) }

// eraseUnlinked overwrites f unless it has another name: a backup by hard links has,
// and its store must not lose its key.
func eraseUnlinked(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("overwrite the former key: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink > 0 {
		return nil
	}
	return overwrite(f)
}
