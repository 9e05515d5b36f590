package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// Recovered is the folder into which Repair puts what belongs to no other.
const Recovered = "Recovered"

// maxRounds bounds how often Repair checks and mends: some faults hide others.
const maxRounds = 5

// A mend puts one problem right and says what it did, in a sentence without its full
// stop; nothing if the problem is gone.
type mend func(*mender) (string, error)

// A Repaired is what Repair did.
type Repaired struct {
	Done []string `json:"done"` // in sentences without their full stops
	// Report is of the check after it: what could not be mended is in it.
	Report *Report `json:"report"`
}

// A mender is what mends work with.
type mender struct {
	s    *Store
	ctx  context.Context
	home uint32 // the account that gets what belongs to none; 0 if there is no account

	byBlob map[blobID][]entry // see users
}

func (m *mender) update(fn func(tx *store.Tx) error) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	return m.s.st.Update(fn)
}

// Repair checks the mailbox in st and mends what it finds, until nothing is left or
// nothing more can be done. No bytes of a message are ever dropped: what has lost its
// folder or its record, and what is left of a message that is not whole, goes to the
// folder Recovered, under a new UID. Where the UIDs that a folder has given cannot be
// told, it gets another UIDVALIDITY, so that clients read it anew. A store in which
// Check finds nothing is not changed.
//
// It works on a store that Open refuses. Nothing else may use the mailbox meanwhile:
// see Store.Repair for one that is open.
func Repair(ctx context.Context, st *store.Store, o Options, co CheckOptions) (*Repaired, error) {
	s := &Store{st: st, now: o.Now, log: o.Logger, accounts: make(map[string]*Account)}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s.repair(ctx, func() (*checker, error) { return check(ctx, st, co) })
}

// Repair is the function Repair, of a store that is in use. Sessions see what it
// changes as they see the changes of others; one that looks at a folder which gets
// another UIDVALIDITY hears that the folder is gone.
func (s *Store) Repair(ctx context.Context, o CheckOptions) (*Repaired, error) {
	var locked []*Account
	defer func() {
		for _, a := range locked {
			a.write.Unlock()
		}
	}()
	for _, name := range s.Accounts() {
		a, err := s.Account(name)
		if errors.Is(err, ErrNoAccount) {
			continue
		}
		a.write.Lock()
		locked = append(locked, a)
	}
	r, err := s.repair(ctx, func() (*checker, error) {
		c, err := check(ctx, s.st, o)
		if err == nil {
			err = s.settleLeftovers(c)
			c.leftover = nil // what is staged now must stay where it is
		}
		return c, err
	})
	for _, a := range locked {
		err = errors.Join(err, a.reload())
	}
	return r, err
}

// repair rounds up. The order of problems is that of their checks: what others hang
// on comes first.
func (s *Store) repair(ctx context.Context, look func() (*checker, error)) (*Repaired, error) {
	done := &Repaired{Done: []string{}}
	for range maxRounds {
		c, err := look()
		if err != nil {
			return done, fmt.Errorf("repair mailbox: %w", err)
		}
		done.Report = c.report
		if c.report.Clean() {
			return done, nil
		}
		m := &mender{s: s, ctx: ctx}
		for id := range c.accounts {
			if m.home == 0 || id < m.home {
				m.home = id
			}
		}
		// With other damage, a body that has no record may be a message's.
		for _, id := range c.leftover {
			c.report.Problems = append(c.report.Problems, Problem{Text: "a body without any record", mend: adopting(id)})
		}
		n := len(done.Done)
		for _, p := range c.report.Problems {
			if p.mend == nil {
				continue
			}
			did, err := p.mend(m)
			if err != nil {
				return done, fmt.Errorf("repair mailbox: %s: %w", p, err)
			}
			if did != "" {
				p.Text = did
				done.Done = append(done.Done, p.String())
			}
		}
		if len(done.Done) == n {
			return done, nil
		}
	}
	c, err := look()
	if err != nil {
		return done, fmt.Errorf("repair mailbox: %w", err)
	}
	done.Report = c.report
	return done, nil
}

// reload has memory read everything anew. Callers hold a.write.
func (a *Account) reload() error {
	if err := a.s.st.View(a.loadFolders); err != nil {
		return fmt.Errorf("read folders after a repair: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.names.folders {
		f.loaded = false
		f.changed()
	}
	return nil
}

// recovered returns the folder for what belongs to no other, and makes it.
func (m *mender) recovered(tx *store.Tx) (*Account, uint64, error) {
	if m.home == 0 {
		return nil, 0, errors.New("there is no account that could take what is found; add one first")
	}
	a := m.s.newAccount("", m.home)
	id, err := getNumber(tx, nameKey(a.id, Recovered))
	if errors.Is(err, store.ErrNotFound) {
		id, err = a.createTx(tx, Recovered, "")
	}
	return a, id, err
}

// remains returns the bytes of a body that can be read, and the keys of its chunks.
func (m *mender) remains(b blobID) (raw []byte, keys [][]byte, err error) {
	err = m.s.st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: key("c", b[:]), Values: true}, func(it store.Item) error {
			keys = append(keys, slices.Clone(it.Key))
			if v, err := it.Value(); err == nil { // what cannot be read is lost already
				raw = append(raw, v...)
			}
			return nil
		})
	})
	return raw, keys, err
}

// users returns the messages that use a body, as they were when the first was asked
// for: some may be gone.
func (m *mender) users(b blobID) ([]entry, error) {
	if m.byBlob == nil {
		m.byBlob = make(map[blobID][]entry)
		prefix := key("m")
		err := m.s.st.View(func(tx *store.Tx) error {
			return tx.Iterate(store.Range{Prefix: prefix, Values: true}, func(it store.Item) error {
				v, err := it.Value()
				if err != nil {
					return err
				}
				var rec messageRecord
				if rest := it.Key[len(prefix):]; len(rest) == 12 && codec.Unmarshal(v, &rec) == nil {
					m.byBlob[rec.Blob] = append(m.byBlob[rec.Blob], entry{binary.BigEndian.Uint64(rest), binary.BigEndian.Uint32(rest[8:])})
				}
				return nil
			})
		})
		if err != nil {
			m.byBlob = nil
			return nil, err
		}
	}
	return m.byBlob[b], nil
}
