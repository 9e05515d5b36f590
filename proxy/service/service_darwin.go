package service

import (
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// label is the agent's, see launchd.plist(5).
const label = "io.mailproxy.daemon"

// Here returns what runs services for this user.
func Here(context.Context) (*Manager, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("find where your services are: %w", err)
	}
	file := filepath.Join(home, "Library", "LaunchAgents", label+".plist")
	domain := fmt.Sprintf("gui/%d", os.Getuid())
	loaded := func(ctx context.Context) bool { return run(ctx, "launchctl", "print", domain+"/"+label) == nil }
	return &Manager{
		Words: "launchd", Login: true,
		install: func(ctx context.Context, p Program) (did []string, err error) {
			same, err := put(file, agent(p))
			if err != nil {
				return did, err
			}
			if !same {
				did = append(did, "wrote "+file)
			}
			if loaded(ctx) {
				if same {
					return did, nil
				}
				if err := run(ctx, "launchctl", "bootout", domain+"/"+label); err != nil {
					return did, err
				}
			}
			if err := run(ctx, "launchctl", "bootstrap", domain, file); err != nil {
				return did, err
			}
			return append(did, "started "+label), nil
		},
		remove: func(ctx context.Context) (did []string, err error) {
			if loaded(ctx) {
				if err := run(ctx, "launchctl", "bootout", domain+"/"+label); err != nil {
					return did, err
				}
				did = append(did, "stopped "+label)
			}
			was, err := drop(file)
			if was {
				did = append(did, "removed "+file)
			}
			return did, err
		},
	}, nil
}

func agent(p Program) string {
	word := func(s string) string {
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(s)) // into memory
		return "<string>" + b.String() + "</string>"
	}
	words := word(p.Path) + word(argument)
	return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>Label</key>` + word(label) + `
<key>ProgramArguments</key><array>` + words + `</array>
<key>RunAtLoad</key><true/>
<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
<key>StandardOutPath</key>` + word(p.Log) + `
<key>StandardErrorPath</key>` + word(p.Log) + `
</dict></plist>
`
}
