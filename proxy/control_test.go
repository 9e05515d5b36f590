package proxy

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestSocketDirectoryOfAnother has another user of the machine make the directory
// of the control socket first.
func TestSocketDirectoryOfAnother(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there the directory's owner decides")
	}
	t.Setenv("TMPDIR", t.TempDir())
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", maxSocketPath/4))
	path, err := socketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkSocket(dir, path); err != nil {
		t.Errorf("our own directory: %v", err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil { // past the umask
		t.Fatal(err)
	}
	d := &Daemon{log: slog.New(slog.DiscardHandler), opt: Options{Dir: dir}}
	if err := d.ServeControl(t.Context()); err == nil || !strings.Contains(err.Error(), "others can use") {
		t.Errorf("ServeControl = %v", err)
	}
	if _, err := Control(dir).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "others can use") {
		t.Errorf("Status = %v", err)
	}
}
