package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/progress"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

var (
	// ErrUnknown is returned by Account.Bundle for a recipient to be looked up.
	ErrUnknown = errors.New("recipient's keys are not known")
	// ErrHeld is returned by Account.Bundle and Account.Learn for a recipient
	// whose identity key changed, until the user decides.
	ErrHeld = errors.New("recipient's identity key changed")
	// ErrRejected is returned by Account.Learn for a recipient whose provider shows an
	// identity key that the user has rejected.
	ErrRejected = errors.New("the provider shows an identity key that was rejected")
	// ErrUnlogged is returned by Account.Bundle and Account.LookUp for a recipient
	// whose provider showed keys that its key log does not hold.
	ErrUnlogged = errors.New("the provider's log does not hold the recipient's keys")
	// ErrSuperseded is returned by what Account.Beside gives for the transaction that
	// seals, when what is told beside the message is not to be told any more. The
	// message is sealed once more.
	ErrSuperseded = errors.New("what is told beside the message was replaced")

	// errNoProvider is a domain that is not in the network any more.
	errNoProvider = errors.New("the recipient's provider is not in the network")
	// errNothing ends a message of the kind seal.KindKey that is not needed any more.
	errNothing = errors.New("there is nothing to tell")
)

// Run sends the mail of those accounts whose engine network is, until ctx ends.
// At most one query of the outbox waits for a slot at any time: who goes next is
// decided anew for each.
func (o *Outbox) Run(ctx context.Context, network mixclient.Network) {
	for ctx.Err() == nil {
		o.mu.Lock()
		now := o.cfg.Now()
		t, at := o.take(network, now)
		if t != nil {
			t.part.chosen = true
		}
		wake := o.wake
		o.mu.Unlock()
		if t != nil {
			o.perform(ctx, network, t)
			continue
		}
		var timer <-chan time.Time
		if !at.IsZero() {
			timer = time.After(at.Sub(now))
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer:
		}
	}
}

// perform asks the network and returns once the query has its slot or failed;
// what comes of it is dealt with when its reply is there.
func (o *Outbox) perform(ctx context.Context, network mixclient.Network, t *task) {
	left := make(chan struct{})
	var once sync.Once
	gone := func() { once.Do(func() { close(left) }) }
	ctx, cancel := context.WithCancel(ctx)
	o.mu.Lock()
	t.part.recall = cancel
	if t.part.stopped || t.part.fate != nil {
		cancel() // since it was chosen
	}
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		t.part.recall, t.part.chosen = nil, false
		if t.part.stopped {
			o.stir() // who withdraws it waits for this
		}
		if !t.lookup {
			o.left(t.part)
		}
	}()
	o.wg.Go(func() {
		defer cancel()
		defer gone()
		if t.lookup {
			o.lookUp(ctx, network, t.part, gone)
			return
		}
		o.appendBlock(ctx, network, t, gone)
	})
	for {
		o.mu.Lock()
		o.prepareAll(network, o.cfg.Now())
		wake := o.wake
		o.mu.Unlock()
		select {
		case <-left:
			return
		case <-wake:
		}
	}
}

// serviceOf finds the spool service of a domain.
func serviceOf(ctx context.Context, network mixclient.Network, domain string) (mixclient.Service, error) {
	list, err := network.Services(ctx, mixclient.KindSpool)
	if err != nil {
		return mixclient.Service{}, fmt.Errorf("list providers: %w", err)
	}
	for _, s := range list {
		if s.Provider == domain {
			return s, nil
		}
	}
	return mixclient.Service{}, errNoProvider
}

// lookUp asks the recipient's provider for the recipient's key bundle. gone is
// called once the query has its slot.
func (o *Outbox) lookUp(ctx context.Context, network mixclient.Network, p *part, gone func()) {
	o.mu.Lock()
	address := p.Address
	account := p.job.message.Account
	o.mu.Unlock()
	a, ok := o.cfg.Account(account)
	var took mixclient.Timing
	ctx = mixclient.WithTrace(ctx, &mixclient.Trace{
		Taken: gone,
		Done:  func(t mixclient.Timing) { took = t }, // before Lookup returns
	})
	name, domain, err := parseAddress(address)
	if !ok {
		err = errors.New("the account is gone")
	}
	var service mixclient.Service
	if err == nil {
		service, err = serviceOf(ctx, network, domain)
	}
	var found *client.Found
	if err == nil {
		found, err = a.LookUp(ctx, service, name)
	}
	if err == nil {
		err = a.Learn(address, found)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p.asking = false
	delete(o.asking, lookup{account, address})
	defer o.stir()
	switch {
	case p.fate != nil: // it was given up meanwhile
	case err == nil:
		p.unknown, p.backoff, p.refusal = false, 0, nil
		o.cfg.Observe.Tell(progress.Event{
			Kind: progress.LookedUp, At: o.cfg.Now(), Account: account, Recipient: address,
			Outbox: p.job.id.String(), Timing: took,
		})
	case ctx.Err() != nil:
	case errors.Is(err, mixclient.ErrLost):
		p.notBefore = o.cfg.Now().Add(lostDelay(network))
	case errors.Is(err, ErrHeld), errors.Is(err, ErrUnlogged):
		o.hold(p, err)
	case errors.Is(err, spool.StatusNoUser), errors.Is(err, spool.StatusRevoked), errors.Is(err, errNoProvider), errors.Is(err, ErrRejected):
		o.fail(p, err)
	default:
		o.refused(p, err)
	}
}

// prepareQueued seals a queued part whose bundle is known, on a goroutine of its
// own. It reports whether a slot is needed to look the bundle up. o.mu must be
// held.
func (o *Outbox) prepareQueued(a Account, p *part) (unknown bool) {
	bundle, err := a.Bundle(p.Address)
	p.unknown = errors.Is(err, ErrUnknown)
	switch {
	case err == nil && o.sealing: // when that is done there is a wake
	case err == nil:
		p.busy, o.sealing = true, true
		o.wg.Go(func() { o.seal(a, p, bundle) })
	case p.unknown:
	case errors.Is(err, ErrHeld), errors.Is(err, ErrUnlogged):
		o.hold(p, err)
	default:
		o.log.Error("outbox: contacts cannot be read", "err", err)
		o.refused(p, err)
	}
	return p.unknown
}

// appendBlock appends one block to the recipient's spool. gone is called once
// the query has its slot.
func (o *Outbox) appendBlock(ctx context.Context, network mixclient.Network, t *task, gone func()) {
	p := t.part
	o.mu.Lock()
	m, r := p.job.message, p.recipient
	blockKey, workKey := key(kindBlock, p.job.id, p.number, t.index), key(kindWork, p.job.id, p.number, t.index)
	event := progress.Event{
		Account: m.Account, Recipient: r.Address, Outbox: p.job.id.String(),
		Message: r.Sealed, Index: t.index, Count: r.Count,
	}
	o.mu.Unlock()
	tell := func(kind progress.Kind, timing mixclient.Timing) {
		e := event
		e.Kind, e.At, e.Timing = kind, o.cfg.Now(), timing
		o.cfg.Observe.Tell(e)
	}
	ctx = mixclient.WithTrace(ctx, &mixclient.Trace{
		Taken: func() { p.gone.Store(true); gone() },
		Sent:  func(timing mixclient.Timing) { tell(progress.Sent, timing) },
		Done:  func(timing mixclient.Timing) { tell(progress.Acked, timing) },
	})
	err := o.appendOnce(ctx, network, r, t.lane, blockKey, workKey)
	var updateErr error
	if err == nil {
		updateErr = o.cfg.Store.Update(func(tx *store.Tx) error {
			if err := tx.Delete(workKey); err != nil {
				return err
			}
			return tx.Delete(blockKey)
		})
	}
	terms, lane := offeredTerms(err)
	if lane {
		if a, ok := o.cfg.Account(m.Account); ok {
			if err := a.LaneRefused(r.Address, t.lane, terms); err != nil {
				o.log.Warn("outbox: what a new recipient's blocks cost could not be kept", "err", err)
			}
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.stir()
	switch {
	case err == nil && updateErr == nil:
		p.missing--
		p.backoff, p.refusal, p.changes = 0, nil, 0
		if p.missing == 0 && p.State == Sealed && !p.busy && p.fate == nil {
			o.inSpool(p)
		}
	case err == nil:
		// Appending once more does no harm, and then it may be noted.
		o.log.Error("outbox: an acknowledged block could not be noted", "err", updateErr)
		p.again = append(p.again, attempt{t.index, o.cfg.Now().Add(o.cfg.Times.RetryFirst)})
	case ctx.Err() != nil:
		p.fresh = append(p.fresh, t.index)
	case errors.Is(err, mixclient.ErrLost):
		p.again = append(p.again, attempt{t.index, o.cfg.Now().Add(lostDelay(network))})
	case lane:
		p.fresh = slices.Insert(p.fresh, 0, t.index)
		o.laneRefused(p, t.lane, terms, err)
	case errors.Is(err, spool.StatusNoSpool), errors.Is(err, spool.StatusRevoked), errors.Is(err, errNoProvider):
		p.fresh = append(p.fresh, t.index)
		o.fail(p, err)
	default:
		p.fresh = append(p.fresh, t.index)
		o.refused(p, err)
	}
}

func (o *Outbox) appendOnce(ctx context.Context, network mixclient.Network, r recipient, lane contacts.Lane, blockKey, workKey []byte) error {
	_, domain, err := parseAddress(r.Address)
	if err != nil {
		return err
	}
	service, err := serviceOf(ctx, network, domain)
	if err != nil {
		return err
	}
	var block, paid []byte
	err = o.cfg.Store.View(func(tx *store.Tx) (err error) {
		if block, err = tx.Get(blockKey); err == nil && dear(lane) {
			paid, err = tx.Get(workKey)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read sealed block: %w", err)
	}
	proof := laneProof(lane, spool.ServiceOf(domain), r.Spool, block, paid)
	_, err = client.New(network, service, client.Signing{}).Append(ctx, r.Spool, block, proof)
	return err
}
