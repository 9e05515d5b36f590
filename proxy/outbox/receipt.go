package outbox

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/report"
	"mailproxy/proxy/seal"
)

// receipt is the content of a sealed message of the kind seal.KindReceipt.
type receipt struct {
	Version uint8  `cbor:"1,keyasint"`
	Of      []byte `cbor:"2,keyasint"` // the id of the sealed message that arrived
}

const receiptVersion = 1

// ParseReceipt returns the id of the message that a receipt is for.
func ParseReceipt(content []byte) (seal.ID, error) {
	var r receipt
	if err := codec.Unmarshal(content, &r); err != nil {
		return seal.ID{}, fmt.Errorf("read receipt: %w", err)
	}
	if r.Version != receiptVersion || len(r.Of) != seal.IDSize {
		return seal.ID{}, fmt.Errorf("read receipt: version %d, id of %d bytes", r.Version, len(r.Of))
	}
	return seal.ID(r.Of), nil
}

// ReceiptTx queues in tx a receipt from account to the sender of the message
// with that id. It leaves at a random later time, so that it tells the sender
// little of when the mail was fetched.
func (o *Outbox) ReceiptTx(tx *store.Tx, account, to string, of seal.ID) error {
	content, err := codec.Marshal(receipt{Version: receiptVersion, Of: of[:]})
	if err != nil {
		return err
	}
	return o.tellTx(tx, account, to, seal.KindReceipt, content, o.cfg.Times.Receipt)
}

// keyTimes is how many times as long as a receipt a new append key waits in the
// mean: it goes to many at once, who are not to be known by that as one user's
// contacts.
const keyTimes = 6

// KeyTx queues in tx a message of no content to a contact, which brings them the
// account's append key. It leaves at a random later time, unless other mail has
// brought the key before.
func (o *Outbox) KeyTx(tx *store.Tx, account, to string) error {
	return o.tellTx(tx, account, to, seal.KindKey, nil, keyTimes*o.cfg.Times.Receipt)
}

// tellTx queues in tx something that no user wrote, to leave after a random time of
// that mean.
func (o *Outbox) tellTx(tx *store.Tx, account, to string, kind seal.Kind, content []byte, mean time.Duration) error {
	now := o.cfg.Now()
	id := newID(now)
	wait := time.Duration(mathrand.ExpFloat64() * float64(mean))
	m := &message{
		Version: recordVersion, Account: account, Kind: kind, Submitted: now.UnixMilli(),
		Size: int64(len(content)), Recipients: 1, NotBefore: now.Add(wait).UnixMilli(),
	}
	r := recipient{Version: recordVersion, Address: to, Notify: NotifyNever, State: Queued}
	if len(content) > 0 {
		if err := tx.Set(key(kindContent, id, 0), content); err != nil {
			return err
		}
	}
	if err := put(tx, key(kindRecipient, id, 0), &r); err != nil {
		return err
	}
	if err := put(tx, key(kindMessage, id), m); err != nil {
		return err
	}
	tx.OnCommit(func() {
		j := &job{id: id, message: m}
		j.parts = []*part{newPart(j, 0, r)}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.add(j)
	})
	return nil
}

// ConfirmTx notes in tx that from has the message that account sent with that
// id. A receipt that fits nothing (of a message that was given up, say, or one
// that lies) is passed over.
func (o *Outbox) ConfirmTx(tx *store.Tx, account, from string, of seal.ID) error {
	where, err := tx.Get(sealedKey(of))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	id, n := ID(where), number(where)
	v, err := tx.Get(key(kindMessage, id))
	if err != nil {
		return err
	}
	m, err := decodeMessage(v)
	if err != nil {
		return err
	}
	if v, err = tx.Get(key(kindRecipient, id, n)); err != nil {
		return err
	}
	r, err := decodeRecipient(v)
	if err != nil {
		return err
	}
	if m.Account != account || r.Address != from || r.Sealed != of || r.State == Confirmed {
		return nil
	}
	r.State = Confirmed
	if err := put(tx, key(kindRecipient, id, n), r); err != nil {
		return err
	}
	if err := o.markTx(tx, id, m); err != nil {
		return err
	}
	tx.OnCommit(func() { o.confirmed(id, n) })
	return nil
}

// confirmed brings memory up to date with a receipt.
func (o *Outbox) confirmed(id ID, n uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	j := o.jobs[id]
	if j == nil {
		return
	}
	p := j.part(n)
	if p == nil {
		return
	}
	p.State = Confirmed
	p.fresh, p.again = nil, nil
	o.cfg.Observe.Tell(progress.Event{
		Kind: progress.Confirmed, At: o.cfg.Now(), Account: j.message.Account, Recipient: p.Address,
		Outbox: id.String(), Message: p.Sealed, Count: p.Count,
	})
	o.stir()
}

// deliveredFate is the end of a part whose receipt came.
func (p *part) deliveredFate() *fate {
	return &fate{reason: report.Delivered, silent: !p.Notify.Success()}
}
