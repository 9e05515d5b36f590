//go:build !unix

package command

// noDump does nothing: Windows writes a program's memory to a file only where the
// administrator has set that up for all programs.
func noDump() error { return nil }
