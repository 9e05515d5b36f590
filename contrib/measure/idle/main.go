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
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"mailproxy/contrib/measure/resident"
	"mailproxy/internal/demo"
	"mailproxy/proxy"
)

// patience is longer than start and registration take, but for a fault.
const patience = 2 * time.Minute

func main() {
	if part := os.Getenv(partEnv); part != "" {
		if err := runPart(part); err != nil {
			fmt.Fprintf(os.Stderr, "idle: %s: %v\n", part, err)
			os.Exit(1)
		}
		return
	}
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

	network, err := startPart(networkPart, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.stop()) }()
	var net networkReady
	if err := network.read(&net); err != nil {
		return err
	}
	cfg := proxy.DefaultConfig()
	cfg.Dir = filepath.Join(dir, "user")
	cfg.Network = proxy.NetworkConfig{Document: "network.note", Keys: net.Keys, Threshold: net.Threshold}
	cfg.Listen = proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0"}
	file := filepath.Join(dir, "mailproxy.toml")
	if err := os.WriteFile(filepath.Join(dir, "network.note"), net.Note, 0o644); err != nil {
		return err
	}
	if err := cfg.Write(file); err != nil {
		return err
	}
	var user *process
	if program == "" {
		user, err = startPart(userPart, file)
	} else {
		user, err = start(exec.Command(program, "run", "--config", file))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, user.stop()) }()
	if err := register(ctx, cfg.Dir); err != nil {
		return err
	}
	fmt.Printf("the network runs in process %d, the user's part in %d; registered, and warming up for %v\n", network.id(), user.id(), warmUp)
	if err := sleep(ctx, warmUp); err != nil {
		return err
	}
	m, err := measure(ctx, user.id(), cfg.Dir, length)
	if err != nil {
		return err
	}
	m.print()
	if program == "" {
		if err := user.profile(os.Stdout); err != nil {
			return err
		}
	}
	fmt.Printf("\nrss_mib=%.1f cpu_percent=%.2f\n", resident.MiB(m.mostRSS), m.cpuPercent())
	return nil
}

// register adds an account to the daemon with the data directory dir, as soon as
// that listens, and waits until its provider has it.
func register(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	control := proxy.Control(dir)
	for {
		if _, err := control.Status(ctx); err == nil {
			break
		} else if sleepErr := sleep(ctx, 50*time.Millisecond); sleepErr != nil {
			return fmt.Errorf("wait for the daemon: %w", err)
		}
	}
	added, err := control.AddAccount(ctx, proxy.NewAccount{Address: demo.Alice})
	if err == nil && added.Problem != "" {
		err = errors.New(added.Problem)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// A process is one that was started and will be stopped.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	ask io.Writer
	out *bufio.Reader
}

// start starts a process whose end is asked for by a signal.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.ask, p.out = in, in, bufio.NewReader(out)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// startPart starts this program once more, as the part.
func startPart(part, argument string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, argument)
	cmd.Env = append(os.Environ(), partEnv+"="+part)
	return start(cmd)
}

func (p *process) id() int { return p.cmd.Process.Pid }

// read reads a line of JSON.
func (p *process) read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read from process %d: %w", p.id(), err)
	}
	return json.Unmarshal(line, v)
}

// profile has the process say where its memory is.
func (p *process) profile(w io.Writer) error {
	if _, err := fmt.Fprintln(p.ask, "profile"); err != nil {
		return fmt.Errorf("ask process %d: %w", p.id(), err)
	}
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read from process %d: %w", p.id(), err)
		}
		if line == "\n" {
			return nil
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
}

// stop ends the process in good order.
func (p *process) stop() error {
	err := errors.Join(p.in.Close(), p.cmd.Process.Signal(os.Interrupt))
	_, copyErr := io.Copy(io.Discard, p.out) // until it ends, so that it is not blocked
	if err = errors.Join(err, copyErr, p.cmd.Wait()); err != nil {
		return fmt.Errorf("stop process %d: %w", p.id(), err)
	}
	return nil
}
