//go:build !unix

package main

// sameOwner asks for nothing where files have no owner that counts.
func sameOwner(string) error { return nil }
