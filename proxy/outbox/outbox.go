// Package outbox is the durable queue of mail on its way out. A message is in it
// from the moment SMTP answers 250 until each recipient's part has ended: in a
// receipt, in a report to the sender, or (a success nobody asked to hear of) in
// silence after one of these.
//
// For each recipient it keeps one state: queued, until the recipient's keys are
// known; sealed, while blocks are appended to the recipient's spool; in the
// spool, until a receipt comes or the spool's age limit has passed. The message
// id and the sealed blocks are on disk before the first append, so that a
// restart repeats the same blocks. Messages take the network's slots in turn.
//
// Whose append key is known is a contact: blocks are signed with it. Blocks to
// anybody else are paid for with computing time, where the recipient's service wants
// that, before they ask for their slots.
//
// A copy of each mail is put into the sender's Sent when it is accepted, and keywords
// there say how far it is: they change in the transactions that change the records
// here (docs/sent.md). Mail can be withdrawn until its first block has left.
//
// It does not decide when a packet leaves (the engine behind mixclient does),
// nor what a block looks like (proxy/seal). smtp hands it mail through its
// exported methods, proxy wires and runs it; these, packages beneath proxy and
// cmd/mailproxy import it.
package outbox

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/refusal"
	"mailproxy/proxy/seal"
)

// Times are all the times by which the outbox acts.
type Times struct {
	Expire     time.Duration // after which mail not yet in the spool is given up
	Confirm    time.Duration // after which mail in the spool without a receipt is reported as not confirmed
	TellDelay  time.Duration // after which the sender hears that mail is late
	RetryFirst time.Duration // wait after a refusal that may pass, doubled each time
	RetryMost  time.Duration // and its bound
	Receipt    time.Duration // mean of the random time after which a receipt is sent
}

// DefaultTimes are those of section 5 of the design.
func DefaultTimes() Times {
	return Times{
		Expire: 5 * 24 * time.Hour, Confirm: 14 * 24 * time.Hour, TellDelay: 4 * time.Hour,
		RetryFirst: time.Minute, RetryMost: time.Hour, Receipt: 10 * time.Minute,
	}
}

// Scaled returns t with all times divided by factor, for tests.
func (t Times) Scaled(factor float64) Times {
	for _, d := range []*time.Duration{&t.Expire, &t.Confirm, &t.TellDelay, &t.RetryFirst, &t.RetryMost, &t.Receipt} {
		*d = time.Duration(float64(*d) / factor)
	}
	return t
}

// MaxMessage is the largest message in bytes that may be submitted; a network of
// its own choice may allow less. Sealing allows some more.
const MaxMessage = 25 << 20

// Config says what an outbox works with.
type Config struct {
	Store   *store.Store
	Mailbox *mailbox.Store // where reports go
	// Account finds an account of this daemon by its address, or returns false.
	Account func(address string) (Account, bool)
	// As finds what else an account may send as: nil and no error for what it may not.
	// Its error is a *refusal.Error. As may be nil.
	As func(account, from string) (Account, error)
	// Home returns the account in whose folders the mail of an address is kept; nil
	// where that is the address itself.
	Home    func(address string) string
	Times   Times
	Now     func() time.Time
	Observe progress.Func // may be nil
	Logger  *slog.Logger
}

// An Outbox holds the mail of all accounts of a daemon.
type Outbox struct {
	cfg Config
	log *slog.Logger

	wg      sync.WaitGroup // sealing, and queries whose reply is out
	mu      sync.Mutex     // guards jobs, order and everything in the jobs
	jobs    map[ID]*job
	turn    []*job          // whose turn is next comes first
	asking  map[lookup]bool // look-ups under way
	sealing bool            // a message is held in memory to be sealed, one at a time and in turn
	wake    chan struct{}   // closed and replaced whenever there may be new work
}

// Open reads the outbox in cfg.Store and removes what a crash left half written.
func Open(cfg Config) (*Outbox, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Home == nil {
		cfg.Home = func(address string) string { return address }
	}
	o := &Outbox{cfg: cfg, log: cfg.Logger, jobs: map[ID]*job{}, asking: map[lookup]bool{}, wake: make(chan struct{})}
	if err := o.load(); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return o, nil
}

// load makes the jobs from the records, and collects orphans.
func (o *Outbox) load() error {
	err := o.cfg.Store.View(func(tx *store.Tx) error {
		err := tx.Iterate(store.Range{Prefix: prefix(kindMessage), Values: true}, func(i store.Item) error {
			v, err := i.Value()
			if err != nil {
				return err
			}
			m, err := decodeMessage(v)
			if err != nil {
				return err
			}
			id := ID(i.Key[len(prefix(kindMessage)):])
			j := &job{id: id, message: m}
			o.jobs[id] = j
			o.turn = append(o.turn, j)
			return nil
		})
		if err != nil {
			return err
		}
		for _, j := range o.turn {
			if err := o.loadRecipients(tx, j); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return o.collect()
}

func (o *Outbox) loadRecipients(tx *store.Tx, j *job) error {
	err := tx.Iterate(store.Range{Prefix: key(kindRecipient, j.id), Values: true}, func(i store.Item) error {
		v, err := i.Value()
		if err != nil {
			return err
		}
		r, err := decodeRecipient(v)
		if err != nil {
			return err
		}
		if r.State == Done {
			j.done = append(j.done, *r)
			return nil
		}
		p := newPart(j, number(i.Key), *r)
		p.gone.Store(r.State != Queued)
		j.parts = append(j.parts, p)
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range j.parts {
		if p.State != Sealed {
			continue
		}
		err := tx.Iterate(store.Range{Prefix: key(kindBlock, j.id, p.number)}, func(i store.Item) error {
			p.fresh = append(p.fresh, number(i.Key))
			return nil
		})
		if err != nil {
			return err
		}
		p.missing = len(p.fresh)
		if err := o.loadWork(tx, p); err != nil {
			return err
		}
	}
	return nil
}

// collect removes content of messages that were never accepted, and blocks that
// were written for a sealing that was not finished, with their work: none of them
// was appended.
func (o *Outbox) collect() error {
	var orphans [][]byte
	err := o.cfg.Store.View(func(tx *store.Tx) error {
		for _, kind := range []byte{kindContent, kindBlock, kindWork} {
			err := tx.Iterate(store.Range{Prefix: prefix(kind)}, func(i store.Item) error {
				rest := i.Key[len(prefix(kind)):]
				j := o.jobs[ID(rest)]
				if j != nil && kind != kindContent {
					p := j.part(binary.BigEndian.Uint32(rest[len(ID{}):]))
					if p != nil && p.State == Sealed {
						return nil
					}
				} else if j != nil {
					return nil
				}
				orphans = append(orphans, append([]byte(nil), i.Key...))
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return o.inBatches(len(orphans), func(tx *store.Tx, i int) error { return tx.Delete(orphans[i]) })
}

// newID draws an id for a message submitted at t.
func newID(t time.Time) (id ID) {
	binary.BigEndian.PutUint64(id[:8], uint64(t.UnixMilli()))
	rand.Read(id[8:]) // never fails
	return id
}

// CheckSender says whether account may send as from; an empty from is the null
// reverse-path. The error is a *refusal.Error.
func (o *Outbox) CheckSender(_ context.Context, account, from string) error {
	_, err := o.sender(account, from)
	return err
}

// sender returns who sends, with the login of account, as from. The error is a
// *refusal.Error.
func (o *Outbox) sender(account, from string) (Account, error) {
	a, ok := o.cfg.Account(account)
	if !ok {
		return nil, refusal.New(550, [3]int{5, 7, 1}, "the account %s is not set up here, or was deleted or revoked", account)
	}
	if from == "" || a.Owns(from) {
		return a, nil
	}
	if o.cfg.As != nil {
		if as, err := o.cfg.As(account, from); as != nil || err != nil {
			return as, err
		}
	}
	return nil, refusal.New(553, [3]int{5, 7, 1}, "%s may send as %s only; choose that identity in your mail program", a.Address(), a.Address())
}

// folders returns the account of the mailbox in which an address has its mail.
func (o *Outbox) folders(address string) (*mailbox.Account, error) {
	return o.cfg.Mailbox.Account(o.cfg.Home(address))
}

// CheckRecipient says whether rcpt can be tried. It does not wait for the
// network. The error is a *refusal.Error.
func (o *Outbox) CheckRecipient(ctx context.Context, account, rcpt string) error {
	a, ok := o.cfg.Account(account)
	if !ok {
		return refusal.New(550, [3]int{5, 7, 1}, "the account %s is not set up here, or was deleted or revoked", account)
	}
	_, domain, err := parseAddress(rcpt)
	if err != nil {
		if domain = domainOf(rcpt); domain == "" {
			return refusal.New(553, [3]int{5, 1, 3}, "%q is not an e-mail address", rcpt)
		}
	}
	services, serr := a.Network().Services(ctx, mixclient.KindSpool)
	if serr != nil {
		return &refusal.Error{Code: 451, Enhanced: [3]int{4, 4, 0}, Text: "the network's list of providers cannot be read; try again", Err: serr}
	}
	for _, s := range services {
		if s.Provider == domain {
			if err != nil {
				return refusal.New(553, [3]int{5, 1, 3}, "%s is not an address that %s can have", rcpt, domain)
			}
			return nil
		}
	}
	return refusal.New(550, [3]int{5, 1, 2}, "%s is outside this private network, which reaches its own providers only; write to %s from your ordinary mail account", rcpt, rcpt)
}

// stir wakes the dispatchers. It must be called with mu held.
func (o *Outbox) stir() {
	close(o.wake)
	o.wake = make(chan struct{})
}

// Close waits for what the outbox has begun. The contexts given to Run must have
// ended.
func (o *Outbox) Close() { o.wg.Wait() }

// Count returns for how many recipients mail is not in a spool yet, and for how
// many it is there without a receipt.
func (o *Outbox) Count() (waiting, unconfirmed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, j := range o.jobs {
		for _, p := range j.parts {
			switch {
			case j.message.Kind != seal.KindMail:
			case p.State == InSpool || p.State == Confirmed:
				unconfirmed++
			default:
				waiting++
			}
		}
	}
	return waiting, unconfirmed
}
