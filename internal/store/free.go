package store

import (
	"errors"
	"fmt"
)

// ErrFreeUnknown is returned by Free where the system cannot be asked.
var ErrFreeUnknown = errors.New("free space cannot be asked on this system")

// Free returns how many bytes the process may still write to the file system of
// dir.
func Free(dir string) (int64, error) {
	n, err := free(dir)
	if err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	return n, nil
}
