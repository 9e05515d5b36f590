package mailbox

import (
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/store"
)

// Bounds on what DeliverAll puts into one transaction.
const (
	togetherMost  = 64
	togetherBytes = 4 << 20
)

// A Delivery is a message to be delivered, see Deliver.
type Delivery struct {
	Raw   []byte
	Flags []string
	Date  time.Time
}

// DeliverAll delivers messages to one folder in their order, many to a synced
// transaction, which is some fifty times as fast as one to each. With an error it
// returns the IDs of those that were delivered, and these are synced.
func (a *Account) DeliverAll(folder string, list []Delivery) ([]ID, error) {
	ids := make([]ID, 0, len(list))
	for len(list) > 0 {
		n, size := 0, 0
		for n < len(list) && n < togetherMost && (n == 0 || size+len(list[n].Raw) <= togetherBytes) {
			size += len(list[n].Raw)
			n++
		}
		some, err := a.deliverTogether(folder, list[:n])
		if err != nil {
			return ids, err
		}
		ids, list = append(ids, some...), list[n:]
	}
	return ids, nil
}

// deliverTogether delivers all of list in one transaction, or none.
func (a *Account) deliverTogether(folder string, list []Delivery) (ids []ID, err error) {
	staged := make([]*Staged, 0, len(list))
	defer func() {
		if err != nil {
			for _, g := range staged {
				err = errors.Join(err, a.s.Discard(g))
			}
		}
	}()
	for _, d := range list {
		g, err := a.s.Stage(d.Raw)
		if err != nil {
			return nil, err
		}
		staged = append(staged, g)
	}
	err = a.s.st.Update(func(tx *store.Tx) error {
		ids = ids[:0]
		for i, d := range list {
			id, err := a.DeliverTx(tx, folder, staged[i], d.Flags, d.Date)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("deliver %d messages: %w", len(list), err)
	}
	return ids, nil
}
