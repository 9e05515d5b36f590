package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/report"
)

// droppedEvery is the least time between two messages about dropped mail under one
// address: whoever has a rejected key could send any number.
const droppedEvery = 24 * time.Hour

// keysChanged has the user told soon of what is new about contacts' keys. It does not
// wait.
func (a *account) keysChanged() {
	select {
	case a.keysMoved <- struct{}{}:
	default:
	}
}

// watchKeys tells the user of what is new about contacts' keys, until ctx ends. What it
// could not tell, for want of disk or since the process died, is told later: what was
// told stands in the contact's record.
func (a *account) watchKeys(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for again := true; ; {
		if again {
			var err error
			if again, err = a.tellKeys(); err != nil {
				a.d.log.Error("proxy: a message about a contact's key could not be stored yet", "err", err)
				again = true
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-a.keysMoved:
			again = true
		case <-tick.C:
		}
	}
}

// tellKeys writes what is to be told now. It reports whether something is to be told
// later.
func (a *account) tellKeys() (later bool, err error) {
	var list []*contacts.Contact
	err = a.d.store.View(func(tx *store.Tx) (err error) {
		list, err = a.book.List(tx)
		return err
	})
	for _, c := range list {
		if c.Pending != nil && !c.PendingTold && !c.Blocked {
			err = errors.Join(err, a.tellPending(c))
		}
		if c.Dropped > c.DroppedTold {
			if now := a.d.opt.Now(); c.DroppedAt.After(now.Add(-droppedEvery)) && !c.DroppedAt.After(now) {
				later = true
				continue
			}
			err = errors.Join(err, a.tell(a.droppedNotice(c), nil, func(tx *store.Tx) error {
				return a.book.ToldDropped(tx, c.Address, c.Dropped)
			}))
		}
	}
	return later, err
}

// tellPending tells of a key that waits for the user's decision, unless that has
// changed since c was read: then it is looked at again.
func (a *account) tellPending(c *contacts.Contact) error {
	published := c.State == contacts.StateChanged
	var flags []string
	if c.Verified {
		flags = []string{mailbox.FlagFlagged}
	}
	own, ownKey := a.self()
	number := contacts.SafetyNumber(own, ownKey, c.Address, c.Pending)
	notice := a.claimNotice(c, number)
	if published {
		notice = a.changedNotice(c, number)
	}
	err := a.tell(notice, flags, func(tx *store.Tx) error { return a.book.Told(tx, c.Address, c.Pending, published) })
	if errors.Is(err, contacts.ErrDecision) || errors.Is(err, contacts.ErrUnknown) {
		a.keysChanged()
		return nil
	}
	return err
}

// tell puts a message into the Inbox, in one transaction with told.
func (a *account) tell(w report.Warning, flags []string, told func(tx *store.Tx) error) error {
	w.To, w.Now, w.Rand = a.keys.Address(), a.d.opt.Now(), rand.Reader
	text, err := report.BuildWarning(w)
	if err != nil {
		return fmt.Errorf("write a message to the user: %w", err)
	}
	mail, err := a.d.mail.Account(a.home())
	if err != nil {
		return fmt.Errorf("write a message to the user: %w", err)
	}
	staged, err := a.d.mail.Stage(text)
	if err != nil {
		return fmt.Errorf("write a message to the user: %w", err)
	}
	err = a.d.store.Update(func(tx *store.Tx) error {
		if err := told(tx); err != nil {
			return err
		}
		_, err := mail.DeliverTx(tx, mailbox.Inbox, staged, append([]string{mailbox.KeywordNotice}, flags...), w.Now)
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("write a message to the user: %w", err), a.d.mail.Discard(staged))
	}
	return nil
}

// command is a line for the command line about a contact.
func (a *account) command(what string, c *contacts.Contact) string {
	return "mailproxy contact " + what + " " + c.Address + " --account " + a.keys.Address()
}

// groups writes a safety number in lines of four groups.
func groups(number string) string {
	digits := strings.Fields(contacts.GroupDigits(number))
	return strings.Join([]string{
		strings.Join(digits[:4], " "), strings.Join(digits[4:8], " "), strings.Join(digits[8:], " "),
	}, "\n\n")
}

// changedNotice says that a contact's provider shows another key.
func (a *account) changedNotice(c *contacts.Contact, number string) report.Warning {
	_, domain := address.Split(c.Address)
	w := report.Warning{
		Subject: "The key of " + c.Address + " has changed: mail waits for your decision",
		Detail:  fmt.Sprintf("the provider publishes the identity key %x; pinned is %x", c.Pending, c.Identity),
	}
	begin := "The provider " + domain + " shows another key for " + c.Address + " than the one that you have used so far."
	if c.Verified {
		w.Subject = "WARNING: the key of " + c.Address + ", which you have verified, has changed"
		begin = "THE KEY THAT YOU HAVE VERIFIED IS NOT THE ONE THAT IS SHOWN NOW. You have compared safety numbers with " + c.Address +
			", and so knew that nobody stood between you. For the key that their provider " + domain + " shows now, nobody knows that. " +
			"Trust nothing that comes with it, and do not write to this address by a way that is less safe, until you have compared again."
	}
	w.Text = begin + "\n\n" +
		"That happens when somebody has lost their keys and begins anew. It looks just the same when somebody else, or the provider, pretends to be " + c.Address + "." + "\n\n" +
		"Until you decide, mail that you write to them waits on this computer, and so does mail that comes with the new key. None of it is lost. " +
		"Your own mail is given up, with a report to you, if it has waited for some days." + "\n\n" +
		"What to do: ask the person by telephone, or when you meet, which safety number their mailproxy shows for " + a.keys.Address() + ". With the new key it must be:" + "\n\n" +
		groups(number) + "\n\n" +
		"If it is, accept the new key, on mailproxy's status page or with this command, which asks for the number:" + "\n\n" +
		a.command("verify", c) + "\n\n" +
		"If it is another number, or the person has not changed anything, keep the key that you have:" + "\n\n" +
		a.command("reject", c)
	if !c.Verified {
		w.Text += "\n\n" + "To accept the new key without comparing, which trusts the provider:" + "\n\n" + a.command("accept", c)
	}
	return w
}

// claimNotice says that a mail was sealed with a key that the provider does not show.
func (a *account) claimNotice(c *contacts.Contact, number string) report.Warning {
	_, domain := address.Split(c.Address)
	w := report.Warning{
		Subject: "A mail that says it is from " + c.Address + " waits for your decision",
		Detail:  fmt.Sprintf("the mail's identity key is %x; pinned is %x, which the provider has not replaced", c.Pending, c.Identity),
	}
	begin := "A mail has come that says it is from " + c.Address + ", but it is sealed with another key than theirs."
	if c.Verified {
		w.Subject = "WARNING: a mail that says it is from " + c.Address + " is not sealed with the key that you have verified"
		begin += " THEIR KEY IS ONE THAT YOU HAVE VERIFIED, AND THIS IS NOT IT."
	}
	w.Text = begin + " Their provider " + domain + " has shown no such key. Anybody can write such a mail; it is most likely false." + "\n\n" +
		"The mail waits and has not been put into your Inbox. All other mail between you goes on. " +
		"If you do nothing it goes on waiting, until the provider is asked again when you write to them; if it still names their known key then, the mail is dropped." + "\n\n" +
		"If you know that the person has begun anew with another key, ask them by telephone, or when you meet, which safety number their mailproxy shows for " +
		a.keys.Address() + ". With the key of this mail it must be:" + "\n\n" +
		groups(number) + "\n\n" +
		"If it is, accept the key, on mailproxy's status page or with this command, which asks for the number:" + "\n\n" +
		a.command("verify", c) + "\n\n" +
		"To have the mail, and all that are sealed with its key, dropped:" + "\n\n" +
		a.command("reject", c)
	return w
}

// droppedNotice says that mail was dropped for its key.
func (a *account) droppedNotice(c *contacts.Contact) report.Warning {
	mails := "One mail"
	if n := c.Dropped - c.DroppedTold; n > 1 {
		mails = fmt.Sprintf("%d mails", n)
	}
	return report.Warning{
		Subject: mails + " under the name of " + c.Address + " dropped",
		Text: mails + " that came under the address " + c.Address + " had been sealed with a key that is not theirs: you have rejected it, or their provider does not know it. " +
			"mailproxy has dropped what came with it, and its sender is told nothing." + "\n\n" +
			"You need not do anything. If the key was right after all, ask the person to send the mail again, after you have had mailproxy trust the key that it is shown next:" + "\n\n" +
			a.command("forget", c) + "\n\n" +
			"You are told of this at most once a day for each address.",
	}
}
