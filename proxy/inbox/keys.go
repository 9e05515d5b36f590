package inbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/proxy/seal"
)

// recordVersion is the version of the records below.
const recordVersion = 1

// errStore marks errors of the store, as opposed to those of a message.
var errStore = errors.New("read stored part")

// head is what is kept of an incomplete message beside its parts.
type head struct {
	Version uint8  `cbor:"1,keyasint"`
	First   int64  `cbor:"2,keyasint"` // Unix seconds, of its first part
	Count   uint32 `cbor:"3,keyasint"`
}

// Keys: "inbox/" address 0 kind, then what the kind says.
const (
	kindCursor = 'c'
	kindHead   = 'h' // message id
	kindPart   = 'p' // message id, index (4 bytes, big endian)
	kindSeen   = 's' // message id; the value is when, Unix seconds
)

func (in *Inbox) key(kind byte, rest ...byte) []byte {
	return append(append(Prefix(in.cfg.Account.Address()), kind), rest...)
}

// Prefix returns what the keys of all that is kept for an account begin with: for
// who removes the account.
func Prefix(account string) []byte { return append([]byte("inbox/"), account+"\x00"...) }

func (in *Inbox) partKey(id seal.ID, i uint32) []byte {
	return binary.BigEndian.AppendUint32(in.key(kindPart, id[:]...), i)
}

// load reads heads and which parts are there.
func (in *Inbox) load() error {
	err := in.cfg.Store.View(func(tx *store.Tx) error {
		heads := in.key(kindHead)
		err := tx.Iterate(store.Range{Prefix: heads, Values: true}, func(i store.Item) error {
			v, err := i.Value()
			if err != nil {
				return err
			}
			var h head
			if err := codec.Unmarshal(v, &h); err != nil {
				return err
			}
			if h.Version != recordVersion {
				return fmt.Errorf("a message has version %d, this program reads %d", h.Version, recordVersion)
			}
			in.partial[seal.ID(i.Key[len(heads):])] = &partial{first: time.Unix(h.First, 0), count: h.Count, have: map[uint32]bool{}}
			return nil
		})
		if err != nil {
			return err
		}
		parts := in.key(kindPart)
		return tx.Iterate(store.Range{Prefix: parts}, func(i store.Item) error {
			rest := i.Key[len(parts):]
			p := in.partial[seal.ID(rest)]
			if p == nil {
				return fmt.Errorf("a part belongs to no message")
			}
			p.have[binary.BigEndian.Uint32(rest[seal.IDSize:])] = true
			in.parts++
			return nil
		})
	})
	for id, p := range in.partial {
		in.shown.put(id, p)
	}
	return err
}

func (in *Inbox) putHead(tx *store.Tx, id seal.ID, p *partial) error {
	b, err := codec.Marshal(head{Version: recordVersion, First: p.first.Unix(), Count: p.count})
	if err != nil {
		return err
	}
	return tx.Set(in.key(kindHead, id[:]...), b)
}

func (in *Inbox) part(id seal.ID, i uint32) (*seal.Part, error) {
	var b []byte
	err := in.cfg.Store.View(func(tx *store.Tx) (err error) {
		b, err = tx.GetOnce(in.partKey(id, i))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStore, err)
	}
	return seal.UnmarshalPart(b)
}

// removeTx deletes head and parts of a message.
func (in *Inbox) removeTx(tx *store.Tx, id seal.ID) error {
	var keys [][]byte
	err := tx.Iterate(store.Range{Prefix: in.key(kindPart, id[:]...)}, func(i store.Item) error {
		keys = append(keys, append([]byte(nil), i.Key...))
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range append(keys, in.key(kindHead, id[:]...)) {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// drop gives an incomplete message up. in.mu is held.
func (in *Inbox) drop(id seal.ID) error {
	if err := in.cfg.Store.Update(func(tx *store.Tx) error { return in.removeTx(tx, id) }); err != nil {
		return fmt.Errorf("give up an incomplete message: %w", err)
	}
	in.forgetPartial(id)
	return nil
}

func (in *Inbox) seen(id seal.ID) (seen bool, err error) {
	err = in.cfg.Store.View(func(tx *store.Tx) (err error) {
		seen, err = tx.Has(in.key(kindSeen, id[:]...))
		return err
	})
	return seen, err
}

func (in *Inbox) markSeen(tx *store.Tx, id seal.ID) error {
	return tx.Set(in.key(kindSeen, id[:]...), binary.BigEndian.AppendUint64(nil, uint64(in.cfg.Now().Unix())))
}

// forgetAtOnce bounds how many ids one transaction forgets.
const forgetAtOnce = 1000

// forget removes ids seen before t.
func (in *Inbox) forget(t time.Time) error {
	var old [][]byte
	err := in.cfg.Store.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: in.key(kindSeen), Values: true}, func(i store.Item) error {
			v, err := i.Value()
			if err != nil {
				return err
			}
			if len(v) == 8 && int64(binary.BigEndian.Uint64(v)) < t.Unix() {
				old = append(old, append([]byte(nil), i.Key...))
			}
			if len(old) == forgetAtOnce {
				return store.ErrStop
			}
			return nil
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return in.cfg.Store.Update(func(tx *store.Tx) error {
		for _, k := range old {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func (in *Inbox) setCursor(tx *store.Tx, cursor uint64) error {
	return tx.Set(in.key(kindCursor), binary.BigEndian.AppendUint64(nil, cursor))
}

// Rewind keeps a cursor other than beside a block: that of a spool which has lost
// blocks and gives their numbers out again. When it returns nil it is on disk.
func (in *Inbox) Rewind(cursor uint64) error {
	if err := in.cfg.Store.Update(func(tx *store.Tx) error { return in.setCursor(tx, cursor) }); err != nil {
		return fmt.Errorf("keep cursor: %w", err)
	}
	return nil
}

// Cursor returns the cursor that was kept last, or 0.
func (in *Inbox) Cursor() (cursor uint64, err error) {
	err = in.cfg.Store.View(func(tx *store.Tx) error {
		v, err := tx.Get(in.key(kindCursor))
		if err == nil && len(v) == 8 {
			cursor = binary.BigEndian.Uint64(v)
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read cursor: %w", err)
	}
	return cursor, nil
}
