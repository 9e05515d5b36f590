package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"mailproxy/proxy"
	"mailproxy/proxy/ports"
	"mailproxy/proxy/service"
)

// The part of join and import that has the user's system run the daemon, on the usual
// configuration.

// startService has it run, now and at each login, and waits until it answers. What it does
// it tells did.
func startService(ctx context.Context, dir string, control *proxy.Controller, did func(format string, args ...any)) (s proxy.Status, err error) {
	p := service.Program{Log: filepath.Join(dir, logFile)}
	if p.Path, err = os.Executable(); err != nil {
		return s, fmt.Errorf("find this program: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, fmt.Errorf("make data directory: %w", err)
	}
	manager, err := service.Here(ctx)
	if err != nil {
		return s, err
	}
	done, err := manager.Install(ctx, p)
	for _, text := range done {
		did("%s", text)
	}
	if err != nil {
		return s, fmt.Errorf("%w\nStart it by hand instead: mailproxy run", err)
	}
	if s, err = waitForDaemon(ctx, control); err != nil {
		return s, fmt.Errorf("%w; to see why, start it by hand: mailproxy run%s", err, lastLines(p.Log))
	}
	return s, nil
}

// choosePorts takes others for those of a new configuration that other programs have.
func choosePorts(c *proxy.ListenConfig, did func(format string, args ...any)) error {
	for _, address := range []*string{&c.SMTP, &c.IMAP, &c.POP3, &c.SMTPS, &c.IMAPS, &c.POP3S, &c.Web} {
		if *address == "" {
			continue // it is not offered
		}
		var taken *ports.TakenError
		first := *address
		for try := 0; ; try++ {
			err := free(*address)
			if err == nil {
				break
			}
			if !errors.As(err, &taken) || try == mostPorts {
				return err
			}
			at, err := netip.ParseAddrPort(*address)
			if err != nil {
				return fmt.Errorf("listen on %s: %w", *address, err)
			}
			*address = netip.AddrPortFrom(at.Addr(), at.Port()+1000).String()
		}
		if *address != first {
			did("%s is taken by %s: mailproxy will use %s", first, taken.By(), *address)
		}
	}
	return nil
}

// mostPorts bounds how many others are tried.
const mostPorts = 10
