// Idle measures what the user's daemon costs while nobody sends or receives mail,
// with its cover traffic on: memory, and time on a processor.
//
//	go run ./contrib/measure/idle -for 5m
//
// One process runs the network and the spools, another the part of one user, with
// one account, as "mailproxy run" does: its own client of the network, the store,
// and the listeners. They meet over TCP on loopback. Only the second is measured,
// from its files in /proc (so this runs on Linux): resident memory once a second,
// and the time that it was on a processor. After the measurement that process says
// where its memory is. With -mailproxy FILE that program's "run" is measured
// instead, which cannot say it.
//
// rss_mib is the largest resident size during the measurement; the peak since the
// process began, when a password was hashed, is printed beside it. cpu_percent is
// of one core.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"mailproxy/contrib/measure/daemon"
	"mailproxy/contrib/measure/resident"
	"mailproxy/internal/child"
	"mailproxy/internal/demo"
	"mailproxy/internal/pause"
	"mailproxy/proxy"
)

// patience is longer than start and registration take, but for a fault.
const patience = 2 * time.Minute

func main() {
	child.Main(parts)
	length := flag.Duration("for", 5*time.Minute, "how long to measure")
	warmUp := flag.Duration("warm-up", time.Minute, "how long to wait between registration and measurement")
	program := flag.String("mailproxy", "", "measure this program's \"run\" instead of the same code in a process of this one's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *program, *warmUp, *length); err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program string, warmUp, length time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "mailproxy-idle-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	network, settings, err := daemon.StartNetwork(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Stop()) }()
	files, err := daemon.Configure(filepath.Join(dir, "user"), settings, false)
	if err != nil {
		return err
	}
	user, err := startUser(program, files.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, user.stop()) }()
	registering, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := daemon.Register(registering, files.Data, proxy.NewAccount{Address: demo.Alice}); err != nil {
		return err
	}
	fmt.Printf("the network runs in process %d, the user's part in %d; registered, and warming up for %v\n", network.PID(), user.PID(), warmUp)
	if err := pause.For(ctx, warmUp); err != nil {
		return err
	}
	m, err := measure(ctx, user.PID(), files.Data, length)
	if err != nil {
		return err
	}
	m.print()
	if program == "" {
		var profile string
		if err := user.Ask(profileRequest{}, &profile); err != nil {
			return err
		}
		fmt.Print(profile)
	}
	fmt.Printf("\nrss_mib=%.1f cpu_percent=%.2f\n", resident.MiB(m.mostRSS), m.cpuPercent())
	return nil
}

// A user is the process that is measured.
type user struct {
	*child.Process
	foreign bool // another program, which ends by a signal
}

// startUser starts the daemon of a configuration: the program's, if there is one.
func startUser(program, config string) (user, error) {
	if program == "" {
		p, err := child.Start(userPart, config)
		return user{p, false}, err
	}
	cmd := exec.Command(program, "run", "--config", config)
	cmd.Stderr = os.Stderr
	p, err := child.Launch(program, cmd)
	return user{p, true}, err
}

// stop ends the process in good order.
func (u user) stop() error {
	if !u.foreign {
		return u.Stop()
	}
	return errors.Join(u.Signal(os.Interrupt), u.Stop())
}
