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

// A task is one request.
type task struct {
	look       string // this address up; else ask for records
	from, size uint64
	edge       bool
}

// next says what to ask for, if anything. own are the daemon's addresses there.
func (p *provider) next(own map[string][32]byte, now time.Time) (t task, ok bool) {
	r := &p.rec
	if !r.Announced || r.Bad == r.Since && r.Bad != 0 {
		return t, false
	}
	first := r.Newest.Size // that has to be seen
	for addr := range own {
		n := p.names[addr]
		if !n.Known && now.Sub(time.Unix(n.Failed, 0)) >= retryFailed {
			return task{look: addr}, true
		}
		if n.Known {
			first = min(first, n.Index)
		}
	}
	for addr, n := range p.names {
		if n.Failed != 0 && now.Sub(time.Unix(n.Failed, 0)) >= retryFailed {
			return task{look: addr}, true
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

// took takes in the reply to t.
func (c *change) took(t task, part *client.LogPart) error {
	r := &c.rec
	if t.edge && len(r.Queue) == 0 {
		r.Queue = []head{r.Newest}
	}
	// What was asked for may not be wanted any more.
	if len(r.Queue) == 0 || r.Queue[0].Size != t.size || !t.edge && (!r.Started || r.Size != t.from) {
		return nil
	}
	tree, err := r.tree()
	if t.edge {
		tree, err = keylog.NewTree(t.from, part.Edge)
		r.Started, r.From = true, t.from
	}
	if err != nil {
		return err
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
	return nil
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
			if t, ok := m.take(service, own); ok {
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
// done.
func (m *Monitor) take(service mixclient.Service, own []string) (task, bool) {
	if !m.concerns(service.Provider, own) {
		return task{}, false
	}
	mine := m.cfg.Own(service.Provider)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.providers[service.Provider]
	if p == nil || m.asked[service.Provider] || m.cfg.Now().Before(m.waits[service.Provider]) {
		return task{}, false
	}
	t, ok := p.next(mine, m.cfg.Now())
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
	}()
	var err error
	if t.look != "" {
		name, _ := address.Split(t.look)
		_, err = m.LookUp(ctx, network, service, "", name)
		if errors.Is(err, spool.StatusNoUser) || errors.Is(err, spool.StatusRevoked) {
			missing, before := err, m.name(t.look)
			err = m.update(domain, func(c *change) { c.missing(t.look, missing) })
			m.cleared(t.look, before, m.name(t.look))
		}
	} else {
		var part *client.LogPart
		part, err = client.New(network, service, client.Signing{}).Log(ctx, t.from, t.size, t.edge)
		switch {
		case err == nil:
			var verdict error
			err = m.update(domain, func(c *change) { verdict = c.took(t, part) })
			err = errors.Join(verdict, err)
		case errors.Is(err, spool.StatusNoLog):
			err = errors.Join(err, m.update(domain, func(c *change) { c.short(head{Size: t.size}) }))
		}
	}
	if err == nil || errors.Is(err, mixclient.ErrLost) || ctx.Err() != nil {
		return
	}
	m.log.Warn("monitor: a log of keys cannot be followed at present", "provider", domain, "err", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waits[domain] = m.cfg.Now().Add(after/2 + rand.N(after))
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
