package report

import (
	"fmt"
	"strings"
	"time"
)

// A Reason is one of the things that can become of a message.
type Reason int

// The reasons, with the status that each stands for. Those that say "delayed"
// leave the message in the outbox.
const (
	UnknownUser      Reason = iota + 1 // failed 5.1.1: the provider has no such mailbox
	UnknownProvider                    // failed 5.1.2: the network has no such provider
	SpoolFull                          // failed 5.2.2: the mailbox stayed full until the end
	Expired                            // failed 5.4.7: no answer until the end
	KeyChanged                         // failed 5.7.5: held for a changed key until the end
	KeyInvalid                         // failed 5.7.5: the provider gives no keys that verify
	Delayed                            // delayed 4.4.7: no answer yet
	DelayedFull                        // delayed 4.2.2: the mailbox is full
	Held                               // delayed 4.7.5: held until the user decides on a changed key
	InSpool                            // relayed 2.1.9: in the mailbox at the provider
	Delivered                          // delivered 2.1.5: a receipt came
	NotConfirmed                       // relayed 2.4.7: in the mailbox, but no receipt in time
	Gone                               // failed 5.1.6: the account was deleted, or its keys revoked
	Suspended                          // failed 5.2.1: the provider kept the account closed until the end
	DelayedSuspended                   // delayed 4.2.1: the provider keeps the account closed
	TooDear                            // failed 5.7.1: the provider asked for too much work until the end
	DelayedTooDear                     // delayed 4.7.1: the provider asks for too much work
	KeyUnlogged                        // failed 5.7.5: the provider's log did not hold the keys until the end
	HeldUnlogged                       // delayed 4.7.5: the provider's log does not hold the keys that it shows
	KeyRejected                        // failed 5.7.5: the provider shows only a key that the user has rejected
)

// statusUnconfirmed marks NotConfirmed, for which RFC 3463 has no code: X.4.7 is
// "delivery time expired", and class 2 says that there was no failure.
const statusUnconfirmed = "2.4.7"

var reasons = map[Reason]struct{ action, status, text string }{
	UnknownUser: {ActionFailed, "5.1.1",
		"There is no mailbox with this name at {domain}. Look for a typing mistake in the address, or ask the person for the right one, and send the message again."},
	UnknownProvider: {ActionFailed, "5.1.2",
		"This network has no provider called {domain}. Look for a typing mistake after the @. If it is an ordinary e-mail address, send the message from your ordinary mail account: this account reaches addresses of the network only."},
	SpoolFull: {ActionFailed, "5.2.2",
		"The mailbox was full during the whole time that mailproxy kept trying. Tell the person by another way that their mail program should fetch their mail, and send the message again after that."},
	Expired: {ActionFailed, "5.4.7",
		"mailproxy kept trying, but there was no answer from {domain} in all that time, so it has given up. Check that this computer is connected (mailproxy's status page says so) and send the message again; if it fails again, the provider may be out of order."},
	KeyChanged: {ActionFailed, "5.7.5",
		"This person's keys have changed since you last wrote to each other, and the change was not accepted in time, so the message was not sent. That happens when someone sets up a new computer; it would also happen if someone were pretending to be them. Ask them by another way whether their safety number is the one that mailproxy shows, accept the new keys if it is, and send the message again."},
	KeyInvalid: {ActionFailed, "5.7.5",
		"{domain} gave no keys for this address that could be verified, so the message could not be sealed and was not sent. There is nothing that you can repair: tell the person, who should start their mailproxy or ask their provider, and send the message again later."},
	Gone: {ActionFailed, "5.1.6",
		"This address is not used any more: its owner, or {domain}, has deleted the account or taken back its keys, and nobody else can be given it. Ask the person by another way for a new address, and send the message there."},
	Suspended: {ActionFailed, "5.2.1",
		"{domain} has suspended this account, and had not opened it again in the whole time that mailproxy kept trying. Tell the person by another way, who should ask their provider, and send the message again after that."},
	KeyUnlogged: {ActionFailed, "5.7.5",
		"{domain} has shown keys for this address that are not in its public log of keys, and did so during the whole time that mailproxy kept trying. They may be somebody else's, so the message was not sent. Ask the person by another way whether their safety number is the one that mailproxy shows, and tell them and the provider."},
	HeldUnlogged: {ActionDelayed, "4.7.5",
		"{domain} has shown keys for this address that are not in its public log of keys. They may be somebody else's, so the message waits and has not been sent; it goes out when the provider shows keys that are in its log{until2}. Tell the person by another way, and do not send the message by a way that is less safe."},
	TooDear: {ActionFailed, "5.7.1",
		"You have no key for this person's mailbox yet, and {domain} asks new correspondents for more computing work than mailproxy does, as a provider does under attack. It stayed so during the whole time that mailproxy kept trying. Ask the person by another way to write to you first: with that mail comes a key for their mailbox, and no work is needed any more."},
	DelayedSuspended: {ActionDelayed, "4.2.1",
		"{domain} has suspended this account for the moment. You need not send the message again: mailproxy keeps trying{until}. If it is urgent, tell the person by another way, who should ask their provider."},
	DelayedTooDear: {ActionDelayed, "4.7.1",
		"You have no key for this person's mailbox yet, and {domain} asks new correspondents for more computing work than mailproxy does at the moment, as a provider does under attack. You need not send the message again: mailproxy keeps trying{until}. It goes out at once if the person writes to you first."},
	Delayed: {ActionDelayed, "4.4.7",
		"The message could not be delivered yet. You need not do anything, and should not send it again: mailproxy keeps trying{until}."},
	DelayedFull: {ActionDelayed, "4.2.2",
		"The mailbox is full at the moment. You need not send the message again: mailproxy keeps trying{until}. If it is urgent, tell the person by another way that their mail program should fetch their mail."},
	Held: {ActionDelayed, "4.7.5",
		"This person's keys have changed since you last wrote to each other, so the message waits and has not been sent. That happens when someone sets up a new computer; it would also happen if someone were pretending to be them. Ask them by another way whether their safety number is the one that mailproxy shows. If it is, accept the new keys, on mailproxy's status page or with \"mailproxy contact accept {address}\", and the message goes out{until2}."},
	KeyRejected: {ActionFailed, "5.7.5",
		"You have decided not to trust the new keys that {domain} shows for this person, and it shows no others, so the message was not sent. Ask the person by another way what has happened. If the new keys are theirs after all, \"mailproxy contact forget {address}\" has mailproxy trust the keys that it is shown next; then send the message again."},
	InSpool: {ActionRelayed, "2.1.9",
		"The message is in the mailbox at {domain}. It is not known yet whether the person has fetched it."},
	Delivered: {ActionDelivered, "2.1.5",
		"The message has arrived on the recipient's computer."},
	NotConfirmed: {ActionRelayed, statusUnconfirmed,
		"The message was put into the mailbox at {domain}, but no confirmation that it was fetched has come back, and the mailbox does not keep mail longer than this. Either the person has it and their mailproxy sends no confirmations, or it was never fetched. If it matters, ask them by another way before you send it again."},
}

// For returns what to report about an address for this reason. retryUntil is when
// trying ends, for those that are delays; otherwise it is not used. Original,
// OriginalType and Diagnostic are the caller's to set.
func (why Reason) For(address string, retryUntil time.Time) Recipient {
	about, ok := reasons[why]
	if !ok {
		panic(fmt.Sprintf("report: no reason %d", why)) // a programming error
	}
	_, domain, _ := strings.Cut(address, "@")
	until, until2 := "", ""
	if !retryUntil.IsZero() {
		day := retryUntil.UTC().Format("Monday, 2 January 2006 at 15:04 UTC")
		until, until2 = " until "+day, ". It waits until "+day
	}
	r := Recipient{
		Final:  address,
		Action: about.action,
		Status: about.status,
		Text: strings.NewReplacer("{address}", limit(clean(address), 300), "{domain}", limit(clean(domain), 260), "{until}", until, "{until2}", until2).
			Replace(about.text),
	}
	if r.Action == ActionDelayed {
		r.RetryUntil = retryUntil
	}
	return r
}

// human is the part for people: plain sentences, no more than 72 columns wide.
func (r *Report) human(o original) part {
	var b strings.Builder
	para := func(indent, text string) {
		wrap(&b, indent, text)
		b.WriteString("\r\n")
	}
	para("", r.opening())
	var about []string
	if o.subject != "" {
		about = append(about, "  Subject: "+o.subject)
	}
	if !o.date.IsZero() {
		about = append(about, "  Date:    "+o.date.Format("Monday, 2 January 2006 at 15:04 -0700"))
	} else if !r.Arrival.IsZero() {
		about = append(about, "  Date:    "+r.Arrival.UTC().Format("Monday, 2 January 2006 at 15:04 UTC"))
	}
	if len(about) > 0 {
		b.WriteString(strings.Join(about, "\r\n") + "\r\n\r\n")
	}
	for _, p := range r.Recipients {
		b.WriteString("To " + limit(clean(p.Final), 300) + ":\r\n")
		para("  ", p.Text)
	}
	para("", "This report was written by mailproxy on your own computer. It came from nowhere else, and answering it reaches nobody. What follows is for those who help you with a problem.")
	p := part{mediaType: "text/plain", charset: "utf-8", encoding: "7bit", description: "What happened", body: []byte(b.String())}
	if !isASCII(p.body) || longestLine(p.body) > 998 {
		p.encoding = "quoted-printable"
	}
	return p
}

// opening says in one sentence what the report is about.
func (r *Report) opening() string {
	some := ""
	if len(r.Recipients) > 1 {
		some = " What is known of each recipient stands below."
	}
	switch r.subject() {
	case "Your message could not be delivered":
		return "This message of yours could not be delivered." + some
	case "Your message is delayed":
		return "This message of yours has not been delivered yet." + some
	case "The delivery of your message was not confirmed":
		return "It is not certain that this message of yours was received." + some
	case "Your message is in the recipient's mailbox":
		return "This message of yours is on its way as asked." + some
	}
	return "This message of yours was delivered." + some
}

// wrap writes text with lines of at most 72 characters; a longer word has a line
// of its own.
func wrap(b *strings.Builder, indent, text string) {
	column := 0
	for _, word := range strings.Fields(clean(text)) {
		n := len([]rune(word))
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+n > 72:
			b.WriteString("\r\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteString("\r\n")
}
