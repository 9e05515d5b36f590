package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/address"
	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// A forgotten account is one that its provider does not have any more: its store was
// put back to a backup from before the account was made.
type forgotten struct {
	is      bool
	next    time.Time // of the next attempt to register again
	refused error     // what came of the last, if the provider said no
}

// answered is told of each reply to a read what number the spool gave last. A higher
// generation shows that the store was restored: an older append key may be valid in
// it, and an older bundle be published. That is kept before anything is read.
func (a *account) answered(last uint64) {
	generation := spool.Generation(last)
	if generation <= a.keys.Generation() {
		return
	}
	if err := a.keys.Lost(generation); err != nil {
		a.d.log.Error("proxy: the restore of a provider's store could not be noted", "err", err)
		return // the next reply says it again
	}
	a.d.log.Info("proxy: the provider's store was restored, or is seen for the first time since; keys are published again")
	a.rekey()
}

// forgot takes the provider's word that there is no spool, and has the account
// registered again, with the keys it has. It returns what to tell the user.
func (a *account) forgot(err error) error {
	a.mu.Lock()
	first, refused := !a.forgotten.is, a.forgotten.refused
	a.mu.Unlock()
	if first {
		// What the new spool is to be given is kept first.
		if lost := a.keys.Lost(0); lost != nil {
			return errors.Join(err, lost) // the next read is refused alike
		}
		a.mu.Lock()
		a.forgotten = forgotten{is: true}
		a.mu.Unlock()
		a.d.log.Warn("proxy: the provider does not have the account any more; registering it again")
		a.rekey()
	}
	addr := a.keys.Address()
	_, domain := address.Split(addr)
	text := fmt.Sprintf("%s does not have %s any more, perhaps after a backup was restored there; mailproxy is registering it again", domain, addr)
	switch {
	case errors.Is(refused, spool.StatusInvite):
		text = fmt.Sprintf("%s does not have %s any more, perhaps after a backup was restored there, and makes no account without an open invitation; tell the provider. mailproxy goes on trying, with the same keys", domain, addr)
	case refused != nil:
		text = fmt.Sprintf("%s does not have %s any more, perhaps after a backup was restored there, and does not take it again: %v", domain, addr, explain(refused, addr))
	}
	return &refusedError{text: text, err: err}
}

// registerAgain registers an account that its provider has forgotten. It reports
// whether the provider has it now.
func (a *account) registerAgain(ctx context.Context) bool {
	a.mu.Lock()
	f, invite := a.forgotten, a.record.Invite
	a.mu.Unlock()
	if !f.is {
		return true
	}
	if a.d.opt.Now().Before(f.next) {
		return false
	}
	for ctx.Err() == nil {
		bundle, signed := a.keys.Bundle()
		err := a.client().Register(ctx, a.keys.IdentityKey(), a.keys.ReadKey(), signed, invite)
		if err == nil {
			err = a.keys.Published(bundle.Version)
		}
		if errors.Is(err, mixclient.ErrLost) {
			continue // a slot's wait is random already
		}
		if ctx.Err() != nil {
			return false
		}
		f = forgotten{is: err != nil, refused: err, next: a.d.opt.Now().Add(registerFirst)}
		if err != nil && !client.IsTemporary(err) {
			f.next = a.d.opt.Now().Add(registerMost)
		}
		a.mu.Lock()
		a.forgotten = f
		a.mu.Unlock()
		if err != nil {
			a.d.log.Warn("proxy: an account that its provider lost could not be registered again; trying again later", "err", err)
		}
		return err == nil
	}
	return false
}
