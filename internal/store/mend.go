package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mend removes what keeps Badger from opening a directory after a crash: a log
// that was created and not yet given its size. It holds nothing, but Badger takes
// it for a new one where it expects one that is there, and fails with "Create a
// new file" (the next attempt would succeed, since this one gave it its size).
//
// The directory is locked meanwhile, as Badger locks it: another process may be
// about to give the file its size.
func mend(dir string) error {
	empty, err := emptyLogs(dir)
	if err != nil || len(empty) == 0 {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	// Once more, since another process may have opened and closed it before.
	empty, err = emptyLogs(dir)
	for _, file := range empty {
		if rmErr := os.Remove(file); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove empty log: %w", rmErr))
		}
	}
	return errors.Join(err, unlock())
}

// emptyLogs returns the memory-table and value logs in dir that have no bytes.
func emptyLogs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	var empty []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // its process has just removed it
		case err != nil:
			return nil, fmt.Errorf("list logs: %w", err)
		case info.Size() == 0:
			empty = append(empty, filepath.Join(dir, e.Name()))
		}
	}
	return empty, nil
}
