//go:build !linux

package store

// releasePages does nothing: other systems take mapped pages back by themselves, and
// do not count them as the process's own.
func releasePages(string) error { return nil }
