//go:build unix

package command

import (
	"net"
	"path/filepath"
	"testing"
)

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil {
		t.Errorf("nobody asked, and: %v", err)
	}
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64)
	if n, err := c.Read(got); err != nil || string(got[:n]) != "READY=1" {
		t.Errorf("systemd was told %q, %v", got[:n], err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Notify("READY=1"); err == nil {
		t.Error("nobody listens, and nothing is said")
	}
}
