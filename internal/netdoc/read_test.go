//go:build unix

package netdoc

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRead reads what an invitation may name beside a document.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for name, size := range map[string]int{"most": maxDocument, "more": maxDocument + 1} {
		if err := os.WriteFile(file(name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("most", file("link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		file("most"): "", file("link"): "", file("more"): "more than", file("none"): "no such file",
		dir: "is no file with a document", file("pipe"): "is no file with a document", "/dev/zero": "is no file with a document",
	} {
		b, err := Read(name)
		switch {
		case want == "" && (err != nil || len(b) != maxDocument):
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
