package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/inbox"
	"mailproxy/proxy/keys"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// All times by which accounts are looked after.
var (
	// tendEvery is how often keys are looked at for rotation, and inboxes for what
	// has waited too long or could not be delivered for want of disk.
	tendEvery = time.Minute
	// registerFirst and registerMost bound the wait after a provider refused for a
	// reason that may pass.
	registerFirst = 10 * time.Second
	registerMost  = 10 * time.Minute
)

// repliesWaiting bounds replies to reads that are not yet stored: as many as are
// in flight when the disk stalls for half a minute.
const repliesWaiting = 64

// An engine is one anonymity network and the accounts that it carries. Each of
// its read slots picks one account at random.
type engine struct {
	network mixclient.Network
	replies chan func() // to be stored one after the other

	mu       sync.Mutex // guards all below
	accounts []*account // those that are registered
	places   int        // among how many the read slots are split at least: see places
}

// account is one account while the daemon runs.
type account struct {
	d       *Daemon
	owner   string        // of an alias, else empty; never changes, as shift
	shift   time.Duration // of its requests' clock: see clockShift
	keys    *keys.Account
	book    *contacts.Book
	network mixclient.Network
	inbox   *inbox.Inbox // set by start, while mu is held; see arrivals
	reader  *client.Reader
	service mixclient.Service

	// timing says when the reply that is being stored travelled. It belongs to
	// the engine's one storing goroutine.
	timing mixclient.Timing

	registered chan struct{} // closed once the provider has the account
	refused    chan error    // of capacity one: why it never will
	rekeyed    chan struct{} // of capacity one: there is a new append key to publish
	// keysMoved, of capacity one, says that there is something to tell of contacts' keys.
	keysMoved chan struct{}
	// stop ends run; nil before start. stopped is closed when run has ended. Both
	// belong to who holds Daemon.starting.
	stop    context.CancelFunc
	stopped chan struct{}
	final   bool // its provider refused it for good; read once stopped is closed

	recording sync.Mutex // lets one change of record be written at a time; taken before mu

	telling sync.Mutex // lets one warning of leaks be written at a time; taken before mu

	mu        sync.Mutex // guards all below
	record    *accountRecord
	leaving   bool  // its provider is being asked to end it
	problem   error // why it is not registered, or not read
	forgotten forgotten
	// awaited says that whoever added the account waits to hear why it never will be
	// registered.
	awaited bool
}

// loadAccount reads an account's keys and inbox. It starts nothing.
func (d *Daemon) loadAccount(r *accountRecord) (*account, error) {
	a := &account{
		d: d, record: r, owner: r.Owner, network: d.opt.Network(cmp.Or(r.Owner, r.Address)),
		registered: make(chan struct{}), refused: make(chan error, 1),
		rekeyed: make(chan struct{}, 1), keysMoved: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	if a.network == nil {
		return nil, fmt.Errorf("load account %s: no network carries it", r.Address)
	}
	if r.Registered {
		close(a.registered)
	}
	if r.Ending == Deleted {
		return a, nil // it has a password and mail, and nothing else
	}
	var err error
	if a.keys, err = keys.Load(d.store, r.Address, d.opt.Now); err != nil {
		return nil, fmt.Errorf("load account %s: %w", r.Address, err)
	}
	a.shift = clockShift(a.keys)
	if a.book, err = contacts.NewBook(r.Address, d.opt.Now); err != nil {
		return nil, fmt.Errorf("load account %s: %w", r.Address, err)
	}
	return a, nil
}

// start begins to register, read and send for an account. d.starting is held.
func (d *Daemon) start(a *account) error {
	box, err := inbox.Open(inbox.Config{
		Store: d.store, Mailbox: d.mail, Into: a.home(), Account: receiving{a}, Now: d.opt.Now,
		Observe: d.opt.Observe, Logger: d.log,
	})
	if err != nil {
		return fmt.Errorf("start account %s: %w", a.keys.Address(), err)
	}
	a.mu.Lock()
	a.inbox = box
	a.mu.Unlock()
	var e *engine
	for _, have := range d.engines {
		if have.network == a.network {
			e = have
		}
	}
	if e == nil {
		e = &engine{network: a.network, replies: make(chan func(), repliesWaiting)}
		d.engines = append(d.engines, e)
		d.wg.Go(func() { d.outbox.Run(d.ctx, e.network) })
		d.wg.Go(func() { e.store(d.ctx) })
		d.wg.Go(func() { d.logs.Run(d.ctx, e.network, func() []string { return d.providersOn(e.network) }) })
		e.network.SetReads(e.next)
	}
	e.reserve(d.places(e.network))
	a.mu.Lock()
	record := *a.record // once it runs, it may be another
	a.mu.Unlock()
	if record.Ending != Active && !record.Registered {
		a.stop = func() {}
		close(a.stopped) // it was given up before its provider took it
	} else {
		d.work(a, e)
	}
	if record.Retiring && record.Ending != Deleted {
		d.wg.Go(func() { d.retireLater(a) })
	}
	return nil
}

// work has an account run until it is stopped. d.starting is held.
func (d *Daemon) work(a *account, e *engine) {
	ctx, stop := context.WithCancel(d.ctx)
	stopped := make(chan struct{})
	a.stop, a.stopped = stop, stopped
	d.wg.Go(func() {
		defer close(stopped)
		var telling sync.WaitGroup
		telling.Go(func() { a.watchKeys(ctx) })
		a.run(ctx, e)
		telling.Wait()
	})
}

// halt stops an account and waits for it. d.starting is held.
func (a *account) halt() {
	if a.stop != nil { // nil: it was never started
		a.stop()
		<-a.stopped
	}
}

// resume has an account run again that was halted to be ended, unless it ran no more
// before: its provider has refused it, or it was given up without ever being registered.
// One that has ended runs if it was registered at the last moment: what came can be read.
func (d *Daemon) resume(a *account, ended bool) {
	d.starting.Lock()
	defer d.starting.Unlock()
	a.mu.Lock()
	runs := a.record.Registered || !ended && a.record.Ending == Active && !a.record.Retiring
	a.mu.Unlock()
	if !runs || a.final || d.ctx.Err() != nil {
		return
	}
	for _, e := range d.engines {
		if e.network == a.network {
			d.work(a, e)
		}
	}
}

// next fills a read slot: with a read of one account's spool, picked at random, or
// with none if the place that was picked is nobody's. It is called by the engine and
// returns at once.
func (e *engine) next() (mixclient.Read, bool) {
	e.mu.Lock()
	if len(e.accounts) == 0 {
		e.mu.Unlock()
		return mixclient.Read{}, false
	}
	place := rand.N(max(len(e.accounts), e.places))
	if place >= len(e.accounts) {
		e.mu.Unlock()
		return mixclient.Read{}, false
	}
	a := e.accounts[place]
	e.mu.Unlock()
	request, done := a.reader.Next(a.clock())
	return mixclient.Read{To: a.service, Request: request, Done: func(reply []byte, t mixclient.Timing, err error) {
		f := func() {
			a.timing = t
			if err == nil {
				a.d.delays.note(a.network, a.network.Status().RoundTrip, t.Received.Sub(t.Sent))
				a.setProblem(nil) // unless the reply says otherwise
			}
			done(reply, err)
		}
		select {
		case e.replies <- f:
		default:
			// The disk has stalled; the block is read again.
			done(nil, mixclient.ErrLost)
		}
	}}, true
}

// store runs what replies bring, one at a time, until ctx ends.
func (e *engine) store(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-e.replies:
			f()
		}
	}
}

// deliver stores a block that the reader received.
func (a *account) deliver(_ uint64, block []byte) error {
	if a.ending() == Deleted {
		return errEnded
	}
	return a.inbox.Store(block, a.reader.Cursor(), a.timing)
}

// run registers the account, then keeps its bundle current and its inbox tidy,
// until ctx ends.
func (a *account) run(ctx context.Context, e *engine) {
	publishFrom, ok := a.apart(ctx)
	if !ok || !a.begin(ctx) {
		return
	}
	e.mu.Lock()
	e.accounts = append(e.accounts, a)
	e.mu.Unlock()
	defer e.remove(a)
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		if !time.Now().Before(publishFrom) {
			a.publish(ctx)
		}
		if err := a.inbox.Tend(); err != nil {
			a.d.log.Error("proxy: inbox", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.rekeyed:
		}
	}
}

// remove takes an account's spool out of the read slots.
func (e *engine) remove(a *account) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.accounts = slices.DeleteFunc(e.accounts, func(b *account) bool { return a == b })
}

// errElsewhere is a provider's refusal to be read by a second daemon.
var errElsewhere = errors.New("the account is in use elsewhere: on another computer, or as a copy of this data; stop one of the two (after a backup was restored this passes within ten minutes)")

// errEnded refuses what comes for an account that was deleted.
var errEnded = errors.New("the account was deleted")

// readFailed takes what is wrong with a read that was answered, or lost.
func (a *account) readFailed(err error) {
	var refused *spool.Refused
	switch {
	case errors.Is(err, mixclient.ErrLost), errors.Is(err, mixclient.ErrClosed):
		return // the next read does its work
	case errors.As(err, &refused) && refused.Status == spool.StatusCursorAhead:
		// The provider lost blocks, to a restored backup perhaps. What is there
		// from now on has lower numbers than we have read. That is kept before
		// anything is read: after a restart, the old cursor would trim blocks that
		// came under these numbers meanwhile and that nobody has seen.
		a.d.log.Warn("proxy: the spool has lost blocks; reading goes on behind the last it has")
		if kept := a.inbox.Rewind(refused.Last); kept != nil {
			err = errors.Join(err, kept)
			break // the next read is refused alike
		}
		a.reader.Reset(refused.Last)
		// What else the provider has lost, the next to write would find out.
		if lost := a.keys.Lost(spool.Generation(refused.Last)); lost != nil {
			a.d.log.Error("proxy: what the provider has lost could not be noted", "err", lost)
		}
		a.rekey()
	case errors.Is(err, spool.StatusNoSpool) && a.ending() == Active:
		err = a.forgot(err)
	case errors.As(err, &refused) && (refused.Status == spool.StatusReplayed || refused.Status == spool.StatusOtherReader):
		// Our nonces never repeat, and the engine sends no packet twice.
		err = fmt.Errorf("%w: %w", errElsewhere, err)
	}
	a.setProblem(explain(err, a.keys.Address()))
}

func (a *account) setProblem(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.problem = err
}

// changeRecord changes the account's record, durable when it returns nil.
func (a *account) changeRecord(change func(r *accountRecord)) error {
	a.recording.Lock()
	defer a.recording.Unlock()
	a.mu.Lock()
	record := *a.record
	a.mu.Unlock()
	change(&record)
	if err := a.d.store.Update(record.put); err != nil {
		return err
	}
	a.setRecord(&record)
	return nil
}

func (a *account) setRecord(r *accountRecord) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.record = r
}

func (a *account) ending() Ending {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.record.Ending
}
