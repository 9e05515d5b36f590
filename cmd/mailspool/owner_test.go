//go:build unix

package main

import (
	"os"
	"strings"
	"testing"
)

// TestSameOwner has root run what belongs to the service's user.
func TestSameOwner(t *testing.T) {
	dir := t.TempDir()
	if err := sameOwner(dir); err != nil {
		t.Errorf("our own directory: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a directory another's")
	}
	if err := os.Chown(dir, 4321, 4321); err != nil {
		t.Fatal(err)
	}
	if err := sameOwner(dir); err == nil || !strings.Contains(err.Error(), "run this as 4321 (sudo -u 4321)") {
		t.Errorf("another's directory: %v", err)
	}
}
