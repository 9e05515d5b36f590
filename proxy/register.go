package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailproxy/internal/address"
	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// begin finds the provider, registers if that was not done before, and makes the
// reader. It returns false when ctx ends or the provider refuses for good.
func (a *account) begin(ctx context.Context) bool {
	backoff := registerFirst
	for {
		err := a.register(ctx)
		if err == nil {
			a.setProblem(nil)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		err = explain(err, a.keys.Address())
		a.setProblem(err)
		if !client.IsTemporary(err) {
			a.final = true
			if !a.tellsWaiting(err) {
				a.d.log.Error("proxy: an account cannot be registered", "err", unexplained(err))
				a.refusedForGood(ctx, err)
			}
			return false
		}
		wait := backoff
		if errors.Is(err, mixclient.ErrLost) {
			wait = 0 // a slot's wait is random already
		} else {
			backoff = min(2*backoff, registerMost)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// unanswered says why the account's provider has not answered, without an end.
func (a *account) unanswered() string {
	if n := a.network.Status(); !n.Connected && n.Reason != "" {
		return strings.TrimSuffix(n.Reason, "; trying again")
	}
	return "its provider has not answered yet"
}

// errProvider is a domain that is not in the network, or no longer.
var errProvider = errors.New("the account's provider is not in the network")

// spoolOf finds the spool service of a domain.
func spoolOf(ctx context.Context, network mixclient.Network, domain string) (mixclient.Service, error) {
	list, err := network.Services(ctx, mixclient.KindSpool)
	if err != nil {
		return mixclient.Service{}, err
	}
	for _, s := range list {
		if s.Provider == domain {
			return s, nil
		}
	}
	return mixclient.Service{}, errProvider
}

func (a *account) register(ctx context.Context) error {
	_, domain := address.Split(a.keys.Address())
	var err error
	if a.service, err = spoolOf(ctx, a.network, domain); err != nil {
		return err
	}
	a.mu.Lock()
	record := *a.record
	a.mu.Unlock()
	if !record.Registered {
		bundle, signed := a.keys.Bundle()
		if err := a.client().Register(ctx, a.keys.IdentityKey(), a.keys.ReadKey(), signed, record.Invite); err != nil {
			return err
		}
		if err := a.keys.Published(bundle.Version); err != nil {
			return err
		}
		// The invitation is kept: a provider that restores a backup from before may
		// have to be shown it once more.
		if err := a.changeRecord(func(r *accountRecord) { r.Registered = true }); err != nil {
			return fmt.Errorf("note the registration: %w", err)
		}
		close(a.registered)
	}
	cursor, err := a.inbox.Cursor()
	if err != nil {
		return err
	}
	a.reader, err = client.NewReader(client.ReaderOptions{
		Service: a.service, Key: a.keys.ReadKey(), Signing: a.signing(), Cursor: cursor,
		Deliver: a.deliver, Last: a.answered, Failed: a.readFailed,
	})
	return err
}

func (a *account) signing() client.Signing {
	return client.Signing{Instance: spool.Instance(a.keys.Instance()), Nonce: a.keys.Nonce, Now: a.clock}
}

func (a *account) client() *client.Client { return a.clientOf(a.service) }

func (a *account) clientOf(service mixclient.Service) *client.Client {
	return client.New(a.network, service, a.signing())
}
