// Package durable writes small files so that a crash or a power cut leaves the old
// content or the new, never a part, and so that the name is on disk too. It is a
// leaf: whoever keeps files beside a store may import it.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// TempPrefix begins the names of the files that a crash may leave behind.
const TempPrefix = ".new-"

// WriteFile writes b to file with these permissions, all at once and synced, in
// place of what may be there.
func WriteFile(file string, b []byte, perm os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), TempPrefix+"*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = f.Write(b)
	if err == nil && perm != 0o600 {
		err = f.Chmod(perm)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(f.Name()))
	}
	return SyncDir(filepath.Dir(file))
}

// SyncDir makes the names in dir durable. On Windows, which cannot sync a
// directory and keeps names in the file system's journal, it does nothing.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
