//go:build !unix

package storekey

import "os"

// openToErase opens nothing: Windows replaces no file that is open, and to overwrite
// the only copy of a key before the new one is on disk could lose both.
func openToErase(string) (*os.File, error) { return nil, nil }

func eraseUnlinked(f *os.File) error { return overwrite(f) }
