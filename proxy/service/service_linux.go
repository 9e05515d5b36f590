package service

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// packaged is where a package puts the unit, see systemd.unit(5).
var packaged = []string{"/usr/lib/systemd/user/mailproxy.service", "/lib/systemd/user/mailproxy.service"}

// unitName is the unit's.
const unitName = Name + ".service"

// Here returns what runs services for this user.
func Here(ctx context.Context) (*Manager, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("find where your services are: %w", err)
	}
	if systemdRuns(ctx) {
		return systemd(config), nil
	}
	return autostart(config), nil
}

// systemdRuns says whether there is a systemd of this user that answers.
func systemdRuns(ctx context.Context) bool {
	if _, err := exec.LookPath("systemctl"); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return run(ctx, "systemctl", "--user", "show", "--property=Version") == nil
}

func systemd(config string) *Manager {
	own := filepath.Join(config, "systemd", "user", unitName)
	return &Manager{
		Words: "your systemd", Login: true,
		install: func(ctx context.Context, p Program) (did []string, err error) {
			if !fits(p) {
				same, err := put(own, unit(p))
				if err != nil {
					return did, err
				}
				if !same {
					did = append(did, "wrote "+own)
				}
				if err := run(ctx, "systemctl", "--user", "daemon-reload"); err != nil {
					return did, err
				}
			}
			if err := run(ctx, "systemctl", "--user", "enable", "--now", unitName); err != nil {
				return did, err
			}
			return append(did, "enabled and started "+unitName+" (systemctl --user status mailproxy)"), nil
		},
		remove: func(ctx context.Context) (did []string, err error) {
			if run(ctx, "systemctl", "--user", "cat", unitName) != nil {
				return nil, nil // there is none
			}
			if err := run(ctx, "systemctl", "--user", "disable", "--now", unitName); err != nil {
				return did, err
			}
			did = append(did, "stopped and disabled "+unitName)
			was, err := drop(own)
			if err != nil || !was {
				return did, err
			}
			return append(did, "removed "+own), run(ctx, "systemctl", "--user", "daemon-reload")
		},
	}
}

// fits says whether the package's unit runs just this program.
func fits(p Program) bool {
	for _, file := range packaged {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), "\nExecStart="+p.Path+" run\n") {
			return true
		}
	}
	return false
}

// A path within a command line, as systemd.service(5) reads it, and as the Desktop Entry
// specification does.
var (
	forSystemd = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `$$`, `%`, `%%`)
	// A desktop reads the value as a string first, and then as a command.
	forDesktop = strings.NewReplacer(`\`, `\\\\`, `"`, `\\"`, "`", "\\\\`", `$`, `\\$`, `%`, `%%`)
)

func commandLine(p Program, quoted *strings.Replacer) string {
	return `"` + quoted.Replace(p.Path) + `" ` + argument
}

// unit is a small one, for a program that no package installed.
func unit(p Program) string {
	return `# Made by "mailproxy join" or "import"; "mailproxy leave" removes it.
[Unit]
Description=mailproxy: private e-mail on localhost
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=` + commandLine(p, forSystemd) + `
ExecReload=/bin/sh -c 'kill -HUP $$MAINPID'
Restart=on-failure
# When the accounts were moved to another computer.
RestartPreventExitStatus=6
RestartSec=5s
TimeoutStopSec=60s
UMask=0077
NoNewPrivileges=yes
LimitCORE=0

[Install]
WantedBy=default.target
`
}

// autostart is for desktops without systemd, and for machines without a desktop, where
// the process that is started now is all there is.
func autostart(config string) *Manager {
	entry := filepath.Join(config, "autostart", Name+".desktop")
	return &Manager{
		Words: "this computer",
		install: func(_ context.Context, p Program) (did []string, err error) {
			same, err := put(entry, desktop(p))
			if err != nil {
				return did, err
			}
			if !same {
				did = append(did, "wrote "+entry+", by which desktops start mailproxy when you log in")
			}
			pid, err := start(p)
			if err != nil {
				return did, err
			}
			return append(did, fmt.Sprintf("started mailproxy (process %d); it writes to %s", pid, p.Log)), nil
		},
		remove: func(context.Context) (did []string, err error) {
			was, err := drop(entry)
			if was {
				did = append(did, "removed "+entry)
			}
			return did, err
		},
	}
}

// desktop is an entry of the Autostart specification. A terminal is not wanted.
func desktop(p Program) string {
	return "[Desktop Entry]\nType=Application\nName=mailproxy\nComment=Private e-mail on localhost\nExec=" + commandLine(p, forDesktop) + "\nTerminal=false\nNoDisplay=true\n"
}
