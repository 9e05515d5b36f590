package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"mailproxy/internal/address"
	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/client"
	"mailproxy/spool/keylog"
)

// How often logs are asked for, in mean times between two slots for queries, so that
// it fits every network. Mail has the other slots, and comes first.
const (
	everySlots = 5  // between two requests, at least
	spreadOver = 30 // mean of the random wait after a new head, for which all ask
)

// after is how long a provider is left alone that refused, or keeps nothing.
const after = 10 * time.Minute

// enough is how many records a reply brings at least, unless it brings all.
const enough = spool.MaxLogRecords / 2

// readShare is by how much less the time counts in which records came, but not all: a
// long log takes days, and one that grows faster than it can be read is not shown.
const readShare = 10

// A task is one request.
type task struct {
	look       string // this address up; else ask for records
	from, size uint64
	edge       bool
}

// asks reports whether the provider is asked for anything at present.
func (p *provider) asks() bool {
	return p.rec.Announced && (p.rec.Bad == 0 || p.rec.Bad != p.rec.Since)
}

// next says which records to ask for, if any. own are the daemon's addresses there.
func (p *provider) next(own map[string][32]byte) (t task, ok bool) {
	r := &p.rec
	if !p.asks() {
		return t, false
	}
	first := r.Newest.Size // that has to be seen
	for addr := range own {
		if n := p.names[addr]; n.Known {
			first = min(first, n.Index)
		}
	}
	switch {
	case !r.Started || first < r.From:
		// The beginning need not be believed: what it leads to is announced.
		for _, q := range r.Pending {
			first = min(first, q.Index)
		}
		size := r.Newest.Size
		if len(r.Queue) > 0 {
			size = r.Queue[0].Size
		}
		return task{from: min(first, size), size: size, edge: true}, true
	case len(r.Queue) == 0:
		return t, false
	}
	return task{from: r.Size, size: r.Queue[0].Size}, true
}

// took takes in the reply to t. It reports whether that brought little, and not yet
// the head that was asked for.
func (c *change) took(t task, part *client.LogPart) (little bool, err error) {
	r := &c.rec
	if t.edge && len(r.Queue) == 0 {
		r.Queue = []head{r.Newest}
	}
	// What was asked for may not be wanted any more.
	if len(r.Queue) == 0 || r.Queue[0].Size != t.size || !t.edge && (!r.Started || r.Size != t.from) {
		return false, nil
	}
	tree, err := r.tree()
	if t.edge {
		tree, err = keylog.NewTree(t.from, part.Edge)
		r.Started, r.From = true, t.from
	}
	if err != nil {
		return false, err
	}
	own := map[spool.NameHash]string{}
	for addr := range c.own {
		own[spool.HashName(addr)] = addr
	}
	names := map[spool.NameHash]string{}
	for addr := range c.names {
		names[spool.HashName(addr)] = addr
	}
	for _, record := range part.Records {
		c.passes(tree.Size(), record, own[record.Name], names[record.Name])
		tree.Append(record)
	}
	r.Size, r.Edge = tree.Size(), tree.Edge()
	c.reach(tree)
	if len(r.Queue) == 0 {
		r.Heads, r.Unshown = 0, 0
	}
	return len(part.Records) < enough && r.Size < t.size, nil
}

// passes looks at a record on its way: own and name are the addresses that it is
// about, if they are known.
func (c *change) passes(index uint64, record spool.LogRecord, own, name string) {
	var wrong []pending
	encoded := record.Encode()
	c.rec.Pending = slices.DeleteFunc(c.rec.Pending, func(q pending) bool {
		if q.Index == index && !bytes.Equal(q.Record, encoded) {
			wrong = append(wrong, q)
		}
		return q.Index == index
	})
	if n := c.names[name]; name != "" && (!n.Known || n.Index <= index) {
		n.Known, n.Index, n.Record = true, index, encoded
		c.setName(name, n)
	}
	if own != "" {
		c.judgeOwn(own, record)
	}
	for _, q := range wrong {
		c.unlogged(q, "the log has another record there")
	}
}

// reach compares the tree with the heads of its size.
func (c *change) reach(tree *keylog.Tree) {
	r := &c.rec
	for len(r.Queue) > 0 && r.Queue[0].Size == tree.Size() {
		if want := r.Queue[0]; head(tree.Head()) != want {
			c.rewritten(r.Newest, fmt.Sprintf("its records do not lead to the head of %d records that it announced", want.Size))
			r.Bad = r.Since
			return
		}
		r.Queue = r.Queue[1:]
	}
}

// Run follows the logs over one engine until ctx ends: of the providers of its
// accounts, and of those in which somebody was looked up.
func (m *Monitor) Run(ctx context.Context, network mixclient.Network, providers func() []string) {
	for {
		slot := 1 / max(network.Status().QueryRate, 0.001)
		wait := time.Duration(everySlots * slot * float64(time.Second))
		mean := wait / everySlots
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait/2 + rand.N(wait)):
		}
		list, err := network.Services(ctx, mixclient.KindSpool)
		if err != nil {
			continue
		}
		own := providers()
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		spread := time.Duration(spreadOver * slot * rand.ExpFloat64() * float64(time.Second))
		for _, service := range list {
			if !m.concerns(service.Provider, own) {
				continue
			}
			if err := m.watch(network, service, spread); err != nil {
				m.log.Error("monitor: what a provider announces cannot be kept", "err", err)
			}
		}
		if s := network.Status(); !s.Connected || s.Waiting > 0 {
			continue
		}
		for _, service := range list {
			if t, ok := m.take(service, own, mean); ok {
				m.ask(ctx, network, service, t)
				break
			}
		}
	}
}

// concerns reports whether the log of a provider is followed.
func (m *Monitor) concerns(domain string, own []string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.providers[domain] != nil || slices.Contains(own, domain)
}

// watch takes in what a service announces. What is new is asked for only after a
// while, since all clients learn of it at once.
func (m *Monitor) watch(network mixclient.Network, service mixclient.Service, spread time.Duration) error {
	m.mu.Lock()
	var before int64
	if p := m.providers[service.Provider]; p != nil {
		before = p.rec.Since
	}
	m.mu.Unlock()
	if _, err := m.attend(network, service); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.providers[service.Provider].rec.Since != before {
		m.waits[service.Provider] = m.cfg.Now().Add(spread)
	}
	return nil
}

// take says what to ask a service for now. Another engine does not ask it too until
// done. slot is the mean time between two slots for queries.
func (m *Monitor) take(service mixclient.Service, own []string, slot time.Duration) (t task, ok bool) {
	if !m.concerns(service.Provider, own) {
		return task{}, false
	}
	mine, now := m.cfg.Own(service.Provider), m.cfg.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.providers[service.Provider]
	if p == nil || m.asked[service.Provider] {
		return task{}, false
	}
	if t.look, ok = m.due(p, mine, now, slot); !ok && !now.Before(m.waits[service.Provider]) {
		t, ok = p.next(mine)
	}
	if ok {
		m.asked[service.Provider] = true
	}
	return t, ok
}

// ask carries a task out.
func (m *Monitor) ask(ctx context.Context, network mixclient.Network, service mixclient.Service, t task) {
	domain := service.Provider
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.asked, domain)
		delete(m.looks, t.look) // it gets another time
	}()
	var err error
	if t.look != "" {
		err = m.askName(ctx, network, service, t.look)
	} else {
		err = m.askLog(ctx, network, service, t)
	}
	if err == nil || errors.Is(err, mixclient.ErrLost) || ctx.Err() != nil {
		return
	}
	m.log.Warn("monitor: a log of keys cannot be followed at present", "provider", domain, "err", err)
	if t.look != "" {
		return // others need not wait for that
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waits[domain] = m.cfg.Now().Add(after/2 + rand.N(after))
}

// askName looks an address up.
func (m *Monitor) askName(ctx context.Context, network mixclient.Network, service mixclient.Service, addr string) error {
	name, _ := address.Split(addr)
	_, err := m.LookUp(ctx, network, service, "", name)
	if errors.Is(err, spool.StatusNoUser) || errors.Is(err, spool.StatusRevoked) {
		missing, before := err, m.name(addr)
		err = m.update(service.Provider, func(c *change) { c.missing(addr, missing) })
		m.cleared(addr, before, m.name(addr))
	}
	return err
}

// askLog asks for records, and counts how long that has been in vain.
func (m *Monitor) askLog(ctx context.Context, network mixclient.Network, service mixclient.Service, t task) error {
	domain := service.Provider
	part, err := client.New(network, service, client.Signing{}).Log(ctx, t.from, t.size, t.edge)
	if ctx.Err() != nil {
		return err
	}
	gap := m.gap(domain)
	if !network.Status().Connected {
		gap = 0
	}
	if err != nil {
		return errors.Join(err, m.update(domain, func(c *change) {
			if errors.Is(err, spool.StatusNoLog) {
				c.short(head{Size: t.size})
			}
			c.unshown(gap)
		}))
	}
	var verdict error
	err = m.update(domain, func(c *change) {
		var little bool
		little, verdict = c.took(t, part)
		switch {
		case little || verdict != nil:
			c.unshown(gap)
		case len(c.rec.Queue) > 0:
			c.unshown(gap / readShare)
		default:
			delete(m.logged, domain) // update holds m.mu
		}
	})
	return errors.Join(verdict, err)
}

// gap returns for how long a provider has been asked for its log since the last time
// that this was called.
func (m *Monitor) gap(domain string) (d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	if last, ok := m.logged[domain]; ok {
		d = min(max(now.Sub(last), 0), longestGap)
	}
	m.logged[domain] = now
	return d
}

// missing takes in that the provider does not know an address.
func (c *change) missing(addr string, err error) {
	n := c.names[addr]
	n.Failed = c.now.Unix()
	_, mine := c.own[addr]
	if !mine {
		n.Failed = 0 // who wants to write to it hears the same, and tells the user
	}
	c.setName(addr, n)
	if !mine {
		return
	}
	kind := OwnMissing
	if errors.Is(err, spool.StatusRevoked) {
		kind = OwnRevoked
	}
	c.alarm(kind, addr, err.Error())
}
