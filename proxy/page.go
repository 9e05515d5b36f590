package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mailproxy/mixclient"
	"mailproxy/proxy/headers"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/web"
)

// pathPage is where the command line asks for a link to the status page.
const pathPage = "/v1/page"

// PageLink is the answer to it.
type PageLink struct {
	URL string `json:"url"` // works once, for web.TokenLife
}

// errNoPage is the answer where there is no status page.
var errNoPage = errors.New(`there is no status page: set web = "127.0.0.1:1180" under [listen] in the configuration, and start mailproxy run again`)

// Page returns a link that opens the status page once, within web.TokenLife.
func (d *Daemon) Page() (string, error) {
	if d.Address("web") == nil {
		return "", errNoPage
	}
	return d.page.URL()
}

func (d *Daemon) handlePage(mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathPage, func(w http.ResponseWriter, _ *http.Request) {
		url, err := d.Page()
		d.answer(w, PageLink{url}, err)
	})
}

// Page asks for a link that opens the status page once, within web.TokenLife.
func (c *Controller) Page(ctx context.Context) (string, error) {
	var out PageLink
	err := c.do(ctx, http.MethodPost, pathPage, nil, &out)
	return out.URL, err
}

// pageSource is what the status page sees of the daemon.
type pageSource struct{ d *Daemon }

var _ web.Source = pageSource{}

// State implements web.Source.
func (p pageSource) State() web.State {
	s := p.d.Status()
	out := web.State{Sending: s.Sending, Unconfirmed: s.Receipts, Paying: s.Paying}
	for _, a := range s.Alarms {
		out.Alarms = append(out.Alarms, web.Alarm{ID: a.ID, Subject: a.Subject, Text: a.Text, Detail: a.Detail, Since: a.Since})
	}
	index := map[mixclient.Network]int{}
	for _, a := range s.Accounts {
		shown := web.Account{
			Address: a.Address, AliasOf: a.AliasOf, Registered: a.Registered, Problem: a.Problem, Ending: a.Ending, Network: -1,
			Incomplete: a.Incomplete, Arriving: a.Arriving, Held: a.Held, Blocked: a.Blocked,
		}
		if have := p.d.account(a.Address); have != nil && a.Ending != Deleted.String() {
			i, ok := index[have.network]
			if !ok {
				i = len(out.Networks)
				index[have.network] = i
				out.Networks = append(out.Networks, web.Network{Status: have.network.Status(), Delays: p.d.delays.of(have.network)})
			}
			shown.Network = i
			out.Networks[i].Accounts = append(out.Networks[i].Accounts, a.Address)
		}
		out.Accounts = append(out.Accounts, shown)
	}
	return out
}

// Recent implements web.Source.
func (p pageSource) Recent(n int) (all []web.Letter, err error) {
	for _, name := range p.d.mail.Accounts() {
		a, err := p.d.mail.Account(name)
		if errors.Is(err, mailbox.ErrNoAccount) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		inbox, err := a.Folder(mailbox.Inbox)
		if err == nil {
			all, err = letters(all, name, inbox, n, false)
		}
		if err != nil && !errors.Is(err, mailbox.ErrNoFolder) {
			return nil, fmt.Errorf("read the last mails: %w", err)
		}
		sent, err := a.FolderByUse(mailbox.UseSent)
		if err == nil {
			all, err = letters(all, name, sent, n, true)
		}
		if err != nil && !errors.Is(err, mailbox.ErrNoFolder) {
			return nil, fmt.Errorf("read the last mails: %w", err)
		}
	}
	slices.SortStableFunc(all, func(a, b web.Letter) int { return b.Date.Compare(a.Date) })
	count := map[bool]int{}
	return slices.DeleteFunc(all, func(l web.Letter) bool {
		count[l.Sent]++
		return count[l.Sent] > n
	}), nil
}

// letters adds the last messages of a folder to list.
func letters(list []web.Letter, account string, f *mailbox.Folder, n int, sent bool) ([]web.Letter, error) {
	last, err := f.Last(n)
	if err != nil {
		return list, err
	}
	for _, m := range last {
		l := web.Letter{Account: account, Sent: sent, Date: m.Date(), Keywords: m.Flags}
		err := f.Content(m, func(c *mailbox.Content) error {
			e, err := c.Envelope()
			if err != nil {
				return err
			}
			l.Subject = e.Subject
			if sent {
				l.Address = lineOf(e.To, e.Cc, e.Bcc)
				return nil
			}
			if len(e.From) > 0 {
				l.Name, l.Address = e.From[0].Name, lineOf(e.From[:1])
			}
			head, err := c.Header()
			if err != nil {
				return err
			}
			// A mail program can put a mail here that has any field and any From; the
			// keywords it cannot set.
			if slices.ContainsFunc(m.Flags, mailbox.SaysSender) {
				l.Sealed = sealedBy(head)
			}
			l.Report = hasFlag(m.Flags, mailbox.KeywordNotice)
			return nil
		})
		if errors.Is(err, mailbox.ErrNoMessage) {
			continue // it was expunged meanwhile
		}
		if err != nil {
			return list, err
		}
		list = append(list, l)
	}
	return list, nil
}

// hasFlag reports whether a flag is among flags.
func hasFlag(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// sealedBy returns what the field says that only we set: who sealed a mail that
// arrived. It is empty for what was not sealed by anybody.
func sealedBy(head []byte) (s web.Sealed) {
	for _, f := range mailbox.Fields(head) {
		if !strings.EqualFold(f.Name, headers.SenderField) {
			continue
		}
		for i, part := range strings.Split(f.Value, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch {
			case i == 0:
				s.State = name
			case name == "address":
				s.Address = value
			case name == "from":
				s.Differs = value != "same"
			}
		}
		return s // ours is at the top
	}
	return s
}

// lineOf writes addresses in a line.
func lineOf(lists ...[]mailbox.Address) string {
	var b bytes.Buffer
	for _, list := range lists {
		for _, a := range list {
			if a.Mailbox == "" || a.Host == "" {
				continue // the begin or end of a group
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(a.Mailbox + "@" + a.Host)
		}
	}
	return b.String()
}

// Withdraw implements web.Source.
func (p pageSource) Withdraw(ctx context.Context, id string) (string, error) {
	done, err := p.d.Cancel(ctx, CancelMail{ID: id})
	if err != nil {
		return "", err
	}
	return withdrawnWords(done.Recipients), nil
}

func withdrawnWords(list []outbox.Withdrawal) string {
	var parts []string
	for _, w := range list {
		if w.Withdrawn {
			parts = append(parts, "to "+w.Recipient+": withdrawn")
		} else {
			parts = append(parts, "to "+w.Recipient+": it was too late to withdraw it")
		}
	}
	return "The mail " + strings.Join(parts, "; ") + "."
}

// Retry implements web.Source.
func (p pageSource) Retry(id string) error {
	_, err := p.d.Retry(RetryMail{ID: id})
	return err
}

// Dismiss implements web.Source.
func (p pageSource) Dismiss(id string) error { return p.d.logs.Dismiss(id) }
