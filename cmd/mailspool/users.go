package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

type userCmd struct {
	List    userListCmd    `cmd:"" help:"List users."`
	Show    userShowCmd    `cmd:"" help:"Show one user."`
	Suspend userSuspendCmd `cmd:"" help:"Keep a user's spool from taking and giving mail, and their keys from being changed, until resumed."`
	Resume  userResumeCmd  `cmd:"" help:"End a suspension."`
	Delete  userDeleteCmd  `cmd:"" help:"Delete a user and their waiting mail. The name is never free again."`
}

type userListCmd struct {
	at
	State string `help:"Only those in this state: ${enum}." enum:"active,suspended,revoked,all" default:"all"`
}

// Run lists users, page by page.
func (u *userListCmd) Run(ctx context.Context) error {
	list := []user{}
	for after := ""; ; {
		var page []user
		if err := u.ask(ctx, http.MethodGet, pathUsers+"?after="+url.QueryEscape(after), nil, &page); err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].Name
		for _, one := range page {
			if u.State == "all" || u.State == one.State {
				list = append(list, one)
			}
		}
	}
	return show(u.JSON, list, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "ADDRESS\tSTATE\tBLOCKS\tOLDEST\tSINCE")
		for _, one := range list {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", one.Address, one.State, one.Blocks, day(one.Oldest), day(one.Since))
		}
	})
}

// oneUser is what the commands about one user have.
type oneUser struct {
	at
	Name string `arg:"" help:"Name or address."`
}

func (o *oneUser) show(u user) error {
	return show(o.JSON, u, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "address\t%s\nstate\t%s\nsince\t%s\nidentity\t%s\nbundle version\t%d\nspool\t%s\n", u.Address, u.State, day(u.Since), u.Identity, u.Version, u.Spool)
		if u.Withheld {
			fmt.Fprintf(w, "suspended\tits blocks cannot be read; \"user resume\" lets them\n")
		}
		fmt.Fprintf(w, "blocks\t%d (%d from contacts, %d from strangers), %s\noldest block\t%s\n", u.Blocks, u.ContactBlocks, u.StrangerBlocks, size(u.Bytes), day(u.Oldest))
	})
}

func (o *oneUser) change(ctx context.Context, path string, in any) error {
	var out user
	if err := o.ask(ctx, http.MethodPost, path, in, &out); err != nil {
		return err
	}
	return o.show(out)
}

type userShowCmd struct{ oneUser }

// Run shows a user.
func (u *userShowCmd) Run(ctx context.Context) error {
	var out user
	if err := u.ask(ctx, http.MethodGet, pathUser+"?name="+url.QueryEscape(u.Name), nil, &out); err != nil {
		return err
	}
	return u.oneUser.show(out)
}

type userSuspendCmd struct{ oneUser }

// Run suspends a user.
func (u *userSuspendCmd) Run(ctx context.Context) error {
	return u.change(ctx, pathSuspend, suspendUser{u.Name, true})
}

type userResumeCmd struct{ oneUser }

// Run ends a suspension.
func (u *userResumeCmd) Run(ctx context.Context) error {
	return u.change(ctx, pathSuspend, suspendUser{u.Name, false})
}

type userDeleteCmd struct {
	oneUser
	Yes bool `help:"Do it."`
}

// Run deletes a user.
func (u *userDeleteCmd) Run(ctx context.Context) error {
	if !u.Yes {
		return errors.New("this deletes the mail that waits for the user, and nobody can ever have the name again; \"user suspend\" can be taken back; to delete, give --yes")
	}
	return u.change(ctx, pathDelete, deleteUser{u.Name})
}

type inviteCmd struct {
	New    inviteNewCmd    `cmd:"" help:"Make invitations, each for one new name, and print their codes."`
	List   inviteListCmd   `cmd:"" help:"List invitations."`
	Revoke inviteRevokeCmd `cmd:"" help:"Revoke an invitation that nobody has used."`
}

// lifetime is how long an invitation can be used; zero: for ever.
type lifetime time.Duration

// UnmarshalText reads 12h, 14d or never.
func (l *lifetime) UnmarshalText(b []byte) error {
	text := string(b)
	days, isDays := strings.CutSuffix(text, "d")
	var d time.Duration
	var err error
	switch {
	case text == "never":
		*l = 0
		return nil
	case isDays:
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	default:
		d, err = time.ParseDuration(text)
	}
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is no time such as 14d or 12h, nor \"never\"", text)
	}
	*l = lifetime(d)
	return nil
}

type inviteNewCmd struct {
	at
	Count   int      `help:"How many (${default})." default:"1"`
	Expires lifetime `help:"For how long they can be used: 14d, 12h, never (${default})." default:"14d" placeholder:"TIME"`
	Note    string   `help:"What to remember of them, for you alone."`
	// Document is a file in networks on one machine.
	Document string `help:"Where the users get the network document, instead of registration.document: an https address, or the whole path of a file." placeholder:"WHERE"`
}

// Run makes invitations.
func (i *inviteNewCmd) Run(ctx context.Context) error {
	in := makeInvites{Count: i.Count, Note: i.Note, Document: i.Document}
	if i.Expires != 0 {
		in.Expires = time.Now().Add(time.Duration(i.Expires))
	}
	var out madeInvites
	if err := i.ask(ctx, http.MethodPost, pathInvites, in, &out); err != nil {
		return err
	}
	if out.Open {
		fmt.Fprintln(os.Stderr, "mailspool: registration is open, so nobody needs an invitation; set registration.policy to 'invite' and reload")
	}
	if len(out.Invites) > 0 && out.Invites[0].Invitation == "" {
		fmt.Fprintln(os.Stderr, "mailspool: these are codes for \"mailproxy account add\" alone; with registration.document, or --document, you get invitations for \"mailproxy join\", which say all that a user needs")
	}
	return show(i.JSON, out.Invites, func(w *tabwriter.Writer) {
		for _, one := range out.Invites {
			fmt.Fprintln(w, cmp.Or(one.Invitation, one.Code))
		}
	})
}

type inviteListCmd struct {
	at
	All bool `help:"Also those that were used or have expired."`
}

// Run lists invitations.
func (i *inviteListCmd) Run(ctx context.Context) error {
	var all []invite
	if err := i.ask(ctx, http.MethodGet, pathInvites, nil, &all); err != nil {
		return err
	}
	list := []invite{}
	for _, one := range all {
		if i.All || one.State == "open" {
			list = append(list, one)
		}
	}
	return show(i.JSON, list, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "ID\tSTATE\tEXPIRES\tUSED BY\tNOTE")
		for _, one := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", one.ID, one.State, day(one.Expires), one.UsedBy, one.Note)
		}
	})
}

type inviteRevokeCmd struct {
	at
	ID string `arg:"" name:"id" help:"Its id, as list shows it, or its code."`
}

// Run revokes an invitation.
func (i *inviteRevokeCmd) Run(ctx context.Context) error {
	var out invite
	if err := i.ask(ctx, http.MethodPost, pathRevoke, revokeInvite{i.ID}, &out); err != nil {
		return err
	}
	return show(i.JSON, out, func(w *tabwriter.Writer) { fmt.Fprintf(w, "revoked %s\n", out.ID) })
}
