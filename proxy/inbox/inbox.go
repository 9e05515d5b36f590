// Package inbox takes what a spool gives back and makes mail of it: it opens
// blocks, keeps the parts until a message is complete, verifies the message and
// puts it into the mailbox in the same synced transaction that records its id as
// seen. Only what is stored is told to the spool as read.
//
// It does not decide when to read (the engine behind mixclient does), and does
// not ask the network for anything. proxy imports it and runs one per account;
// proxy/web shows what it says.
package inbox

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
)

// How long things are kept.
const (
	// seenFor is how long a delivered message's id is remembered: longer than the
	// outbox of a sender (5 days) and a spool (14 days) together could repeat it.
	seenFor = 60 * 24 * time.Hour
	// partsFor is how long parts of an incomplete message are kept, for the same
	// sum: after it the missing ones can come no more.
	partsFor = 20 * 24 * time.Hour
)

// maxParts bounds the parts of incomplete messages kept for an account: about
// 450 MB. Beyond it the oldest incomplete message makes room.
const maxParts = 1 << 16

// An Account is who receives, as far as the inbox needs to know. proxy provides
// it from the account's keys, contacts and header policy.
type Account interface {
	Address() string
	// Recipient returns the keys that open blocks.
	Recipient() seal.Recipient
	// Admit takes in what a verified message says of its sender, and says what is to
	// be done with the mail.
	Admit(tx *store.Tx, said *seal.Header) (*contacts.Contact, contacts.Verdict, error)
	// Judge says what is to be done now with mail that was held.
	Judge(tx *store.Tx, sender string, identity []byte, fetches uint64) (contacts.Verdict, error)
	// Refused notes that a mail under a sender's address was dropped, since the key
	// that sealed it is not theirs.
	Refused(tx *store.Tx, sender string) error
	// Receive applies the header policy to mail on its way into the mailbox, while it
	// is read, and says under which keywords it is to be there. All errors are those of
	// content.
	Receive(content io.Reader, sender string, known contacts.State) (*Received, error)
	// Confirm notes in tx that the recipient from has the message with that id.
	Confirm(tx *store.Tx, from string, id seal.ID) error
	// Receipt queues in tx a receipt for a message of to, if the account sends any.
	Receipt(tx *store.Tx, to string, id seal.ID) error
}

// A Received mail is one as it is to be kept.
type Received struct {
	Mail     io.Reader
	Keywords []string
	// Note is called in the transaction that puts it into the mailbox; may be nil.
	Note func(tx *store.Tx) error
}

// Config says what an inbox works with.
type Config struct {
	Store   *store.Store
	Mailbox *mailbox.Store
	Into    string // the account of the mailbox that mail goes to; empty: Account's address
	Account Account
	Now     func() time.Time
	Observe progress.Func // may be nil
	Logger  *slog.Logger
}

// Counters tell what became of blocks and messages.
type Counters struct {
	Blocks    atomic.Uint64 // read from the spool
	NotOurs   atomic.Uint64 // blocks sealed to no key of ours, or malformed
	Repeated  atomic.Uint64 // blocks of messages that were delivered before
	Delivered atomic.Uint64 // messages put into the mailbox
	Receipts  atomic.Uint64
	Rejected  atomic.Uint64 // complete messages that did not verify
	Held      atomic.Uint64 // messages held for a decision on their sender's key
	Blocked   atomic.Uint64 // mail dropped because the user has blocked its sender
	Expired   atomic.Uint64 // incomplete messages given up
}

// An Inbox serves one account. Store is called by one goroutine at a time;
// the other methods by any.
type Inbox struct {
	Counters Counters

	cfg  Config
	mail *mailbox.Account
	log  *slog.Logger

	mu      sync.Mutex // guards partial and parts, and is held while a message is stored
	partial map[seal.ID]*partial
	parts   int

	shown shown // the same for who looks on, and must not wait for a large mail
}

// partial is a message that is not complete, or is held.
type partial struct {
	first time.Time
	count uint32
	have  map[uint32]bool
	held  *holding // not nil while the user has to decide on its sender
}

// holding is what is to be judged about a held message.
type holding struct {
	kind     seal.Kind
	sender   string
	identity []byte
	fetches  uint64
}

// Open reads the parts that are kept for the account, and delivers messages that
// were complete when the process died. Those for which that fails are tried
// again at the next Tend.
func Open(cfg Config) (*Inbox, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	mail, err := cfg.Mailbox.Account(cmp.Or(cfg.Into, cfg.Account.Address()))
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	in := &Inbox{cfg: cfg, mail: mail, log: cfg.Logger, partial: map[seal.ID]*partial{}}
	if err := in.load(); err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for id, p := range in.partial {
		if len(p.have) != int(p.count) {
			continue
		}
		if err := in.deliver(id, p); err != nil {
			// A full disk, say, is no reason to keep the user from all other mail.
			in.log.Error("inbox: a complete message could not be delivered yet", "err", err)
		}
	}
	return in, nil
}

// Store takes a block with its sequence number in the spool. When it returns
// nil, all that is to be kept of the block is on disk, and the spool may forget
// it. cursor is kept beside it: everything up to it was stored before.
func (in *Inbox) Store(block []byte, cursor uint64, timing mixclient.Timing) error {
	in.Counters.Blocks.Add(1)
	part, err := seal.OpenBlock(block, in.cfg.Account.Recipient())
	if err != nil {
		// Whoever knows the address may fill the spool with such blocks.
		in.Counters.NotOurs.Add(1)
		in.log.Debug("inbox: a block cannot be opened", "err", err)
		return in.cfg.Store.Update(func(tx *store.Tx) error { return in.setCursor(tx, cursor) })
	}
	in.cfg.Observe.Tell(progress.Event{
		Kind: progress.Read, At: in.cfg.Now(), Account: in.cfg.Account.Address(),
		Message: part.ID, Index: part.Index, Count: part.Count, Timing: timing,
	})
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.store(part, cursor)
}

// store keeps a part and, with the last, delivers its message. in.mu is held.
func (in *Inbox) store(part *seal.Part, cursor uint64) error {
	seen, err := in.seen(part.ID)
	if err != nil {
		return err
	}
	p := in.partial[part.ID]
	switch {
	case seen, p != nil && p.have[part.Index]:
		in.Counters.Repeated.Add(1)
		return in.cfg.Store.Update(func(tx *store.Tx) error { return in.setCursor(tx, cursor) })
	case p != nil && p.count != part.Count:
		in.Counters.NotOurs.Add(1) // its sender contradicts itself
		return in.cfg.Store.Update(func(tx *store.Tx) error { return in.setCursor(tx, cursor) })
	}
	if err := in.cfg.Store.Room(); err != nil {
		return fmt.Errorf("keep part of a message: %w", err) // the spool keeps it meanwhile
	}
	record, err := part.Marshal()
	if err != nil {
		return fmt.Errorf("keep part of a message: %w", err)
	}
	if p == nil {
		if err := in.makeRoom(); err != nil {
			return err
		}
		p = &partial{first: in.cfg.Now(), count: part.Count, have: map[uint32]bool{}}
	}
	err = in.cfg.Store.Update(func(tx *store.Tx) error {
		if len(p.have) == 0 {
			if err := in.putHead(tx, part.ID, p); err != nil {
				return err
			}
		}
		if err := tx.Set(in.partKey(part.ID, part.Index), record); err != nil {
			return err
		}
		return in.setCursor(tx, cursor)
	})
	if err != nil {
		return fmt.Errorf("keep part of a message: %w", err)
	}
	p.have[part.Index] = true
	in.parts++
	in.partial[part.ID] = p
	in.shown.put(part.ID, p)
	if len(p.have) < int(p.count) {
		return nil
	}
	// The part is safe; should delivery fail for want of disk, say, it is tried
	// again at the next Tend.
	if err := in.deliver(part.ID, p); err != nil {
		in.log.Error("inbox: a complete message could not be delivered yet", "err", err)
	}
	return nil
}

// makeRoom gives up the oldest incomplete message if too many parts are kept. One
// that is complete and only could not be delivered yet is not given up: its sender
// may have had the last acknowledgement long ago.
func (in *Inbox) makeRoom() error {
	if in.parts < maxParts {
		return nil
	}
	var oldest seal.ID
	var first time.Time
	for id, p := range in.partial {
		if len(p.have) < int(p.count) && (first.IsZero() || p.first.Before(first)) {
			oldest, first = id, p.first
		}
	}
	if first.IsZero() {
		return nil // all are complete: held, for the user to decide, or for want of disk
	}
	in.Counters.Expired.Add(1)
	return in.drop(oldest)
}

// Tend gives up what can be completed no more, forgets old ids, and delivers
// what could not be before. It is to be called now and then.
func (in *Inbox) Tend() error {
	now := in.cfg.Now()
	in.mu.Lock()
	defer in.mu.Unlock()
	var errs []error // of one message, which are no reason to leave the others
	for id, p := range in.partial {
		switch {
		case p.held != nil:
			errs = append(errs, in.judge(id, p))
		case len(p.have) == int(p.count):
			errs = append(errs, in.deliver(id, p))
		case now.Sub(p.first) > partsFor:
			in.Counters.Expired.Add(1)
			errs = append(errs, in.drop(id))
		}
	}
	return errors.Join(append(errs, in.forget(now.Add(-seenFor)))...)
}

// Decided looks again at what is held of a sender on whose keys something was decided.
// What fails is tried again at the next Tend.
func (in *Inbox) Decided(sender string) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	var errs []error
	for id, p := range in.partial {
		if p.held == nil || p.held.sender != sender {
			continue
		}
		errs = append(errs, in.judge(id, p))
	}
	return errors.Join(errs...)
}
