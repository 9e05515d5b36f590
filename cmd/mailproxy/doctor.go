package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"mailproxy/internal/command"
	"mailproxy/internal/control"
	"mailproxy/internal/store"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/proxy/cert/truststore"
	"mailproxy/proxy/doctor"
	"mailproxy/proxy/web"
)

type doctorCmd struct {
	configFlag
	command.JSONFlag
}

// doctorPatience bounds how long the daemon is waited for.
const doctorPatience = 20 * time.Second

// Run makes all checks. It fails if one of them found a problem.
func (d *doctorCmd) Run(ctx context.Context) error {
	p, err := newPatient(d.Config)
	if err != nil {
		return err
	}
	if p.ConfigErr == nil {
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

// newPatient is all that is looked at but the daemon.
func newPatient(config string) (*doctor.Patient, error) {
	computer, err := truststore.This()
	if err != nil {
		return nil, err
	}
	p := &doctor.Patient{
		File: config, Free: store.Free, Computer: computer, Windows: runtime.GOOS == "windows", Now: time.Now(),
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
	p.Config, p.ConfigErr = proxy.LoadConfig(config)
	return p, nil
}

// seenByDaemon are the checks that the status page makes of its own, from what the
// daemon sees.
var seenByDaemon = []string{"disk", "store key", "daemon", "ports", "gateway", "clock", "loss", "accounts", "keys of others", "certificate"}

// pageChecks makes the others for the status page of the daemon with that configuration.
func pageChecks(config string) func(context.Context, proxy.Status) []web.Check {
	levels := map[doctor.Level]web.Level{doctor.OK: web.Good, doctor.Warning: web.Notice, doctor.Problem: web.Trouble}
	return func(ctx context.Context, s proxy.Status) []web.Check {
		p, err := newPatient(config)
		if err != nil {
			return []web.Check{{Name: "Computer", Level: web.Notice, Text: err.Error()}}
		}
		p.Status = &s
		var list []web.Check
		for _, r := range doctor.Examine(ctx, p) {
			if !slices.Contains(seenByDaemon, r.Check) {
				list = append(list, web.Check{Name: strings.ToUpper(r.Check[:1]) + r.Check[1:], Level: levels[r.Level], Text: r.Text, Advice: r.Hint})
			}
		}
		return list
	}
}

// askStatus returns the daemon's status, or nothing if none runs.
func askStatus(ctx context.Context, dir string) (*proxy.Status, error) {
	asking, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	s, err := proxy.Control(dir).Status(asking)
	switch {
	case errors.Is(err, proxy.ErrMoved):
		return nil, err
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
