package proxy

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"time"

	"mailproxy/internal/control"
	"mailproxy/proxy/web"
)

// The control API, which the command line talks to (package control).
const (
	pathStatus   = "/v1/status"
	pathAlarm    = "/v1/alarms/dismiss"
	pathAccounts = "/v1/accounts"
	pathEnd      = "/v1/accounts/end"
	pathContacts = "/v1/contacts"
	pathBlock    = "/v1/contacts/block"
	pathQueue    = "/v1/queue"
	pathMail     = "/v1/queue/mail"
	pathCancel   = "/v1/queue/cancel"
	pathRetry    = "/v1/queue/retry"
)

// registerWait bounds how long adding an account waits for its provider.
const registerWait = 2 * time.Minute

// socket is where the daemon with that data directory listens.
func socket(dir string) control.Socket {
	return control.Socket{Program: "mailproxy", Dir: dir, Start: HowToStart(), Why: func() error { return noted(dir) }}
}

// HowToStart says how a daemon is started that does not run, after "start it with".
func HowToStart() string {
	if runtime.GOOS == "linux" {
		return `"mailproxy run" (or, where it is a service, "systemctl --user start mailproxy")`
	}
	return `"mailproxy run"`
}

// NewAccount is the body of a request to add an account.
type NewAccount struct {
	Address     string `json:"address"`
	DisplayName string `json:"display_name,omitempty"`
	Password    string `json:"password,omitempty"` // empty: one is made
	Invite      string `json:"invite,omitempty"`   // code of an invitation
}

// AddedAccount is the answer to it.
type AddedAccount struct {
	Address  string `json:"address"`
	Password string `json:"password,omitempty"`
	// Problem says why the provider has not taken the account yet, if it has not.
	Problem string `json:"problem,omitempty"`
}

// ServeControl answers the command line until ctx ends. The store's lock says that
// no other daemon uses the directory.
func (d *Daemon) ServeControl(ctx context.Context) error {
	mux := http.NewServeMux()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d.handleStop(mux, stop)
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) {
		s := d.Status()
		h := web.HeadlineOf(pageSource{d}.State())
		s.Headline = &h
		d.answer(w, s, nil)
	})
	mux.HandleFunc("GET "+pathAccounts, func(w http.ResponseWriter, _ *http.Request) { d.answer(w, d.Status().Accounts, nil) })
	control.Handle(mux, d.log, pathAccounts, d.addAndRegister)
	control.Handle(mux, d.log, pathEnd, func(ctx context.Context, in EndAccount) (struct{}, error) { return struct{}{}, d.End(ctx, in) })
	control.Handle(mux, d.log, pathPassword, atOnce(d.ChangePassword))
	mux.HandleFunc("GET "+pathContacts, func(w http.ResponseWriter, r *http.Request) {
		list, err := d.Contacts(r.URL.Query().Get("account"))
		d.answer(w, list, err)
	})
	control.Handle(mux, d.log, pathBlock, atOnce(d.Block))
	d.handleQueue(mux)
	d.handleContacts(mux)
	d.handleAliases(mux)
	d.handlePage(mux)
	control.Handle(mux, d.log, pathAlarm, atOnce(func(in DismissAlarm) (struct{}, error) { return struct{}{}, d.dismiss(in.ID) }))
	d.serveMail(mux)
	return socket(d.opt.Dir).Serve(ctx, mux)
}

// atOnce is what answers a request without waiting for anything.
func atOnce[In, Out any](fn func(In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(_ context.Context, in In) (Out, error) { return fn(in) }
}

// addAndRegister adds an account, and waits for its provider for a while.
func (d *Daemon) addAndRegister(ctx context.Context, in NewAccount) (AddedAccount, error) {
	canonical, err := newAddress(in.Address)
	if err != nil {
		return AddedAccount{}, err
	}
	in.Address = canonical // what the user is told is what mail programs are to show
	password, err := d.AddAccount(ctx, in)
	if err != nil {
		return AddedAccount{}, err
	}
	a := d.account(in.Address)
	added := AddedAccount{Address: in.Address, Password: password}
	ctx, cancel := context.WithTimeout(ctx, registerWait)
	defer cancel()
	err = d.WaitRegistered(ctx, in.Address)
	late := err != nil && ctx.Err() != nil
	if late && a != nil {
		added.Problem = a.unanswered()
		if refused := a.leaveAlone(); refused != nil {
			err, late = refused, false
		}
	}
	switch {
	case err == nil:
	case late:
		added.Problem = cmp.Or(added.Problem, err.Error())
	default: // refused for good: do not keep what can never work
		if a != nil {
			err = errors.Join(err, d.forget(a))
		}
		return AddedAccount{}, err
	}
	return added, nil
}

func (d *Daemon) answer(w http.ResponseWriter, body any, err error) {
	control.Answer(w, d.log, body, err)
}

// A Controller talks to a running daemon.
type Controller struct{ client *control.Client }

// Control returns a controller of the daemon whose data directory is dir.
func Control(dir string) *Controller { return &Controller{socket(dir).Client()} }

func (c *Controller) do(ctx context.Context, method, path string, in, out any) error {
	return c.client.Do(ctx, method, path, in, out)
}

// Status asks for the daemon's status.
func (c *Controller) Status(ctx context.Context) (s Status, err error) {
	err = c.do(ctx, http.MethodGet, pathStatus, nil, &s)
	return s, err
}

// AddAccount adds an account.
func (c *Controller) AddAccount(ctx context.Context, in NewAccount) (out AddedAccount, err error) {
	err = c.do(ctx, http.MethodPost, pathAccounts, in, &out)
	return out, err
}

// End revokes or deletes an account.
func (c *Controller) End(ctx context.Context, in EndAccount) error {
	return c.do(ctx, http.MethodPost, pathEnd, in, &struct{}{})
}

// Contacts lists whom an account knows; an empty account stands for the only one.
func (c *Controller) Contacts(ctx context.Context, account string) (list []ContactStatus, err error) {
	err = c.do(ctx, http.MethodGet, pathContacts+"?account="+url.QueryEscape(account), nil, &list)
	return list, err
}

// Block blocks or unblocks a contact.
func (c *Controller) Block(ctx context.Context, in BlockContact) (out BlockedContact, err error) {
	err = c.do(ctx, http.MethodPost, pathBlock, in, &out)
	return out, err
}
