package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/term"

	"mailproxy/internal/address"
	"mailproxy/proxy"
	"mailproxy/proxy/cert/truststore"
	"mailproxy/proxy/storekey"
)

// mailPlaces are where mail programs look, and nobody else: not the whole system, even
// for who may change it.
var mailPlaces = map[truststore.Kind]string{truststore.Thunderbird: "Thunderbird", truststore.NSS: "Evolution"}

// trustAgain is what to type where a mail program could not be made to trust the daemon.
const trustAgain = "mailproxy cert install thunderbird"

// trust has the mail programs that are found here trust the daemon, and reports whether
// all of Thunderbird does. Where something is left, it says what to do.
func (j *joinCmd) trust(ctx context.Context) (thunderbird bool) {
	computer, err := truststore.This()
	if err != nil {
		j.did("%v", err)
		return false
	}
	i, err := j.certificates()
	if err != nil {
		j.did("mail programs do not trust mailproxy yet: %v", err)
		return false
	}
	file, err := filepath.Abs(i.File)
	if err != nil {
		j.did("mail programs do not trust mailproxy yet: %v", err)
		return false
	}
	started := j.firstStart(ctx, computer)
	for _, p := range truststore.Places(computer) {
		name, ok := mailPlaces[p.Kind]
		if !ok {
			continue
		}
		r := p.Install(ctx, truststore.Authority{Name: i.Name, File: file, DER: i.DER()})
		switch {
		case r.Err != nil:
			j.did("%s (%s) does not trust mailproxy yet: %s. Mend that, and type: mailproxy cert install %s", name, p.Path, r.Problem, p.Kind)
			if p.Kind == truststore.Thunderbird {
				return false
			}
			continue
		case r.Already:
			j.did("%s (%s) trusts mailproxy already", name, p.Path)
		default:
			restart := ""
			if r.Note != "" && !started {
				restart = "; " + r.Note
			}
			j.did("%s (%s) trusts mailproxy now: by the certificate that was made here, for this computer alone%s", name, p.Path, restart)
		}
		thunderbird = thunderbird || p.Kind == truststore.Thunderbird
	}
	return thunderbird
}

// firstStart has a Thunderbird that was never started make its profile, if the user says
// so: it is another program's, and may be meant to stay as it is. It reports whether that
// was done.
func (j *joinCmd) firstStart(ctx context.Context, computer truststore.Computer) bool {
	words := truststore.FirstStart(computer)
	if words == "" {
		return false
	}
	if j.JSON || !term.IsTerminal(int(os.Stdin.Fd())) {
		j.did("Thunderbird was never started here, and does not trust mailproxy yet; type: %s", trustAgain)
		return false
	}
	fmt.Printf("\nThunderbird was never started here. Shall it be started now, without a window, to make its profile?\nThen it can be told to trust mailproxy. [Y/n] ")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Println()
	if answer := strings.ToLower(strings.TrimSpace(line)); err != nil || answer != "" && answer != "y" && answer != "yes" {
		j.did("Thunderbird was left alone; when it shall trust mailproxy, type: %s", trustAgain)
		return false
	}
	if err := truststore.StartFirst(ctx, computer); err != nil {
		j.did("%v; start Thunderbird yourself, quit it, and type: %s", err, trustAgain)
		return false
	}
	j.did("Thunderbird has made its profile: %s", words)
	return true
}

// sayMail says what to do in the mail program.
func (j *joinCmd) sayMail(ctx context.Context, cfg proxy.Config, trusted bool) error {
	_, domain := address.Split(j.joined.Address)
	can, told := tellsThunderbird(cfg, domain)
	_, err := exec.LookPath("thunderbird")
	if runtime.GOOS == "linux" && errors.Is(err, exec.ErrNotFound) && !trusted && j.Trust {
		fmt.Printf("\nThere is no Thunderbird here. If you install it, type afterwards: %s\n", trustAgain)
	}
	if can && !told {
		fmt.Printf("\nSo that Thunderbird finds the servers by itself, type this before you go on:\n\n  %s\n",
			autoconfigCommand(j.Config))
	}
	fmt.Printf("\nStart Thunderbird, and type this into the dialog that it opens (or into Account Settings, Add Mail Account):\n\n")
	if j.joined.Password != "" {
		seen := "only your address"
		if j.DisplayName != "" {
			seen = fmt.Sprintf("%q", j.DisplayName)
		}
		fmt.Printf("full name  as you like: recipients see %s\n", seen)
	}
	fmt.Printf("address    %s\n", j.joined.Address)
	if j.joined.Password == "" {
		fmt.Print(thePassword(j.joined.Address))
	} else {
		fmt.Printf("password   %s\n           it is shown only now: leave \"Remember password\" ticked, or write it down.\n"+
			"           If it is lost, this makes another: mailproxy account password %s\n", j.joined.Password, j.joined.Address)
	}
	if can && trusted {
		fmt.Println("\nFor another mail program, and where one does not find the servers: mailproxy account settings")
		return nil
	}
	fmt.Printf("\nIf it does not find the servers by itself, or for another mail program:\n\n")
	return (&accountSettingsCmd{configFlag: j.configFlag, Address: j.joined.Address, passwordSaid: true}).Run(ctx)
}

// sayDaemon says what the daemon does from now on, and how to see that.
func (j *joinCmd) sayDaemon(ctx context.Context, control *proxy.Controller, dir string) {
	fmt.Print("\nmailproxy runs from now on")
	if s, err := control.Status(ctx); err == nil && len(s.Accounts) > 0 && s.Accounts[0].Network.BytesPerDay > 0 {
		fmt.Printf(", and takes about %.1f GB a day each way, mail or no mail", float64(s.Accounts[0].Network.BytesPerDay)/1e9)
	}
	fmt.Println(". \"mailproxy status\" says how it is,\n\"mailproxy page\" shows it in a browser.")
	if i, err := storekey.Inspect(dir); err == nil && i.Exists && i.Way == storekey.Plain {
		fmt.Println("Whoever has this computer's disk can read your mail there, until you seal its key: mailproxy store key --help")
	}
}
