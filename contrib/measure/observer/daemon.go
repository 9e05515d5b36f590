package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"

	userdaemon "mailproxy/contrib/measure/daemon"
	"mailproxy/proxy"
)

// build builds the user's daemon into dir and returns the program.
func build(ctx context.Context, dir, name string, tags ...string) (string, error) {
	file := filepath.Join(dir, name)
	args := []string{"build", "-o", file}
	for _, t := range tags {
		args = append(args, "-tags", t)
	}
	out, err := exec.CommandContext(ctx, "go", append(args, "mailproxy/cmd/mailproxy")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the daemon: %w\n%s", err, out)
	}
	return file, nil
}

// A daemon is a "mailproxy run" with one account, in a process of its own.
type daemon struct {
	cmd     *exec.Cmd
	log     bytes.Buffer // all that it has written; to be read when it has ended
	dir     string       // its data
	tape    *tape
	address string
	secret  string // the account's password
	smtp    string // where it takes mail
}

// start starts a daemon whose network is that of the note.
func start(program, dir string, note proxy.NetworkConfig, address string) (*daemon, error) {
	files, err := userdaemon.Configure(dir, note, true)
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: files.Data, address: address, cmd: exec.Command(program, "run", "--config", files.Config)}
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return d, nil
}

// register waits for the daemon, adds the account and waits until its provider has
// it.
func (d *daemon) register(ctx context.Context) error {
	added, err := userdaemon.Register(ctx, d.dir, proxy.NewAccount{Address: d.address})
	if err != nil {
		return err
	}
	d.secret = added.Password
	s, err := proxy.Control(d.dir).Status(ctx)
	d.smtp = s.Listen["smtp"]
	return err
}

// status returns what the daemon says of its client of the network.
func (d *daemon) status(ctx context.Context) (proxy.NetworkStatus, error) {
	s, err := proxy.Control(d.dir).Status(ctx)
	if err != nil {
		return proxy.NetworkStatus{}, fmt.Errorf("ask the daemon of %s: %w", d.address, err)
	}
	return s.Accounts[0].Network, nil
}

// submit hands the daemon a mail by SMTP, as a mail program does.
func (d *daemon) submit(to string, message []byte) (err error) {
	c, err := smtp.Dial(d.smtp)
	if err != nil {
		return fmt.Errorf("connect to the daemon of %s: %w", d.address, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("submit mail from %s: %w", d.address, err), c.Close())
		}
	}()
	if err := c.Auth(smtp.PlainAuth("", d.address, d.secret, "127.0.0.1")); err != nil {
		return err
	}
	if err := c.Mail(d.address); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// stop ends the process in good order.
func (d *daemon) stop() error {
	err := d.cmd.Process.Signal(os.Interrupt)
	if err = errors.Join(err, d.cmd.Wait()); err != nil {
		return fmt.Errorf("stop the daemon of %s: %w; it said:\n%s", d.address, err, d.log.Bytes())
	}
	return nil
}
