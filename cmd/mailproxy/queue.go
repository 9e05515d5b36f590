package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailproxy/internal/command"
	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
)

type queueCmd struct {
	List   queueListCmd   `cmd:"" help:"List the mail that is on its way."`
	Show   queueShowCmd   `cmd:"" help:"Say of one mail how far it is for each recipient."`
	Cancel queueCancelCmd `cmd:"" help:"Withdraw mail of which nothing has left yet."`
	Retry  queueRetryCmd  `cmd:"" help:"Try mail again that waits after a refusal."`
}

type queueFlags struct {
	configFlag
	command.JSONFlag
}

// control returns a controller of the daemon.
func (f *queueFlags) control() (*proxy.Controller, error) {
	cfg, err := proxy.LoadConfig(f.Config)
	if err != nil {
		return nil, err
	}
	return proxy.Control(cfg.Dir), nil
}

type queueListCmd struct {
	queueFlags
	Account string `help:"Only what this account sends." placeholder:"ADDRESS"`
}

// Run lists what is on its way.
func (q *queueListCmd) Run(ctx context.Context) error {
	c, err := q.control()
	if err != nil {
		return err
	}
	list, err := c.Queue(ctx, q.Account)
	if err != nil {
		return err
	}
	if q.JSON {
		return printJSON(list)
	}
	if len(list) == 0 {
		fmt.Println("no mail is on its way")
	}
	for _, m := range list {
		fmt.Printf("%s %s to %s %s %s\n", m.ID, m.Submitted.Local().Format(time.DateTime), whom(m), counts(m), oneLine(m.Subject))
	}
	return nil
}

// whom names the first recipient of a mail, and says how many others there are.
func whom(m outbox.Mail) string {
	switch n := len(m.Recipients); n {
	case 0:
		return "nobody"
	case 1:
		return m.Recipients[0].Address
	default:
		return fmt.Sprintf("%s and %d more", m.Recipients[0].Address, n-1)
	}
}

// counts says for how many recipients a mail is in which state.
func counts(m outbox.Mail) string {
	n := map[string]int{}
	var order []string
	for _, r := range m.Recipients {
		if n[r.State]++; n[r.State] == 1 {
			order = append(order, r.State)
		}
	}
	for i, s := range order {
		order[i] = stateWords(s)
		if len(m.Recipients) > 1 {
			order[i] = fmt.Sprintf("%d %s", n[s], order[i])
		}
	}
	return "(" + strings.Join(order, "; ") + ")"
}

// stateWords says a recipient's state to a person; --json has the state itself.
func stateWords(state string) string {
	switch state {
	case "queued":
		return "waiting to leave"
	case "held":
		return "held, since their key changed or is in doubt"
	case "sending":
		return "leaving"
	case "spooled":
		return "at their provider, not confirmed yet"
	case "unconfirmed":
		return "at their provider, never confirmed"
	case "failed":
		return "given up, with a report in your Inbox"
	}
	return state // delivered, withdrawn
}

// oneLine keeps what a mail says from moving the terminal's cursor.
func oneLine(s string) string {
	q := fmt.Sprintf("%q", s)
	return q[1 : len(q)-1]
}

type queueShowCmd struct {
	queueFlags
	ID string `arg:"" help:"The mail's id in the list, or the Message-ID that it has in Sent."`
}

// Run shows one mail.
func (q *queueShowCmd) Run(ctx context.Context) error {
	c, err := q.control()
	if err != nil {
		return err
	}
	m, err := c.MailOnItsWay(ctx, q.ID)
	if err != nil {
		return err
	}
	return q.print(m)
}

func (f *queueFlags) print(m outbox.Mail) error {
	if f.JSON {
		return printJSON(m)
	}
	fmt.Printf("id         %s\nfrom       %s\nsubject    %s\nsubmitted  %s\ngiven up   %s, unless it is with the recipients' providers by then\n",
		m.ID, m.Account, oneLine(m.Subject), m.Submitted.Local().Format(time.DateTime), m.GivenUp.Local().Format(time.DateTime))
	if m.MessageID != "" {
		fmt.Printf("message id <%s>\n", oneLine(m.MessageID))
	}
	for _, r := range m.Recipients {
		fmt.Printf("to         %s (%s%s)\n", r.Address, stateWords(r.State), notes(r))
	}
	return nil
}

func notes(r outbox.MailRecipient) string {
	s := ""
	if r.Blocks > 1 && r.State == "sending" {
		s += fmt.Sprintf(", %d of %d blocks are there", r.Acknowledged, r.Blocks)
	}
	if r.Withdrawable {
		s += ", can be withdrawn"
	}
	if r.Problem != "" {
		s += "; " + oneLine(r.Problem)
	}
	if r.NextTry != nil {
		s += "; next try " + r.NextTry.Local().Format(time.DateTime)
	}
	return s
}

type queueCancelCmd struct {
	queueFlags
	ID string   `arg:"" help:"The mail's id in the list, or the Message-ID that it has in Sent."`
	To []string `help:"Withdraw it for this recipient only; may be given more than once." placeholder:"ADDRESS"`
}

// errTooLate is the answer where nothing could be withdrawn.
var errTooLate = errors.New("nothing was withdrawn: it was too late")

// Run withdraws a mail.
func (q *queueCancelCmd) Run(ctx context.Context) error {
	c, err := q.control()
	if err != nil {
		return err
	}
	out, err := c.Cancel(ctx, proxy.CancelMail{ID: q.ID, Recipients: q.To})
	if err != nil {
		return err
	}
	if q.JSON {
		if err := printJSON(out); err != nil {
			return err
		}
	}
	withdrawn := 0
	for _, r := range out.Recipients {
		text := "withdrawn; nothing of it had left"
		switch {
		case r.Withdrawn:
			withdrawn++
		case r.State == "withdrawn":
			text = "withdrawn before"
		default:
			text = "too late: " + tooLate[r.State]
		}
		if !q.JSON {
			fmt.Printf("%s: %s\n", r.Recipient, text)
		}
	}
	if withdrawn == 0 {
		return errTooLate
	}
	return nil
}

// tooLate says what a mail that goes on is doing.
var tooLate = map[string]string{
	"queued":      "part of it may have left before the daemon was last started, so it goes on",
	"sending":     "part of it has left or may have, so it goes on",
	"spooled":     "it is at the recipient's provider",
	"delivered":   "it has arrived",
	"unconfirmed": "it was at the recipient's provider",
	"failed":      "it was given up before; a report says why",
}

type queueRetryCmd struct {
	queueFlags
	ID string `arg:"" help:"The mail's id in the list, or the Message-ID that it has in Sent."`
}

// Run has a mail tried again.
func (q *queueRetryCmd) Run(ctx context.Context) error {
	c, err := q.control()
	if err != nil {
		return err
	}
	m, err := c.Retry(ctx, proxy.RetryMail{ID: q.ID})
	if err != nil {
		return err
	}
	if err := q.print(m); err != nil || q.JSON {
		return err
	}
	if slices.ContainsFunc(m.Recipients, func(r outbox.MailRecipient) bool { return r.Problem != "" }) {
		fmt.Println("\nWhat was refused is tried again at its next turn.")
	} else {
		fmt.Println("\nThere is nothing to try again: it was not refused.")
	}
	return nil
}
