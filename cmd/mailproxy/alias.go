package main

import (
	"context"
	"fmt"

	"mailproxy/internal/command"
	"mailproxy/proxy"
)

type aliasCmd struct {
	New    aliasNewCmd    `cmd:"" help:"Make an alias: a further address whose mail comes into your mailbox."`
	List   aliasListCmd   `cmd:"" help:"List the aliases."`
	Retire aliasRetireCmd `cmd:"" help:"Take an alias back for good; the mail that has come stays."`
}

type aliasNewCmd struct {
	configFlag
	Address     string `arg:"" help:"The address, NAME@PROVIDER; or a provider alone, and a name is made."`
	Account     string `help:"The account whose mailbox it shares, if there are several." placeholder:"ADDRESS"`
	DisplayName string `help:"The name that recipients see beside the alias; none unless given, and never your account's." placeholder:"NAME" aliases:"name"`
	Invite      string `help:"Code of an invitation, where the provider wants one. One that you were given by name says who you are." placeholder:"CODE"`
	command.JSONFlag
}

// Run makes an alias.
func (a *aliasNewCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(a.Config)
	if err != nil {
		return err
	}
	out, err := proxy.Control(cfg.Dir).AddAlias(ctx, proxy.NewAlias{
		Account: a.Account, Address: a.Address, DisplayName: a.DisplayName, Invite: a.Invite,
	})
	if err != nil {
		return err
	}
	if a.JSON {
		return printJSON(out)
	}
	fmt.Printf("alias   %s\nmailbox %s\n\n", out.Address, out.Account)
	fmt.Printf("It is registered at a random time while mailproxy runs, in half an hour on average, so that nobody sees which\n" +
		"addresses were made together. \"mailproxy alias list\" says when it is; until then nobody can write to it.\n\n" +
		"To write under it, add it to your account in the mail program as a further identity (Thunderbird: Account Settings,\n" +
		"Manage Identities), with the outgoing server that you have. Give that identity no name and no signature that you use elsewhere.\n")
	return nil
}

type aliasListCmd struct {
	configFlag
	Account string `help:"Those of this account alone." placeholder:"ADDRESS"`
	command.JSONFlag
}

// Run lists aliases.
func (a *aliasListCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(a.Config)
	if err != nil {
		return err
	}
	list, err := proxy.Control(cfg.Dir).Aliases(ctx, a.Account)
	if err != nil {
		return err
	}
	if a.JSON {
		return printJSON(list)
	}
	if len(list) == 0 {
		fmt.Println("no aliases")
	}
	for _, s := range list {
		fmt.Printf("%s, of %s (%s)\n", s.Address, s.Account, aliasWords(s))
	}
	return nil
}

func aliasWords(s proxy.AliasStatus) string {
	words := s.State
	switch s.State {
	case proxy.AliasWaiting:
		words = "not registered yet; that is done at a random time"
	case proxy.AliasRetiring:
		words = "retired here; its provider is told at a random time"
	}
	if s.Problem != "" {
		words += ": " + s.Problem
	}
	return words
}

type aliasRetireCmd struct {
	configFlag
	Address string `arg:"" help:"The alias."`
	Yes     bool   `help:"Do not ask."`
	command.JSONFlag
}

// Run retires an alias.
func (a *aliasRetireCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(a.Config)
	if err != nil {
		return err
	}
	control := proxy.Control(cfg.Dir)
	if !a.Yes {
		if _, err := control.RetireAlias(ctx, proxy.RetireAlias{Address: a.Address, Check: true}); err != nil {
			return err
		}
		consequences := a.Address + " is taken back for good: nobody can write to it any more, and nobody can have the name again. " +
			"From now on you cannot write from it. Its provider is told at a random time, in half an hour on average; mail that has not come by then is lost, " +
			"and mail of yours that is still on its way is not sent. What has come stays in your mailbox."
		if err := confirm(a.JSON, consequences, "the address", a.Address, errNotConfirmed); err != nil {
			return err
		}
	}
	out, err := control.RetireAlias(ctx, proxy.RetireAlias{Address: a.Address})
	if err != nil {
		return err
	}
	if a.JSON {
		return printJSON(out)
	}
	fmt.Printf("%s: %s\n", out.Address, aliasWords(out))
	return nil
}

// aliasNote says of an alias whose it is.
func aliasNote(a proxy.AccountStatus) string {
	if a.AliasOf == "" {
		return ""
	}
	return ", alias of " + a.AliasOf
}
