package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/command"
	"mailproxy/internal/invitation"
	"mailproxy/proxy"
	"mailproxy/proxy/ports"
)

type joinCmd struct {
	configFlag
	Invitation   []string `arg:"" optional:"" help:"The invitation that your provider gave you, or - to read it from the standard input."`
	Name         string   `help:"What is to stand before the @ of your address, or the whole address; without it, you are asked."`
	DisplayName  string   `help:"Your name, as recipients see it; none unless given." placeholder:"NAME"`
	Further      bool     `help:"Make a further account, where there is one at this provider already."`
	PasswordFile string   `help:"File with the password for mail programs; without it one is made and printed." type:"existingfile" placeholder:"FILE"`
	SOCKS5       string   `name:"socks5" help:"SOCKS5 proxy to reach the network by, for Tor usually 127.0.0.1:9050." placeholder:"ADDRESS"`
	Service      bool     `help:"Have the daemon run, now and whenever you log in; with --no-service, start it by yourself." default:"true" negatable:""`
	Trust        bool     `help:"Have the mail programs that are found here trust the daemon." default:"true" negatable:""`
	Open         bool     `help:"Open the status page in the browser, where there is a desktop." default:"true" negatable:""`
	command.JSONFlag

	joined joined
}

// joined is what join did.
type joined struct {
	Address  string   `json:"address"`
	Password string   `json:"password,omitempty"` // if it was made now
	Config   string   `json:"config"`
	Dir      string   `json:"dir"`
	Did      []string `json:"did"`
	Problem  string   `json:"problem,omitempty"` // why the provider has not answered
	Page     string   `json:"page,omitempty"`
}

// logFile is where a daemon's output goes that no service manager keeps.
const logFile = "mailproxy.log"

// startWait bounds how long a daemon takes until it answers.
const startWait = time.Minute

// Validate is called by kong.
func (j *joinCmd) Validate() error {
	if len(j.Invitation) == 0 {
		return errNoInvitation
	}
	return nil
}

// errNoInvitation is the answer where none was given.
var errNoInvitation = errors.New("give the invitation that your provider gave you, one long word that begins with mailproxy1: mailproxy join INVITATION --name YOU")

// did says what was done.
func (j *joinCmd) did(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	j.joined.Did = append(j.joined.Did, text)
	if !j.JSON {
		fmt.Println("-", text)
	}
}

// Run joins a network. What an earlier run did is not done again.
func (j *joinCmd) Run(ctx context.Context) error {
	i, err := j.invitation()
	if err != nil {
		return err
	}
	if err := j.checkName(i.Provider); err != nil {
		return err
	}
	cfg, err := j.configure(ctx, i)
	if err != nil {
		return err
	}
	j.joined.Config, j.joined.Dir = j.Config, cfg.Dir
	control := proxy.Control(cfg.Dir)
	status, err := j.daemon(ctx, cfg, control)
	if err != nil {
		return err
	}
	if err := j.account(ctx, i, control, status); err != nil {
		return err
	}
	return j.finish(ctx, cfg, control)
}

func (j *joinCmd) invitation() (invitation.Invitation, error) {
	text := strings.Join(j.Invitation, "") // a line break in it is a blank here
	if text == "-" {
		lines := bufio.NewScanner(os.Stdin)
		for text = ""; lines.Scan() && len(text) <= invitation.MaxSize; {
			text += lines.Text()
		}
		if err := lines.Err(); err != nil {
			return invitation.Invitation{}, fmt.Errorf("read invitation: %w", err)
		}
	}
	return invitation.Parse(text)
}

// daemon has the daemon run, and waits until it answers.
func (j *joinCmd) daemon(ctx context.Context, cfg proxy.Config, control *proxy.Controller) (proxy.Status, error) {
	if s, err := control.Status(ctx); err == nil {
		j.did("mailproxy is running already")
		return s, nil
	} else if errors.Is(err, proxy.ErrMoved) {
		return s, err
	}
	run := "mailproxy run"
	usual, err := j.usual()
	if err != nil {
		return proxy.Status{}, err
	}
	if !usual { // which the system is not to run as well
		run += " --config " + j.Config
	}
	// Before it is started again and again for a port that it cannot have.
	for _, address := range cfg.Listen.Ports() {
		if err := free(address); err != nil {
			return proxy.Status{}, fmt.Errorf("%w: it is under [listen] in %s. Then join once more with the same words", err, j.Config)
		}
	}
	if !j.Service || !usual {
		return proxy.Status{}, fmt.Errorf("start the daemon in another terminal, and then join once more with the same words, which goes on from here:\n\n  %s", run)
	}
	s, err := startService(ctx, cfg.Dir, control, j.did)
	if err != nil {
		return s, fmt.Errorf("%w\nThen join once more with the same words", err)
	}
	return s, nil
}

// free says who has a port that the daemon is to have.
func free(address string) error {
	l, err := ports.Listen(address)
	if err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("give back %s: %w", address, err)
	}
	return nil
}

// waitForDaemon waits until a daemon answers that was just started.
func waitForDaemon(ctx context.Context, control *proxy.Controller) (proxy.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		s, err := control.Status(ctx)
		if err == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("mailproxy was started, and does not answer after %v", startWait)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lastLines returns the end of what a daemon has printed, if there is such a file.
func lastLines(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "" // the system keeps it
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "\nThe last that it printed:\n  " + strings.Join(lines[max(0, len(lines)-5):], "\n  ")
}

// usual says whether the configuration is the one that is taken if nobody names another.
func (f *configFlag) usual() (bool, error) {
	file, err := proxy.DefaultConfigFile()
	return file == f.Config, err
}

// account makes the account, unless there is one at the provider.
func (j *joinCmd) account(ctx context.Context, i invitation.Invitation, control *proxy.Controller, status proxy.Status) error {
	other := ""
	for _, a := range status.Accounts {
		name, domain := address.Split(a.Address)
		if domain != i.Provider || a.Ending != "" || a.AliasOf != "" {
			continue
		}
		if j.Name == "" || strings.EqualFold(name, j.Name) {
			j.did("the account %s is there already", a.Address)
			j.joined.Address = a.Address
			return nil
		}
		other = a.Address
	}
	if other != "" && !j.Further { // a slip, on a computer that has joined, makes no account
		return fmt.Errorf("there is the account %s already, and %s@%s would be a second one; no account was made. If that is what you want, join once more with --further; else leave --name out", other, j.Name, i.Provider)
	}
	in := proxy.NewAccount{DisplayName: j.DisplayName, Invite: i.Code}
	if j.PasswordFile != "" {
		var err error
		if in.Password, err = filePassword(j.PasswordFile); err != nil {
			return err
		}
	}
	asking := j.Name == "" && j.asks()
	if j.Name == "" && !asking {
		return noName(i.Provider)
	}
	for name := j.Name; ; {
		if asking {
			fmt.Printf("\nYour name at %s (what stands before the @): ", i.Provider)
			line, err := bufio.NewReader(os.Stdin).ReadString('\n')
			if err != nil || strings.TrimSpace(line) == "" {
				return fmt.Errorf("no account was made; join once more with the same words when you have chosen a name")
			}
			if name, err = localPart(line, i.Provider); err != nil {
				fmt.Println(err)
				continue
			}
		}
		in.Address = name + "@" + i.Provider
		if !j.JSON {
			fmt.Printf("- registering %s through the network, which can take half a minute (two, if it cannot be reached)\n", in.Address)
		}
		added, err := control.AddAccount(ctx, in)
		switch {
		case err == nil:
			j.joined.Address, j.joined.Problem = added.Address, added.Problem
			if in.Password == "" {
				j.joined.Password = added.Password
			}
			if added.Problem == "" {
				j.did("made the account %s and its keys, and registered it at %s", added.Address, i.Provider)
			} else {
				j.did("made the account %s and its keys; it is not registered yet. That goes on by itself, and \"mailproxy status\" says how far it is. The reason: %s", added.Address, added.Problem)
			}
			return nil
		case asking && ctx.Err() == nil:
			fmt.Println(err)
		default:
			return fmt.Errorf("%w\nThe daemon runs, and has no account yet: join once more, with another --name if that one is taken", err)
		}
	}
}

func filePassword(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// finish has mail programs know the daemon, and says what to do in them.
func (j *joinCmd) finish(ctx context.Context, cfg proxy.Config, control *proxy.Controller) error {
	url, pageErr := control.Page(ctx)
	trusted := j.Trust && j.trust(ctx)
	if j.JSON {
		j.joined.Page = url // once, for five minutes
		return printJSON(j.joined)
	}
	if err := j.sayMail(ctx, cfg, trusted); err != nil {
		return err
	}
	j.sayDaemon(ctx, control, cfg.Dir)
	switch {
	case pageErr != nil:
		fmt.Println("\nNo status page:", pageErr)
	case j.Open:
		if opened, err := openBrowser(ctx, url); opened && err == nil {
			fmt.Println("\nThe status page is open in your browser.")
		}
	}
	return nil
}
