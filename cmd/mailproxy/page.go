package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"mailproxy/internal/command"
	"mailproxy/proxy"
)

type pageCmd struct {
	configFlag
	Open bool `help:"Open it in the browser; without a desktop, only its address is printed." default:"true" negatable:""`
	command.JSONFlag
}

// Run prints a link to the running daemon's status page, or opens it.
func (p *pageCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(p.Config)
	if err != nil {
		return err
	}
	url, err := proxy.Control(cfg.Dir).Page(ctx)
	if err != nil {
		return err
	}
	if p.JSON {
		return printJSON(proxy.PageLink{URL: url})
	}
	if p.Open {
		opened, err := openBrowser(ctx, url)
		if opened {
			fmt.Println("The status page is opened in your browser. If it does not show, run this again with --no-open, and open the address by hand.")
			return nil
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "mailproxy: no browser could be started:", err)
		}
	}
	fmt.Printf("%s\n\nThis opens the status page once, within five minutes, in a browser on this computer. Give it to nobody.\n", url)
	return nil
}

// openBrowser starts the desktop's browser at url. It returns false where there is no
// desktop, or nothing that would start one.
func openBrowser(ctx context.Context, url string) (bool, error) {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	default:
		if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
			return false, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return false, nil
	}
	if err := exec.CommandContext(ctx, path, args...).Run(); err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}
