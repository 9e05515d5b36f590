package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCommandLine is about paths that mean something else to who reads them.
func TestCommandLine(t *testing.T) {
	p := Program{Path: "/opt/a b/$x%y\"\\`/mailproxy"}
	if want := `ExecStart="/opt/a b/$$x%%y\"\\` + "`" + `/mailproxy" run` + "\n"; !strings.Contains(unit(p), want) {
		t.Errorf("%s\ndoes not have %s", unit(p), want)
	}
	if want := `Exec="/opt/a b/\\$x%%y\\"\\\\` + "\\\\`" + `/mailproxy" run` + "\n"; !strings.Contains(desktop(p), want) {
		t.Errorf("%s\ndoes not have %s", desktop(p), want)
	}
}

// TestAutostart installs, starts and removes where there is no systemd.
func TestAutostart(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\"; echo oops >&2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	m, p := autostart(dir), Program{Path: program, Log: filepath.Join(dir, "log")}
	for _, want := range []int{2, 1} { // the entry is there, the second time
		did, err := m.Install(t.Context(), p)
		if err != nil || len(did) != want {
			t.Fatal(did, err)
		}
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if b, err := os.ReadFile(p.Log); err == nil && strings.Count(string(b), "run\n") == 2 && strings.Count(string(b), "oops\n") == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it was not started with run, twice")
		}
	}
	if info, err := os.Stat(p.Log); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	for _, want := range []int{1, 0} {
		did, err := m.Remove(t.Context())
		if err != nil || len(did) != want {
			t.Error(did, err)
		}
	}
	p.Path = filepath.Join(dir, "none")
	if _, err := m.Install(t.Context(), p); err == nil || !strings.Contains(err.Error(), "have this computer run mailproxy: start ") {
		t.Error(err)
	}
}
