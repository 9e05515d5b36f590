package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// A server is one that is measured, in a process of its own.
type server struct {
	name, address, version string
	// profile writes a processor profile to the file from now on, or with "" ends
	// it. It is nil where that cannot be had.
	profile func(file string) error
	stop    func() error
}

// A process is a part of this program in a process of its own. It prints lines of
// JSON, and stops when its standard input ends.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startPart starts this program once more, as the part.
func startPart(part, argument string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, argument)}
	p.cmd.Env = append(os.Environ(), partEnv+"="+part)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	return p, nil
}

// read reads a line of JSON.
func (p *process) read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read from process %d: %w", p.cmd.Process.Pid, err)
	}
	return json.Unmarshal(line, v)
}

// ask sends a line and waits for its answer, which is a string: empty, or what
// went wrong.
func (p *process) ask(line string) error {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return fmt.Errorf("ask process %d: %w", p.cmd.Process.Pid, err)
	}
	var answer string
	if err := p.read(&answer); err != nil {
		return err
	}
	if answer != "" {
		return errors.New(answer)
	}
	return nil
}

// stop ends the process in good order.
func (p *process) stop() error {
	err := p.in.Close()
	_, copyErr := io.Copy(io.Discard, p.out) // until it ends, so that it is not blocked
	if err = errors.Join(err, copyErr, p.cmd.Wait()); err != nil {
		return fmt.Errorf("stop process %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// startOurs starts our server with its store below dir.
func startOurs(dir string) (*server, error) {
	p, err := startPart(mailPart, filepath.Join(dir, "ours"))
	if err != nil {
		return nil, err
	}
	var address string
	if err := p.read(&address); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return &server{name: "ours", address: address, stop: p.stop, profile: func(file string) error {
		return p.ask("profile " + file)
	}}, nil
}
