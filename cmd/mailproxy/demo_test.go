package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestJoinFromHere: the line has a name, without which join - refuses, and how to get the
// program is said to who has none.
func TestJoinFromHere(t *testing.T) {
	line := "  mailproxy join - --name YOU < " + filepath.Join("d", "invitation") + "\n"
	if got := joinFromHere("d", true); got != line {
		t.Errorf("with the program: %q", got)
	}
	if got := joinFromHere("d", false); !strings.HasPrefix(got, line) || !strings.Contains(got, "go build ./cmd/mailproxy") {
		t.Errorf("without it: %q", got)
	}
}
