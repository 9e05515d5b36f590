// Thunderbird drives Debian's Thunderbird through what a person does with mailproxy,
// for contrib/thunderbird/run: it sets an account up, trusts mailproxy's authority,
// gets mail over IDLE, sends some, moves and deletes. Each step is checked twice: in
// Thunderbird, and by IMAP on the daemon's side; after each there is a screenshot. With
// -config, for contrib/thunderbird/dialog, it sets the account up as a new user does, by
// typing address and password into the dialog that Thunderbird opens by itself.
//
// It speaks Marionette, which Thunderbird has for tests, and calls there what its
// windows call. It imports nothing of mailproxy itself.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"mailproxy/contrib/clients/ready"
)

func main() {
	var d dialog
	file := flag.String("ready", "", "the demo's ready `file`")
	profile := flag.String("profile", "", "an empty `directory` for Thunderbird's profile")
	out := flag.String("out", "", "where screenshots and logs go, a `directory`")
	flag.StringVar(&d.config, "config", "", "set the account up in Thunderbird's own dialog, for the daemon with this configuration `file`")
	flag.BoolVar(&d.joined, "joined", false, "with -config: mailproxy join has been here, and nothing is left to install")
	flag.StringVar(&d.mailproxy, "mailproxy", "mailproxy", "the `program`, with -config")
	flag.StringVar(&d.address, "address", "", "the account's `address`, with -config")
	flag.StringVar(&d.password, "password-file", "", "`file` with its password, with -config")
	flag.StringVar(&d.name, "name", "", "its user's `name`, with -config; without it, of the address")
	flag.Parse()
	var failed bool
	var err error
	if d.config != "" {
		failed, err = d.run(*file, *out)
	} else {
		failed, err = run(*file, *profile, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "thunderbird:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run(file, profile, out string) (failed bool, err error) {
	f, err := ready.Read(file)
	if err != nil {
		return false, err
	}
	u := &user{file: f, peer: f, out: out}
	if u.alice, err = f.Account("alice"); err != nil {
		return false, err
	}
	if u.bob, err = f.Account("bob"); err != nil {
		return false, err
	}
	stop, err := u.start(profile, prefs(), "--profile", profile)
	if err != nil {
		return false, err
	}
	failed = u.all(u.steps())
	return failed, stop()
}

// start starts Thunderbird with these settings of its profile and these arguments. The
// function that it returns ends it.
func (u *user) start(profile, settings string, args ...string) (stop func() error, err error) {
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(settings), 0o600); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(u.out, "thunderbird.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	// A port of an earlier start would be taken for this one's.
	port := filepath.Join(profile, "MarionetteActivePort")
	if err := os.Remove(port); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(err, log.Close())
	}
	cmd := exec.Command("thunderbird", append(args, "--no-remote", "--marionette", "--remote-allow-system-access")...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), u.env...)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its exit status says nothing that is not in the steps
		close(ended)
	}()
	kill := func() error {
		err := cmd.Process.Kill()
		<-ended
		return errors.Join(err, log.Close())
	}
	if u.m, err = connect(port, ended); err != nil {
		return nil, errors.Join(err, kill())
	}
	return func() error {
		if err := u.m.quit(); err != nil {
			return errors.Join(err, kill())
		}
		select {
		case <-ended:
			return log.Close()
		case <-time.After(time.Minute):
			return errors.Join(errors.New("it does not end"), kill())
		}
	}, nil
}
