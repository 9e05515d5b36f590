package proxy

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mailproxy/internal/address"
	"mailproxy/mixclient"
	"mailproxy/proxy/monitor"
	"mailproxy/proxy/outbox"
	"mailproxy/spool/client"
)

// An Alarm says that a provider's log of keys is not as an honest provider's is,
// whose store is in order. It stands until it is dismissed.
type Alarm struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Provider string    `json:"provider"`
	Address  string    `json:"address,omitempty"` // whose keys; empty: the log as a whole
	Accounts []string  `json:"accounts"`          // that have to do with it
	Since    time.Time `json:"since"`
	Last     time.Time `json:"last"`
	Count    int       `json:"count"` // how often it was raised
	Subject  string    `json:"subject"`
	Text     string    `json:"text"` // what it means, and what to do
	Detail   string    `json:"detail"`
}

// DismissAlarm is the body of a request to end an alarm.
type DismissAlarm struct {
	ID string `json:"id"`
}

func (d *Daemon) openLogs() (*monitor.Monitor, error) {
	return monitor.Open(monitor.Config{
		Store: d.store, Mailbox: d.mail, Own: d.ownKeys, Home: d.homeOf, Now: d.opt.Now, Logger: d.log,
		Cleared: func(account, addr string) { d.outbox.Release(account, addr) },
	})
}

// published returns the account's address, and whether its provider is to have its
// keys. While the user takes an account back the provider may have done so, and its
// log says so, before its answer is here.
func (a *account) published() (addr, domain string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, domain = address.Split(a.record.Address)
	return a.record.Address, domain, a.record.Registered && a.record.Ending == Active && !a.leaving
}

// ownKeys returns the identities of the accounts that a provider is to have.
func (d *Daemon) ownKeys(provider string) map[string][32]byte {
	own := map[string][32]byte{}
	for _, a := range d.list() {
		if addr, domain, ok := a.published(); ok && domain == provider {
			own[addr] = [32]byte(a.keys.IdentityKey().Public().(ed25519.PublicKey))
		}
	}
	return own
}

// providersOn returns the providers of the accounts that an engine carries.
func (d *Daemon) providersOn(network mixclient.Network) (list []string) {
	for _, a := range d.list() {
		if _, domain, ok := a.published(); ok && a.network == network {
			list = append(list, domain)
		}
	}
	return list
}

// LookUp implements outbox.Account.
func (s sending) LookUp(ctx context.Context, service mixclient.Service, name string) (*client.Found, error) {
	f, err := s.d.logs.LookUp(ctx, s.network, service, s.keys.Address(), name)
	if errors.Is(err, monitor.ErrFalse) {
		err = fmt.Errorf("%w: %w", outbox.ErrUnlogged, err)
	}
	return f, err
}

// alarms returns those that stand.
func (d *Daemon) alarms() (list []Alarm) {
	for _, a := range d.logs.Alarms() {
		list = append(list, Alarm{
			ID: a.ID, Kind: string(a.Kind), Provider: a.Provider, Address: a.Address, Accounts: a.Accounts,
			Since: a.Since(), Last: time.Unix(a.Last, 0), Count: a.Count,
			Subject: a.Subject(), Text: a.Text(), Detail: a.Detail,
		})
	}
	return list
}

// dismiss ends an alarm for the command line.
func (d *Daemon) dismiss(id string) error {
	err := d.logs.Dismiss(id)
	if errors.Is(err, monitor.ErrNoAlarm) {
		return fmt.Errorf("%w; \"mailproxy status\" shows those that there are", err)
	}
	return err
}

// DismissAlarm ends an alarm that status shows.
func (c *Controller) DismissAlarm(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, pathAlarm, DismissAlarm{ID: id}, &struct{}{})
}
