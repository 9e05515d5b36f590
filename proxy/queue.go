package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"mailproxy/internal/control"
	"mailproxy/proxy/outbox"
)

// withdrawWait bounds how long a withdrawal waits for what is being written.
const withdrawWait = 30 * time.Second

// CancelMail is the body of a request to withdraw mail.
type CancelMail struct {
	ID         string   `json:"id"`                   // the mail's, or its Message-ID
	Recipients []string `json:"recipients,omitempty"` // none: all
}

// CancelledMail is the answer to it.
type CancelledMail struct {
	ID         string              `json:"id"`
	Recipients []outbox.Withdrawal `json:"recipients"`
}

// RetryMail is the body of a request to try mail again now.
type RetryMail struct {
	ID string `json:"id"` // the mail's, or its Message-ID
}

// Queue lists the mail that is on its way from an account; with an empty account
// from all.
func (d *Daemon) Queue(account string) ([]outbox.Mail, error) {
	if account != "" {
		a, err := d.theAccount(account)
		if err != nil {
			return nil, fmt.Errorf("list mail on its way: %w", err)
		}
		account = a.keys.Address()
	}
	return d.outbox.Queue(account)
}

// MailOnItsWay describes one mail.
func (d *Daemon) MailOnItsWay(id string) (outbox.Mail, error) {
	m, err := d.outbox.Mail(id)
	return m, named(id, err)
}

// Cancel withdraws mail of which nothing has left, and says for each recipient what
// became of it. When it returns nil, what it says is synced.
func (d *Daemon) Cancel(ctx context.Context, in CancelMail) (CancelledMail, error) {
	ctx, cancel := context.WithTimeout(ctx, withdrawWait)
	defer cancel()
	said, err := d.outbox.Withdraw(ctx, in.ID, in.Recipients)
	if err != nil {
		return CancelledMail{}, named(in.ID, err)
	}
	return CancelledMail{ID: in.ID, Recipients: said}, nil
}

// Retry has mail that waits after a refusal tried at its next turn.
func (d *Daemon) Retry(in RetryMail) (outbox.Mail, error) {
	m, err := d.outbox.Retry(in.ID)
	return m, named(in.ID, err)
}

// named says which mail an error is about, and what to do.
func named(id string, err error) error {
	if errors.Is(err, outbox.ErrNoMail) {
		return fmt.Errorf("%q: %w; \"mailproxy queue list\" shows what is", id, err)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", id, err)
	}
	return nil
}

func (d *Daemon) handleQueue(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathQueue, func(w http.ResponseWriter, r *http.Request) {
		list, err := d.Queue(r.URL.Query().Get("account"))
		d.answer(w, list, err)
	})
	mux.HandleFunc("GET "+pathMail, func(w http.ResponseWriter, r *http.Request) {
		m, err := d.MailOnItsWay(r.URL.Query().Get("id"))
		d.answer(w, m, err)
	})
	control.Handle(mux, d.log, pathCancel, d.Cancel)
	control.Handle(mux, d.log, pathRetry, atOnce(d.Retry))
}

// Queue lists the mail that is on its way; an empty account stands for all.
func (c *Controller) Queue(ctx context.Context, account string) (list []outbox.Mail, err error) {
	err = c.do(ctx, http.MethodGet, pathQueue+"?account="+url.QueryEscape(account), nil, &list)
	return list, err
}

// MailOnItsWay asks for one mail.
func (c *Controller) MailOnItsWay(ctx context.Context, id string) (m outbox.Mail, err error) {
	err = c.do(ctx, http.MethodGet, pathMail+"?id="+url.QueryEscape(id), nil, &m)
	return m, err
}

// Cancel withdraws mail.
func (c *Controller) Cancel(ctx context.Context, in CancelMail) (out CancelledMail, err error) {
	err = c.do(ctx, http.MethodPost, pathCancel, in, &out)
	return out, err
}

// Retry has mail tried again.
func (c *Controller) Retry(ctx context.Context, in RetryMail) (m outbox.Mail, err error) {
	err = c.do(ctx, http.MethodPost, pathRetry, in, &m)
	return m, err
}
