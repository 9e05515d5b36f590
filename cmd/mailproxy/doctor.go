package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"mailproxy/internal/command"
	"mailproxy/internal/control"
	"mailproxy/internal/store"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/proxy/cert/truststore"
	"mailproxy/proxy/doctor"
)

type doctorCmd struct {
	configFlag
	command.JSONFlag
}

// doctorPatience bounds how long the daemon is waited for.
const doctorPatience = 20 * time.Second

// Run makes all checks. It fails if one of them found a problem.
func (d *doctorCmd) Run(ctx context.Context) error {
	computer, err := truststore.This()
	if err != nil {
		return err
	}
	p := &doctor.Patient{
		File: d.Config, Free: store.Free, Computer: computer, Windows: runtime.GOOS == "windows", Now: time.Now(),
		Document: func(cfg proxy.Config) (doctor.Document, error) {
			doc, err := loadNetwork(cfg)
			if err != nil {
				return doctor.Document{}, err
			}
			out := doctor.Document{Network: doc.Network, Made: doc.Made}
			for _, n := range doc.WithRole(directory.RoleGateway) {
				out.Gateways = append(out.Gateways, n.Name)
			}
			return out, nil
		},
	}
	if p.Config, p.ConfigErr = proxy.LoadConfig(d.Config); p.ConfigErr == nil {
		p.Status, p.StatusErr = askStatus(ctx, p.Config.Dir)
	}
	results := doctor.Examine(ctx, p)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.Say(results, func() { printResults(results) }); err != nil {
		return err
	}
	if n := doctor.Problems(results); n > 0 {
		return fmt.Errorf("%d problem%s: see above what to do", n, plural(n))
	}
	return nil
}

// askStatus returns the daemon's status, or nothing if none runs.
func askStatus(ctx context.Context, dir string) (*proxy.Status, error) {
	asking, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	s, err := proxy.Control(dir).Status(asking)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return nil, nil
	case asking.Err() != nil:
		return nil, fmt.Errorf("it runs and has not answered for %v: restart it", doctorPatience)
	case err != nil:
		return nil, err
	}
	return &s, nil
}

func printResults(results []doctor.Result) {
	warnings := 0
	for _, r := range results {
		fmt.Printf("%-8s %-17s %s\n", r.Level, r.Check, r.Text)
		if r.Hint != "" {
			fmt.Printf("%26s to do: %s\n", "", r.Hint)
		}
		if r.Level == doctor.Warning {
			warnings++
		}
	}
	switch {
	case doctor.Problems(results) > 0:
	case warnings > 0:
		fmt.Printf("\nNo problem, and %d warning%s.\n", warnings, plural(warnings))
	default:
		fmt.Println("\nAll is well.")
	}
}
