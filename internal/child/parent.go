package child

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// A Process is a child, as its parent has it. One goroutine at a time may read, and one
// wait; its end may be asked for by any.
type Process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// Command returns the command that starts this program once more as the part. The
// caller may change it before it is launched. What the child writes to standard error
// goes where this process's goes, if nothing else is set.
func Command(part string, config any) (*exec.Cmd, error) {
	raw, err := json.Marshal(config)
	if err == nil {
		raw, err = json.Marshal(role{part, raw})
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), variable+"="+string(raw))
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// Start starts this program once more as the part.
func Start(part string, config any) (*Process, error) {
	cmd, err := Command(part, config)
	if err != nil {
		return nil, err
	}
	return Launch(part, cmd)
}

// Launch starts what Command has returned, or another program that keeps to the same;
// the name is for errors.
func Launch(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{name: name, cmd: cmd}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), in.Close())
	}
	if err := cmd.Start(); err != nil { // which closes the pipes
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	return p, nil
}

// PID returns the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Read waits for the next line that the child says, and decodes it into v. It fails
// when the child has ended; a line that an end cut off is an error too.
func (p *Process) Read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil {
		return fmt.Errorf("hear from %s, process %d: %w", p.name, p.PID(), err)
	}
	return nil
}

// Ask sends a request to a child that serves them, and decodes what it replies into
// reply, which may be nil.
func (p *Process) Ask(request, reply any) error {
	if err := json.NewEncoder(p.in).Encode(request); err != nil {
		return fmt.Errorf("ask %s, process %d: %w", p.name, p.PID(), err)
	}
	var a answer
	if err := p.Read(&a); err != nil {
		return err
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s", p.name, a.Error)
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(a.Reply, reply); err != nil {
		return fmt.Errorf("ask %s, process %d: %w", p.name, p.PID(), err)
	}
	return nil
}

// Signal sends a signal to the child; one that has ended needs none.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s, process %d: %w", p.name, p.PID(), err)
	}
	return nil
}

// Kill ends the child at once. Wait is still to be called.
func (p *Process) Kill() error { return p.Signal(os.Kill) }

// Wait waits until the child has ended, and returns how: nil if in good order. What it
// says until then is dropped.
func (p *Process) Wait() error {
	_, err := io.Copy(io.Discard, p.out) // so that it is not blocked
	return errors.Join(err, p.cmd.Wait())
}

// End closes the child's input, at which it ends in good order.
func (p *Process) End() error {
	if err := p.in.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("end %s, process %d: %w", p.name, p.PID(), err)
	}
	return nil
}

// Stop ends the child in good order, and waits.
func (p *Process) Stop() error {
	err := p.End()
	if err = errors.Join(err, p.Wait()); err != nil {
		return fmt.Errorf("stop %s, process %d: %w", p.name, p.PID(), err)
	}
	return nil
}
