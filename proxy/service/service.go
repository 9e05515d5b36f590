// Package service has the user's system run the daemon: at once, and each time that
// the user logs in.
//
// It uses what the system has for that: the user's systemd, launchd, the Run key of
// Windows, or where there is none of these a process that is started now, and an entry
// that desktops start by (freedesktop.org, Autostart specification). It asks for no
// administrator's rights and changes nothing of other users. It does not know what the
// daemon does; cmd/mailproxy imports it.
package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Name is what the service is called where it has a name.
const Name = "mailproxy"

// Program is what is to run: with the one argument run, on the configuration that it
// takes by itself. A second one for another configuration would be in the way of the
// first.
type Program struct {
	Path string // of the executable
	Log  string // file for what it prints, where the system keeps none
}

// argument has the program run the daemon.
const argument = "run"

// A Manager is what runs services here.
type Manager struct {
	// Words says what it is: "your systemd".
	Words string
	// Login says that it starts the service when the user logs in.
	Login bool

	install func(ctx context.Context, p Program) (did []string, err error)
	remove  func(ctx context.Context) (did []string, err error)
}

// Install has the program run, now and from now on. It returns what it did, in
// sentences, also when it fails. A second time it does no harm.
func (m *Manager) Install(ctx context.Context, p Program) (did []string, err error) {
	if did, err = m.install(ctx, p); err != nil {
		return did, fmt.Errorf("have %s run mailproxy: %w", m.Words, err)
	}
	return did, nil
}

// Remove undoes Install, and stops what Install started but for the process that the
// last manager started, which ends as any daemon that is told to. A second time it does
// no harm.
func (m *Manager) Remove(ctx context.Context) (did []string, err error) {
	if did, err = m.remove(ctx); err != nil {
		return did, fmt.Errorf("have %s run mailproxy no more: %w", m.Words, err)
	}
	return did, nil
}

// run runs a program of the system and says what it printed if it fails.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, text)
	}
	return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
}

// put writes a file of the user's. It says whether it was there already as it should be.
func put(file, text string) (same bool, err error) {
	if have, err := os.ReadFile(file); err == nil && string(have) == text {
		return true, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return false, err
	}
	return false, os.WriteFile(file, []byte(text), 0o644)
}

// drop removes a file, and says whether there was one.
func drop(file string) (was bool, err error) {
	switch err := os.Remove(file); {
	case err == nil:
		return true, nil
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	default:
		return false, err
	}
}

// start starts the program as a process of its own, which outlives this one.
func start(p Program) (pid int, err error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(p.Path, argument)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = filepath.Dir(p.Log)
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", p.Path, err)
	}
	pid = cmd.Process.Pid
	return pid, cmd.Process.Release()
}
