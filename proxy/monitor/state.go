package monitor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/keylog"
)

// recordFormat is the version of the records below.
const recordFormat = 1

// ErrRecord is wrapped when what is stored cannot be read.
var ErrRecord = errors.New("stored state of a key log is not readable")

// Keys: prefix, kind, and then what the kind says.
const prefix = "monitor/"

const (
	kindProvider = 'p' // domain
	kindName     = 'n' // domain NUL address
	kindAlarm    = 'a' // id
)

func key(kind byte, rest string) []byte { return append([]byte(prefix), string(kind)+rest...) }

// A head is a head that was announced.
type head struct {
	Size uint64   `cbor:"1,keyasint"`
	Root [32]byte `cbor:"2,keyasint"`
}

func (h head) log() spool.LogHead { return spool.LogHead(h) }

// A pending is a record that was shown before any head covered it.
type pending struct {
	Address string `cbor:"1,keyasint"`
	Index   uint64 `cbor:"2,keyasint"`
	Record  []byte `cbor:"3,keyasint"`
	Seen    int64  `cbor:"4,keyasint"` // Unix milliseconds
	// Announced counts what the provider announced for times that began after
	// Seen. The first of them may have been made before.
	Announced int `cbor:"5,keyasint,omitempty"`
	// Silent counts those announcements that said nothing new.
	Silent int `cbor:"6,keyasint,omitempty"`
}

// providerRecord is what is known of one provider's log.
type providerRecord struct {
	Format uint8 `cbor:"1,keyasint"`
	Since  int64 `cbor:"2,keyasint"` // of the newest announcement, Unix milliseconds
	// Newest is the newest head announced, if Announced.
	Announced bool `cbor:"3,keyasint,omitempty"`
	Newest    head `cbor:"4,keyasint"`
	// Queue are the heads that the log has not been followed to yet, by size.
	Queue []head `cbor:"5,keyasint,omitempty"`
	// The tree, if Started: it began at From, and has been followed to Size.
	Started bool      `cbor:"6,keyasint,omitempty"`
	From    uint64    `cbor:"7,keyasint,omitempty"`
	Size    uint64    `cbor:"8,keyasint,omitempty"`
	Edge    []byte    `cbor:"9,keyasint,omitempty"`
	Pending []pending `cbor:"10,keyasint,omitempty"`
	Twice   int64     `cbor:"11,keyasint,omitempty"` // the announcement of which two were seen
	// Bad is the announcement whose log the provider does not give. It is not asked
	// for more until there is another.
	Bad int64 `cbor:"12,keyasint,omitempty"`
	// Since all that was announced had been read: how many heads were announced, and
	// for how long, in milliseconds, the provider was asked and gave too little.
	Heads   int   `cbor:"13,keyasint,omitempty"`
	Unshown int64 `cbor:"14,keyasint,omitempty"`
}

// nameRecord is what is known of an address at a provider.
type nameRecord struct {
	Format   uint8    `cbor:"1,keyasint"`
	Accounts []string `cbor:"2,keyasint,omitempty"` // of this daemon that asked for it
	// Known says that Index and Record are the newest that was seen about it.
	Known  bool   `cbor:"3,keyasint,omitempty"`
	Index  uint64 `cbor:"4,keyasint,omitempty"`
	Record []byte `cbor:"5,keyasint,omitempty"`
	// Failed is when its provider last showed keys that the log does not hold, Unix
	// seconds; zero if the last that it showed were right.
	Failed int64 `cbor:"6,keyasint,omitempty"`
}

// A provider is the state of one provider's log in memory. It is not changed once it
// is in Monitor.providers: see change.
type provider struct {
	domain string
	rec    providerRecord
	names  map[string]nameRecord // by address
}

func newProvider(domain string) *provider {
	return &provider{domain: domain, rec: providerRecord{Format: recordFormat}, names: map[string]nameRecord{}}
}

// A change is a provider's state as it is to be, and what has to be told of it. It
// takes effect when it is on disk.
type change struct {
	*provider
	now    time.Time
	own    map[string][32]byte // as Config.Own says
	dirty  map[string]bool     // addresses
	alarms []Alarm
}

func (p *provider) change(now time.Time, own map[string][32]byte) *change {
	next := *p
	next.rec.Queue, next.rec.Pending = slices.Clone(p.rec.Queue), slices.Clone(p.rec.Pending)
	next.names = maps.Clone(p.names)
	return &change{provider: &next, now: now, own: own, dirty: map[string]bool{}}
}

func (c *change) setName(address string, n nameRecord) {
	n.Format = recordFormat
	c.names[address] = n
	c.dirty[address] = true
}

// put writes all but the alarms.
func (c *change) put(tx *store.Tx) error {
	if err := put(tx, key(kindProvider, c.domain), c.rec); err != nil {
		return err
	}
	for address := range c.dirty {
		if err := put(tx, key(kindName, c.domain+"\x00"+address), c.names[address]); err != nil {
			return err
		}
	}
	return nil
}

func put(tx *store.Tx, k []byte, v any) error {
	b, err := codec.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Set(k, b)
}

// tree returns the tree that the record holds.
func (r *providerRecord) tree() (*keylog.Tree, error) { return keylog.NewTree(r.Size, r.Edge) }

func decodeProvider(b []byte) (r providerRecord, err error) {
	if err := codec.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Format != recordFormat {
		return r, fmt.Errorf("%w: it has format %d, this program reads %d", ErrRecord, r.Format, recordFormat)
	}
	if _, err := r.tree(); err != nil {
		return r, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return r, nil
}

func decodeName(b []byte) (r nameRecord, err error) {
	if err := codec.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Format != recordFormat {
		return r, fmt.Errorf("%w: it has format %d, this program reads %d", ErrRecord, r.Format, recordFormat)
	}
	return r, nil
}

// load reads all that is kept.
func (m *Monitor) load() error {
	each := func(tx *store.Tx, kind byte, take func(rest string, v []byte) error) error {
		p := key(kind, "")
		return tx.Iterate(store.Range{Prefix: p, Values: true}, func(i store.Item) error {
			v, err := i.Value()
			if err != nil {
				return err
			}
			return take(string(i.Key[len(p):]), v)
		})
	}
	return m.cfg.Store.View(func(tx *store.Tx) error {
		err := each(tx, kindProvider, func(domain string, v []byte) (err error) {
			p := newProvider(domain)
			p.rec, err = decodeProvider(v)
			m.providers[domain] = p
			return err
		})
		if err != nil {
			return err
		}
		err = each(tx, kindName, func(rest string, v []byte) error {
			domain, address, _ := cut(rest)
			p := m.providers[domain]
			if p == nil {
				return fmt.Errorf("%w: an address is at no provider", ErrRecord)
			}
			n, err := decodeName(v)
			p.names[address] = n
			return err
		})
		if err != nil {
			return err
		}
		return each(tx, kindAlarm, func(id string, v []byte) error {
			a, err := decodeAlarm(v)
			m.alarms[id] = a
			return err
		})
	})
}
