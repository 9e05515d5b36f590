package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"mailproxy/internal/command"
	"mailproxy/proxy"
)

type accountCmd struct {
	Add          accountAddCmd          `cmd:"" help:"Make an account and register it at its provider."`
	List         accountListCmd         `cmd:"" help:"List the accounts."`
	Settings     accountSettingsCmd     `cmd:"" help:"Say what to type into a mail program."`
	Mobileconfig accountMobileconfigCmd `cmd:"" help:"Write a configuration profile for Mail on this Mac: account and certificate authority in one."`
	Autoconfig   accountAutoconfigCmd   `cmd:"" help:"Have Thunderbird know the servers of these addresses, so that address and password are all it asks for."`
	Password     accountPasswordCmd     `cmd:"" help:"Give an account another password for mail programs, where the one that was shown is lost or known to others."`
	Revoke       accountRevokeCmd       `cmd:"" help:"Take an account's identity back for good: nobody can write to it anew."`
	Delete       accountDeleteCmd       `cmd:"" help:"Delete an account for good, here and at its provider; its mail stays here."`
}

type accountAddCmd struct {
	configFlag
	Address      string `arg:"" help:"The address, NAME@PROVIDER."`
	DisplayName  string `help:"Your name, as recipients see it; none unless given." placeholder:"NAME" aliases:"name"`
	Invite       string `help:"Code of an invitation, where the provider wants one." placeholder:"CODE"`
	PasswordFile string `help:"File with the password for mail programs; without it one is made and printed." type:"existingfile" placeholder:"FILE"`
	command.JSONFlag
}

func (a *accountAddCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(a.Config)
	if err != nil {
		return err
	}
	in := proxy.NewAccount{Address: a.Address, DisplayName: a.DisplayName, Invite: a.Invite}
	if a.PasswordFile != "" {
		b, err := os.ReadFile(a.PasswordFile)
		if err != nil {
			return fmt.Errorf("read password: %w", err)
		}
		in.Password = strings.TrimRight(string(b), "\r\n")
	}
	added, err := proxy.Control(cfg.Dir).AddAccount(ctx, in)
	if err != nil {
		return err
	}
	if a.PasswordFile != "" {
		added.Password = "" // the user has it
	}
	if a.JSON {
		return printJSON(added)
	}
	once := sayLogin(added.Address, added.Password, a.PasswordFile)
	if added.Problem != "" {
		fmt.Printf("\nThe account is made.%s It is not registered yet. That goes on by itself, and \"mailproxy status\" says how far it is. The reason: %s.\n", once, added.Problem)
	} else {
		fmt.Printf("\nRegistered. Enter these in your mail program.%s\n", once)
	}
	return nil
}

// sayLogin prints what mail programs log in with, and returns what is to be said of a
// password that was made. One that the user chose is not shown.
func sayLogin(address, password, file string) (once string) {
	if once = " The password is shown only now."; password == "" {
		password, once = "the one in "+file, ""
	}
	fmt.Printf("account   %s\nuser name %s\npassword  %s\n", address, address, password)
	return once
}

type accountPasswordCmd struct {
	configFlag
	Address      string `arg:"" help:"The account's address."`
	PasswordFile string `help:"File with the password; without it one is made and printed." type:"existingfile" placeholder:"FILE"`
	command.JSONFlag
}

// Run gives an account another password.
func (a *accountPasswordCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(a.Config)
	if err != nil {
		return err
	}
	in := proxy.ChangePassword{Address: a.Address}
	if a.PasswordFile != "" {
		if in.Password, err = filePassword(a.PasswordFile); err != nil {
			return err
		}
		if in.Password == "" {
			return fmt.Errorf("there is no password in %s", a.PasswordFile)
		}
	}
	changed, err := proxy.Control(cfg.Dir).ChangePassword(ctx, in)
	if err != nil {
		return err
	}
	if a.PasswordFile != "" {
		changed.Password = "" // the user has it
	}
	if a.JSON {
		return printJSON(changed)
	}
	once := sayLogin(changed.Address, changed.Password, a.PasswordFile)
	fmt.Printf("\nThe one before is no longer good, and mail programs that used it are logged out: give them this one.%s\n", once)
	return nil
}

type accountListCmd struct {
	configFlag
	command.JSONFlag
}

func (a *accountListCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(a.Config)
	if err != nil {
		return err
	}
	s, err := proxy.Control(cfg.Dir).Status(ctx)
	if err != nil {
		return err
	}
	if a.JSON {
		return printJSON(s.Accounts)
	}
	if len(s.Accounts) == 0 {
		fmt.Println("no accounts")
	}
	for _, account := range s.Accounts {
		fmt.Println(account.Address, accountState(account)+aliasNote(account))
	}
	return nil
}

func accountState(a proxy.AccountStatus) string {
	switch {
	case a.Problem != "" && a.Ending == "":
		return "(" + a.Problem + ")"
	case a.Ending == proxy.Deleted.String():
		return "(deleted; its mail is still here)"
	case a.Ending != "":
		return "(" + a.Ending + ")"
	case !a.Registered:
		return "(not registered yet)"
	}
	return "(registered)"
}

type endFlags struct {
	configFlag
	Address string `arg:"" help:"The account's address."`
	Yes     bool   `help:"Do not ask."`
	command.JSONFlag
}

type accountRevokeCmd struct{ endFlags }

// Run revokes an account.
func (a *accountRevokeCmd) Run(ctx context.Context) error {
	return a.end(ctx, proxy.EndAccount{Address: a.Address},
		"The identity of "+a.Address+" is revoked at its provider. That is for good: nobody can write to it anew, you cannot write from it, and nobody can have the name again. What has arrived can still be read.",
		"revoked")
}

type accountDeleteCmd struct {
	endFlags
	Mail bool `help:"Remove the account's mail on this computer as well."`
}

// Run deletes an account.
func (a *accountDeleteCmd) Run(ctx context.Context) error {
	what := "The mail that is on this computer stays here, under the same password."
	if a.Mail {
		what = "THE MAIL THAT IS ON THIS COMPUTER IS REMOVED AS WELL."
	}
	return a.end(ctx, proxy.EndAccount{Address: a.Address, Delete: true, Mail: a.Mail},
		a.Address+" is deleted at its provider, with the mail that waits there, and its keys are erased here. That is for good: nobody can have the name again. Mail of yours that is still on its way out is not sent. "+what,
		"deleted")
}

func (f *endFlags) end(ctx context.Context, in proxy.EndAccount, consequences, done string) error {
	cfg, err := proxy.LoadConfig(f.Config)
	if err != nil {
		return err
	}
	control := proxy.Control(cfg.Dir)
	if !f.Yes {
		check := in
		check.Check = true
		if err := control.End(ctx, check); err != nil {
			return err
		}
		if err := confirm(f.JSON, consequences, "the address", f.Address, errNotConfirmed); err != nil {
			return err
		}
	}
	if err := control.End(ctx, in); err != nil {
		return err
	}
	if f.JSON {
		return printJSON(map[string]string{"address": f.Address, "ending": done})
	}
	fmt.Println(f.Address, done)
	return nil
}
