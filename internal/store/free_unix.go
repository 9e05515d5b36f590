//go:build linux || darwin || freebsd

package store

import (
	"math"

	"golang.org/x/sys/unix"
)

func free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	// The fields' types differ between systems; what is reserved for root may
	// make the count negative on some.
	blocks, size := int64(st.Bavail), int64(st.Bsize)
	switch {
	case blocks <= 0 || size <= 0:
		return 0, nil
	case blocks > math.MaxInt64/size:
		return math.MaxInt64, nil
	}
	return blocks * size, nil
}
