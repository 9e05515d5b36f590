package outbox

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/seal"
)

var (
	// ErrNoMail is returned for an id by which no mail is in the outbox.
	ErrNoMail = errors.New("no such mail is on its way")
	// ErrNotRecipient is returned for an address that a mail does not go to.
	ErrNotRecipient = errors.New("the mail does not go to this address")
)

// A Mail describes a mail that is on its way, to its sender.
type Mail struct {
	ID         string          `json:"id"`
	Account    string          `json:"account"`
	MessageID  string          `json:"message_id,omitempty"` // as recipients know it, and Sent shows it
	Subject    string          `json:"subject"`
	Submitted  time.Time       `json:"submitted"`
	GivenUp    time.Time       `json:"given_up"` // when, if it is not in a spool by then
	Size       int64           `json:"size"`     // bytes that are kept of it
	Recipients []MailRecipient `json:"recipients"`
}

// A MailRecipient is one of its recipients.
type MailRecipient struct {
	Address string `json:"address"`
	// State is queued, held, sending, spooled, delivered, unconfirmed, failed or
	// withdrawn.
	State string `json:"state"`
	// Withdrawable says that nothing of it has left, nor may have.
	Withdrawable bool       `json:"withdrawable"`
	Blocks       int        `json:"blocks,omitempty"`       // known once it is sealed
	Acknowledged int        `json:"acknowledged,omitempty"` // of them
	NextTry      *time.Time `json:"next_try,omitempty"`     // after a refusal that may pass
	Problem      string     `json:"problem,omitempty"`      // that refusal
}

// Queue lists the mails that are on their way from an account, or with an empty
// account from all, the oldest first. A mail is among them until each recipient's part
// has ended.
func (o *Outbox) Queue(account string) ([]Mail, error) {
	o.mu.Lock()
	list := []Mail{}
	for _, j := range o.jobs {
		if j.message.Kind == seal.KindMail && (account == "" || j.message.Account == account) {
			list = append(list, o.describe(j))
		}
	}
	o.mu.Unlock()
	slices.SortFunc(list, func(x, y Mail) int { return cmp.Compare(x.ID, y.ID) })
	for i := range list {
		if err := o.addSubject(&list[i]); err != nil {
			return nil, fmt.Errorf("list mail: %w", err)
		}
	}
	return list, nil
}

// Sending lists the mails that are not in the spools of all their recipients yet, the
// oldest first, without their subjects.
func (o *Outbox) Sending() []Mail {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []Mail
	for _, j := range o.jobs {
		if j.message.Kind == seal.KindMail && slices.ContainsFunc(j.parts, (*part).unsent) {
			list = append(list, o.describe(j))
		}
	}
	slices.SortFunc(list, func(x, y Mail) int { return cmp.Compare(x.ID, y.ID) })
	return list
}

// unsent reports whether p is not in the spool yet. o.mu must be held.
func (p *part) unsent() bool { return p.State == Queued || p.State == Held || p.State == Sealed }

// Mail describes one mail, by its id or its Message-ID. It returns ErrNoMail if it is
// not, or no longer, on its way.
func (o *Outbox) Mail(id string) (Mail, error) {
	o.mu.Lock()
	j, err := o.named(id)
	if err != nil {
		o.mu.Unlock()
		return Mail{}, err
	}
	m := o.describe(j)
	o.mu.Unlock()
	if err := o.addSubject(&m); err != nil {
		return Mail{}, fmt.Errorf("show mail: %w", err)
	}
	return m, nil
}

// named finds a mail by its id or its Message-ID. o.mu must be held.
func (o *Outbox) named(name string) (*job, error) {
	var id ID
	if b, err := hex.DecodeString(name); err == nil && len(b) == len(id) {
		copy(id[:], b)
		if j := o.jobs[id]; j != nil && j.message.Kind == seal.KindMail {
			return j, nil
		}
		return nil, ErrNoMail
	}
	if mid := mailbox.NormalMessageID(name); strings.Contains(mid, "@") {
		for _, j := range o.jobs {
			if j.message.MessageID == mid {
				return j, nil
			}
		}
	}
	return nil, ErrNoMail
}

// describe says all of a mail but its subject. o.mu must be held.
func (o *Outbox) describe(j *job) Mail {
	m := Mail{
		ID: j.id.String(), Account: j.message.Account, MessageID: j.message.MessageID, Size: j.message.Size,
		Submitted: j.message.submitted().UTC(), GivenUp: j.message.submitted().Add(o.cfg.Times.Expire).UTC(),
	}
	for i := range j.done {
		m.Recipients = append(m.Recipients, MailRecipient{Address: j.done[i].Address, State: j.done[i].word()})
	}
	for _, p := range j.parts {
		r := MailRecipient{Address: p.Address, State: p.word(), Withdrawable: p.withdrawable()}
		if p.State != Queued && p.State != Held {
			r.Blocks, r.Acknowledged = int(p.Count), int(p.Count)-p.missing
		}
		if p.refusal != nil {
			r.Problem = p.refusal.Error()
			if next := p.notBefore; next.After(o.cfg.Now()) {
				next = next.UTC()
				r.NextTry = &next
			}
		}
		m.Recipients = append(m.Recipients, r)
	}
	slices.SortFunc(m.Recipients, func(x, y MailRecipient) int { return cmp.Compare(x.Address, y.Address) })
	return m
}

// addSubject reads the subject from the content.
func (o *Outbox) addSubject(m *Mail) error {
	b, err := hex.DecodeString(m.ID)
	if err != nil {
		return err
	}
	return o.cfg.Store.View(func(tx *store.Tx) error {
		head, err := tx.Get(key(kindContent, ID(b), 0))
		if errors.Is(err, store.ErrNotFound) {
			return nil // it has ended meanwhile, or is empty
		}
		if err != nil {
			return err
		}
		if i := strings.Index(string(head), "\r\n\r\n"); i >= 0 {
			head = head[:i]
		}
		for _, f := range mailbox.Fields(head) {
			if strings.EqualFold(f.Name, "Subject") {
				m.Subject = f.Text()
				break
			}
		}
		return nil
	})
}

// Retry has a mail that waits after a refusal tried at its next turn, and returns it.
// What got lost on its way is not sent any sooner: the time of that is random, so that
// nobody learns by it what was lost.
func (o *Outbox) Retry(id string) (Mail, error) {
	o.mu.Lock()
	j, err := o.named(id)
	if err != nil {
		o.mu.Unlock()
		return Mail{}, err
	}
	for _, p := range j.parts {
		if p.refusal != nil && p.fate == nil {
			p.notBefore, p.backoff = time.Time{}, 0
		}
	}
	o.stir()
	o.mu.Unlock()
	return o.Mail(id)
}
