package main

import (
	"context"
	"fmt"

	"mailproxy/internal/command"
	"mailproxy/proxy"
)

type contactCmd struct {
	List     contactListCmd     `cmd:"" help:"List whom an account knows."`
	Show     contactShowCmd     `cmd:"" help:"Show the safety number that you compare with somebody, and what waits for a decision."`
	Verify   contactVerifyCmd   `cmd:"" help:"Compare the safety number, or the QR code, that somebody's mailproxy shows."`
	Unverify contactUnverifyCmd `cmd:"" help:"Take back that somebody's key was verified."`
	Accept   contactAcceptCmd   `cmd:"" help:"Accept somebody's changed key without comparing."`
	Reject   contactRejectCmd   `cmd:"" help:"Keep the key that somebody had, and have mail with the other one dropped."`
	Forget   contactForgetCmd   `cmd:"" help:"Forget all that is known of somebody's keys: the next one is trusted."`
	Block    contactBlockCmd    `cmd:"" help:"Have no more mail from somebody: it is dropped unseen."`
	Unblock  contactUnblockCmd  `cmd:"" help:"Have mail from somebody again."`
}

type contactFlags struct {
	configFlag
	Account string `help:"The account, if there are several." placeholder:"ADDRESS"`
	command.JSONFlag
}

type contactListCmd struct{ contactFlags }

// Run lists the contacts of an account.
func (c *contactListCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	list, err := proxy.Control(cfg.Dir).Contacts(ctx, c.Account)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(list)
	}
	if len(list) == 0 {
		fmt.Println("no contacts")
	}
	for _, contact := range list {
		fmt.Printf("%s (key %s%s)\n", contact.Address, contact.State, contactNotes(contact))
		if contact.Other != nil {
			fmt.Printf("  another key of theirs waits for your decision: mailproxy contact show %s\n", contact.Address)
		}
	}
	return nil
}

func contactNotes(c proxy.ContactStatus) string {
	notes := ""
	if c.Verified && c.State != "verified" {
		notes += ", was verified"
	}
	if c.HeldTo+c.HeldFrom > 0 {
		notes += fmt.Sprintf(", held: %d to them, %d from them", c.HeldTo, c.HeldFrom)
	}
	if c.Dropped > 0 {
		notes += fmt.Sprintf(", dropped with a false key: %d", c.Dropped)
	}
	if c.Blocked {
		notes += ", blocked"
	}
	if c.PaysWork {
		notes += ", mail to them may cost computing time"
	}
	return notes
}

type contactBlockCmd struct {
	contactFlags
	Address string `arg:"" help:"Whom to block."`
}

// Run blocks a contact.
func (c *contactBlockCmd) Run(ctx context.Context) error {
	return c.block(ctx, proxy.BlockContact{Account: c.Account, Address: c.Address})
}

type contactUnblockCmd struct {
	contactFlags
	Address string `arg:"" help:"Whom to unblock."`
}

// Run unblocks a contact.
func (c *contactUnblockCmd) Run(ctx context.Context) error {
	return c.block(ctx, proxy.BlockContact{Account: c.Account, Address: c.Address, Unblock: true})
}

func (f *contactFlags) block(ctx context.Context, in proxy.BlockContact) error {
	cfg, err := proxy.LoadConfig(f.Config)
	if err != nil {
		return err
	}
	out, err := proxy.Control(cfg.Dir).Block(ctx, in)
	if err != nil {
		return err
	}
	switch {
	case f.JSON:
		return printJSON(out)
	case !out.Changed && out.Blocked:
		fmt.Println(out.Address, "was blocked before")
	case !out.Changed:
		fmt.Println(out.Address, "was not blocked")
	case !out.Blocked:
		fmt.Printf("%s is not blocked any more. With the next mail that you send them they get the permission to write to you again.\n", out.Address)
	default:
		fmt.Printf("%s is blocked: mail from them to %s is dropped unseen, and they are not told.\n", out.Address, out.Account)
		switch out.Rekeyed {
		case 0:
			fmt.Println("The permission to write to you that they had is no longer good. There is nothing else to do; passwords and safety numbers stay as they are.")
		case 1:
			fmt.Println("The permission to write to you that they had is no longer good. One other contact gets a new one in the next hours, by itself; passwords and safety numbers stay as they are.")
		default:
			fmt.Printf("The permission to write to you that they had is no longer good. %d other contacts get a new one in the next hours, by itself; passwords and safety numbers stay as they are.\n", out.Rekeyed)
		}
	}
	return nil
}
