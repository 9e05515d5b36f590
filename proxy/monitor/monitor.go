// Package monitor watches providers' logs of keys, as RFC 6962 section 5.3 has it: it
// follows the log of each provider that the daemon has to do with, sees that every
// head that is announced continues the one before, and that nothing about the
// daemon's own addresses is in it that is not theirs. And it looks up other people's
// keys: what it returns is proved to be in the log, or so new that no head covers it,
// and is then remembered and checked when one does.
//
// Heads are what the network's signed snapshots say of the providers, the same to
// all clients. What else could be seen in a log, the keys of others changing, is for
// proxy/contacts to tell when they are looked up. It asks in the network's ordinary
// query slots, seldom, and only when nothing else waits for one. proxy imports it and runs it.
package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/mailbox"
	"mailproxy/spool"
	"mailproxy/spool/client"
	"mailproxy/spool/keylog"
)

const (
	// retryFailed is how long an address whose provider showed false keys waits
	// until it is looked up again, at least.
	retryFailed = time.Hour
	// maxQueue bounds the heads that wait to be followed to. Beyond it the one
	// before the newest is left out.
	maxQueue = 64
	// maxPending bounds the records of a provider that wait for a head, and
	// maxPendingOf those of one address.
	maxPending, maxPendingOf = 1024, 4
	// covered is how many announcements may come until a record is in one. The
	// first after it was seen may have been made before.
	covered = 2
	// patience is how many more may come if they say nothing new: a service that
	// cannot read its store announces nothing.
	patience = 4
)

// When a provider is said not to show its log: after so much time in which it was
// asked and gave too little, and so many heads that it announced meanwhile; or after
// the longer time, for not every log grows each day.
const (
	notShownAfter    = 24 * time.Hour
	notShownHeads    = 8
	notShownAnywayAt = 72 * time.Hour
	// longestGap bounds what counts as asking between one request and the next.
	longestGap = 30 * time.Minute
)

// ErrFalse is returned for keys that are not to be used: the provider's log does not
// hold them.
var ErrFalse = errors.New("the provider's log of keys does not hold these keys")

// Config says what a Monitor works with.
type Config struct {
	Store   *store.Store
	Mailbox *mailbox.Store // where warnings go
	// Own returns this daemon's accounts at a provider that it has registered and
	// not taken back: address and identity key. It must return at once.
	Own func(provider string) map[string][32]byte
	// Home returns the account in whose mailbox warnings to one of the daemon's addresses
	// go; nil where that is the address itself.
	Home func(address string) string
	// Cleared is told that an address is not doubted any more, for each account
	// that had it looked up.
	Cleared func(account, address string)
	Now     func() time.Time
	Logger  *slog.Logger
}

// A Monitor watches all providers that a daemon has to do with. Its methods may be
// called from any goroutine.
type Monitor struct {
	cfg Config
	log *slog.Logger

	mu        sync.Mutex // guards all below, and is held while a change is written
	providers map[string]*provider
	alarms    map[string]Alarm
	waits     map[string]time.Time // by domain: when it may be asked again
	asked     map[string]bool      // by domain: a request is out
	logged    map[string]time.Time // by domain: when it was last asked for its log, unless all was there
	looks     map[string]look      // by address

	random func(mean time.Duration) time.Duration
}

// Open reads what is kept.
func Open(cfg Config) (*Monitor, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Cleared == nil {
		cfg.Cleared = func(string, string) {}
	}
	if cfg.Home == nil {
		cfg.Home = func(address string) string { return address }
	}
	m := &Monitor{
		cfg: cfg, log: cfg.Logger, providers: map[string]*provider{}, alarms: map[string]Alarm{},
		waits: map[string]time.Time{}, asked: map[string]bool{}, logged: map[string]time.Time{},
		looks: map[string]look{}, random: random,
	}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("open monitor: %w", err)
	}
	return m, nil
}

// update changes what is known of a provider. Nothing has changed after an error.
func (m *Monitor) update(domain string, change func(c *change)) error {
	own := m.cfg.Own(domain)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.providers[domain]
	if p == nil {
		p = newProvider(domain)
	}
	c := p.change(m.cfg.Now(), own)
	change(c)
	return m.commit(c)
}

// Doubted says whether the provider of an address has shown keys for it that its log
// does not hold, and no others since.
func (m *Monitor) Doubted(addr string) bool { return m.name(addr).Failed != 0 }

// Superseded says whether the newest record that was seen about an address has
// another identity: what is kept of its keys is to be looked up again.
func (m *Monitor) Superseded(addr string, identity []byte) bool {
	n := m.name(addr)
	if !n.Known {
		return false
	}
	r, err := spool.DecodeLogRecord(n.Record)
	return err != nil || !bytes.Equal(r.Identity[:], identity)
}

// name returns what is known of an address.
func (m *Monitor) name(addr string) nameRecord {
	_, domain := address.Split(addr)
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.providers[domain]; p != nil {
		return p.names[addr]
	}
	return nameRecord{}
}

// LookUp asks a spool service for the keys of a name, for one of the daemon's
// accounts, and checks them. It returns an error that wraps ErrFalse when the log
// does not hold them.
func (m *Monitor) LookUp(ctx context.Context, network mixclient.Network, service mixclient.Service, account, name string) (*client.Found, error) {
	domain := service.Provider
	newest, err := m.attend(network, service)
	if err != nil {
		return nil, err
	}
	f, err := client.New(network, service, client.Signing{}).Lookup(ctx, name, newest.Size)
	if errors.Is(err, spool.StatusNoLog) {
		return nil, errors.Join(err, m.update(domain, func(c *change) { c.short(newest) }))
	}
	if err != nil {
		return nil, err
	}
	var verdict error
	var before, after nameRecord
	err = m.update(domain, func(c *change) {
		before = c.names[f.Bundle.Address]
		verdict = c.shown(f, newest, account)
		after = c.names[f.Bundle.Address]
	})
	if err = errors.Join(verdict, err); err != nil {
		return nil, err
	}
	m.cleared(f.Bundle.Address, before, after)
	return f, nil
}

// cleared tells of an address that is not doubted any more.
func (m *Monitor) cleared(addr string, before, after nameRecord) {
	if before.Failed == 0 || after.Failed != 0 {
		return
	}
	for _, account := range after.Accounts {
		m.cfg.Cleared(account, addr)
	}
}

// attend takes in what a service announces, and returns its newest head, which is
// zero if it has announced none.
func (m *Monitor) attend(network mixclient.Network, service mixclient.Service) (head, error) {
	domain := service.Provider
	notice, ok := network.Notice(service)
	m.mu.Lock()
	p := m.providers[domain]
	m.mu.Unlock()
	if p == nil || ok && p.rec.news(notice) {
		if err := m.update(domain, func(c *change) {
			if ok {
				c.announced(notice)
			}
		}); err != nil {
			return head{}, err
		}
		m.mu.Lock()
		p = m.providers[domain]
		m.mu.Unlock()
	}
	return p.rec.Newest, nil
}

// news reports whether a notice says something that is not known.
func (r *providerRecord) news(n mixclient.Notice) bool {
	since := n.Since.UnixMilli()
	if since != r.Since {
		return since > r.Since
	}
	h, err := spool.ParseNotice(n.Bytes)
	return err == nil && r.Announced && head(h) != r.Newest && r.Twice != since
}

// announced takes in what the provider announces.
func (c *change) announced(n mixclient.Notice) {
	r := &c.rec
	if !r.news(n) {
		return
	}
	parsed, err := spool.ParseNotice(n.Bytes)
	h, since := head(parsed), n.Since.UnixMilli()
	if since == r.Since && (err != nil || h.Size <= r.Newest.Size) {
		// Two clients of this daemon were given different snapshots. (A longer log for
		// the same time may be that of a network that was started anew; whether it
		// continues the one before is seen when its records are read.)
		c.alarm(Rewritten, "", fmt.Sprintf("two logs were announced for one time, of %d and %d records", r.Newest.Size, h.Size))
		r.Twice = since
		return
	}
	r.Since = since
	something := err == nil && (!r.Announced || h != r.Newest)
	switch {
	case err != nil: // it cannot say, or does not
	case r.Announced && (h.Size < r.Newest.Size || h.Size == r.Newest.Size && h.Root != r.Newest.Root):
		c.rewritten(h, fmt.Sprintf("it announced a log of %d records before, and now another one of %d records", r.Newest.Size, h.Size))
	case something:
		if len(r.Queue) >= maxQueue {
			r.Queue = r.Queue[:maxQueue-1]
		}
		r.Announced, r.Newest, r.Queue = true, h, append(r.Queue, h)
		r.Heads++
	}
	var late []pending
	for i := range r.Pending {
		q := &r.Pending[i]
		switch {
		case q.Seen >= since:
		case something:
			q.Announced++
		default:
			q.Silent++
		}
		over := q.Announced >= covered || q.Announced+q.Silent >= covered+patience
		if over && (!r.Announced || q.Index >= r.Newest.Size) {
			late = append(late, *q)
		}
	}
	for _, q := range late {
		c.unlogged(q, "it is in no log that was announced since")
	}
}

// short takes in that the service says its log is shorter than it announced.
func (c *change) short(announced head) {
	c.alarm(Rewritten, "", fmt.Sprintf("it announced a log of %d records, and says now that it has not so many", announced.Size))
	c.rec.Bad = c.rec.Since
}

// rewritten takes in that the log does not continue what it was, and begins anew with
// this head: from here on it is watched again.
func (c *change) rewritten(h head, detail string) {
	c.alarm(Rewritten, "", detail)
	r := &c.rec
	r.Announced, r.Newest, r.Queue = true, h, []head{h}
	r.Started, r.From, r.Size, r.Edge, r.Pending = false, 0, 0, nil, nil
	for addr, n := range c.names {
		n.Known, n.Index, n.Record = false, 0, nil
		c.setName(addr, n)
	}
}

// unshown takes in that the provider was asked for its log for so long, and gave too
// little.
func (c *change) unshown(d time.Duration) {
	r := &c.rec
	r.Unshown += d.Milliseconds()
	asked := time.Duration(r.Unshown) * time.Millisecond
	if asked < notShownAfter || asked < notShownAnywayAt && r.Heads < notShownHeads {
		return
	}
	c.alarm(NotShown, "", fmt.Sprintf("it was asked for %v for a log of %d records, and the log has been read from record %d to %d; it grew %d times meanwhile",
		asked.Round(time.Hour), r.Newest.Size, r.From, r.Size, r.Heads))
	r.Unshown = 0 // and again after as long
}

// unlogged takes in that a record which was shown is not in the log.
func (c *change) unlogged(q pending, detail string) {
	c.rec.Pending = slices.DeleteFunc(c.rec.Pending, func(x pending) bool {
		return x.Index == q.Index && x.Address == q.Address
	})
	c.failed(q.Address, fmt.Sprintf("its key was shown as record %d, but %s", q.Index, detail))
}

// failed takes in that false keys were shown for an address.
func (c *change) failed(addr, detail string) {
	n := c.names[addr]
	n.Failed, n.Known = c.now.Unix(), false
	c.setName(addr, n)
	c.alarm(NotLogged, addr, detail)
}

// shown takes in what a look-up showed, which was asked for with this head.
func (c *change) shown(f *client.Found, asked head, account string) error {
	addr := f.Bundle.Address
	n := c.names[addr]
	if account != "" && !slices.Contains(n.Accounts, account) {
		n.Accounts = append(slices.Clone(n.Accounts), account)
	}
	c.setName(addr, n)
	record := f.Record.Encode()
	same := n.Known && n.Index == f.Index && bytes.Equal(n.Record, record)
	switch {
	case f.Index < asked.Size:
		if err := keylog.CheckRecord(asked.log(), f.Index, f.Record, f.Proof); err != nil {
			c.failed(addr, err.Error())
			return fmt.Errorf("%w: %w", ErrFalse, err)
		}
		// The log must have it there too, whether or not it is followed to this head.
		if c.rec.Started && f.Index >= c.rec.Size && !same && c.room(addr) {
			c.await(addr, f.Index, record)
		}
	case n.Known && !same && f.Index <= n.Index, same: // see below
	case !c.room(addr):
		return fmt.Errorf("%w: too many keys of one address were shown before their time", ErrFalse)
	default:
		c.await(addr, f.Index, record)
	}
	if n.Known && !same && f.Index <= n.Index {
		err := fmt.Errorf("record %d was shown, where record %d was seen before", f.Index, n.Index)
		c.failed(addr, err.Error())
		return fmt.Errorf("%w: %w", ErrFalse, err)
	}
	n.Known, n.Index, n.Record, n.Failed = true, f.Index, record, 0
	c.setName(addr, n)
	if _, mine := c.own[addr]; mine {
		c.judgeOwn(addr, f.Record)
	}
	return nil
}

// await keeps a record until the log has been followed to its place.
func (c *change) await(addr string, index uint64, record []byte) {
	c.rec.Pending = append(c.rec.Pending, pending{Address: addr, Index: index, Record: record, Seen: c.now.UnixMilli()})
}

// room reports whether one more record of an address may wait.
func (c *change) room(addr string) bool {
	n := 0
	for _, q := range c.rec.Pending {
		if q.Address == addr {
			n++
		}
	}
	return len(c.rec.Pending) < maxPending && n < maxPendingOf
}

// judgeOwn looks at a record about one of the daemon's own addresses.
func (c *change) judgeOwn(addr string, r spool.LogRecord) {
	switch {
	case r.Kind == spool.LogRevoked:
		c.alarm(OwnRevoked, addr, "the log has a record that revokes it")
	case r.Identity != c.own[addr]:
		c.alarm(OwnKey, addr, fmt.Sprintf("the log has the identity %x for it", r.Identity))
	}
}

// cut splits the rest of a name's key.
func cut(rest string) (domain, addr string, ok bool) { return strings.Cut(rest, "\x00") }
