package outbox

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
)

// recordVersion is the version of the records below. Those of version 1 lack what
// came later, and are read as well.
const recordVersion = 2

// chunkSize cuts a message's content into values of this many bytes.
const chunkSize = 256 << 10

// An ID names a message in the outbox: time of submission, then random bytes, so
// that ids sort by age.
type ID [16]byte

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// A State says how far a message has come for one recipient.
type State uint8

// The states.
const (
	Queued  State = 1 // the recipient's keys are wanted
	Sealed  State = 2 // blocks are on disk and being appended
	InSpool State = 3 // all blocks are in the recipient's spool
	Held    State = 4 // the recipient's identity key changed: the user must decide
	// Confirmed: the recipient's receipt is here; what is left is to tell, if the
	// sender asked for it, and to forget.
	Confirmed State = 5
	// Done: it has ended, as its Outcome says. The record stays until that of the
	// message's last recipient has.
	Done State = 6
)

// String returns the state in words.
func (s State) String() string {
	switch s {
	case Queued:
		return "queued"
	case Sealed:
		return "sending"
	case InSpool:
		return "in the spool"
	case Confirmed:
		return "delivered"
	case Held:
		return "held: the recipient's key changed"
	case Done:
		return "done"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// message is what the outbox keeps of a submission.
type message struct {
	Version    uint8     `cbor:"1,keyasint"`
	Account    string    `cbor:"2,keyasint"`
	Kind       seal.Kind `cbor:"3,keyasint"`
	Submitted  int64     `cbor:"4,keyasint"` // Unix milliseconds
	EnvelopeID string    `cbor:"5,keyasint,omitempty"`
	Return     Return    `cbor:"6,keyasint,omitempty"`
	Size       int64     `cbor:"7,keyasint"`
	Recipients uint32    `cbor:"8,keyasint"`            // as submitted; those that are done have no record
	NotBefore  int64     `cbor:"9,keyasint,omitempty"`  // Unix milliseconds: of a receipt, when it may go
	HeaderOnly bool      `cbor:"10,keyasint,omitempty"` // the body was dropped: all parts are in the spool
	MessageID  string    `cbor:"11,keyasint,omitempty"` // as it goes out; its delivery state is shown in Sent. Empty: nowhere
}

func (m *message) submitted() time.Time { return time.UnixMilli(m.Submitted) }

// recipient is what it keeps for each recipient.
type recipient struct {
	Version      uint8    `cbor:"1,keyasint"`
	Address      string   `cbor:"2,keyasint"`
	Notify       Notify   `cbor:"3,keyasint,omitempty"`
	Original     string   `cbor:"4,keyasint,omitempty"`
	OriginalType string   `cbor:"5,keyasint,omitempty"`
	State        State    `cbor:"6,keyasint"`
	Sealed       seal.ID  `cbor:"7,keyasint"` // drawn when sealed
	Count        uint32   `cbor:"8,keyasint,omitempty"`
	Spool        spool.ID `cbor:"9,keyasint"`
	InSpoolAt    int64    `cbor:"10,keyasint,omitempty"` // Unix milliseconds
	ToldDelay    bool     `cbor:"11,keyasint,omitempty"`
	Left         bool     `cbor:"12,keyasint,omitempty"` // a block of it has left; after a crash one may have without this
	Outcome      Outcome  `cbor:"13,keyasint,omitempty"` // of one that is Done
}

// Keys: "outbox/" kind, then the message's id, then numbers, big endian.
const (
	kindMessage   = 'm'
	kindContent   = 'c' // chunk number
	kindRecipient = 'r' // recipient number
	kindBlock     = 'b' // recipient number, block number: blocks not acknowledged yet
	kindWork      = 'w' // recipient number, block number: the work for a block, where it costs any
	kindSealed    = 's' // instead of id and numbers a seal.ID; the value is id and recipient number
)

func key(kind byte, id ID, numbers ...uint32) []byte {
	k := append([]byte("outbox/"), kind)
	k = append(k, id[:]...)
	for _, n := range numbers {
		k = binary.BigEndian.AppendUint32(k, n)
	}
	return k
}

func sealedKey(id seal.ID) []byte { return key(kindSealed, ID(id)) }

func prefix(kind byte) []byte { return append([]byte("outbox/"), kind) }

// number returns the last number of a key.
func number(k []byte) uint32 { return binary.BigEndian.Uint32(k[len(k)-4:]) }

func put(tx *store.Tx, k []byte, record any) error {
	b, err := codec.Marshal(record)
	if err != nil {
		return err
	}
	return tx.Set(k, b)
}

func decodeMessage(b []byte) (*message, error) {
	var m message
	if err := codec.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	if m.Version == 0 || m.Version > recordVersion {
		return nil, fmt.Errorf("read outbox: a message has version %d, this program reads up to %d", m.Version, recordVersion)
	}
	return &m, nil
}

func decodeRecipient(b []byte) (*recipient, error) {
	var r recipient
	if err := codec.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	if r.Version == 0 || r.Version > recordVersion {
		return nil, fmt.Errorf("read outbox: a recipient has version %d, this program reads up to %d", r.Version, recordVersion)
	}
	return &r, nil
}

// deletePrefix removes all keys with the prefix.
func deletePrefix(tx *store.Tx, p []byte) error {
	var keys [][]byte
	err := tx.Iterate(store.Range{Prefix: p}, func(i store.Item) error {
		keys = append(keys, append([]byte(nil), i.Key...))
		return nil
	})
	for _, k := range keys {
		if err == nil {
			err = tx.Delete(k)
		}
	}
	return err
}

// batch is how many keys, or blocks, one transaction handles.
const batch = 1000

// inBatches calls f for 0 to n-1 in transactions of a bounded size.
func (o *Outbox) inBatches(n int, f func(tx *store.Tx, i int) error) error {
	for from := 0; from < n; from += batch {
		err := o.cfg.Store.Update(func(tx *store.Tx) error {
			for i := from; i < min(from+batch, n); i++ {
				if err := f(tx, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
