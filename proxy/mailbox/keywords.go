package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailproxy/internal/store"
)

// Keywords that say how far a sent mail has come. One is on the message for as long
// as it is true of at least one recipient, so that mail to several may have several.
// Only MarkTx and PutSent set and remove them: what a mail program says of them is
// passed over.
const (
	KeywordQueued      = "$MailproxyQueued"      // nothing of it has left
	KeywordSent        = "$MailproxySent"        // its first block has left
	KeywordSpooled     = "$MailproxySpooled"     // all of it is in the recipient's spool
	KeywordDelivered   = "$MailproxyDelivered"   // the recipient's receipt came
	KeywordUnconfirmed = "$MailproxyUnconfirmed" // no receipt came before the spool's age limit
	KeywordFailed      = "$MailproxyFailed"      // it was given up; a report says why
	KeywordWithdrawn   = "$MailproxyWithdrawn"   // the user withdrew it before it left
)

// Keywords that say of a received mail who sealed it, as it was known when the mail
// arrived. Each such mail has one of them; only the daemon sets them.
const (
	KeywordNew      = "$MailproxyNew"      // by somebody's key that the provider has not confirmed yet
	KeywordPinned   = "$MailproxyPinned"   // by the key that was theirs before
	KeywordVerified = "$MailproxyVerified" // and the user has compared safety numbers
	// KeywordChanged: by the key that was theirs before, while their provider shows
	// another one on which the user has not decided.
	KeywordChanged = "$MailproxyChanged"
	// KeywordOther: From does not name the address that sealed it, or not only that.
	KeywordOther = "$MailproxyOther"
)

// sender are those keywords.
var sender = []string{KeywordNew, KeywordPinned, KeywordVerified, KeywordChanged, KeywordOther}

// SaysSender reports whether a flag is one of those that say who sealed a received mail:
// what its field says of that is true only with one.
func SaysSender(flag string) bool {
	return slices.ContainsFunc(sender, func(k string) bool { return strings.EqualFold(k, flag) })
}

// KeywordNotice is on what the daemon itself writes to the user.
const KeywordNotice = "$MailproxyNotice"

// delivery are the keywords that MarkTx changes.
var delivery = []string{
	KeywordQueued, KeywordSent, KeywordSpooled, KeywordDelivered, KeywordUnconfirmed, KeywordFailed, KeywordWithdrawn,
}

// saysDelivery reports whether a flag is one of those that say how far a sent mail is.
func saysDelivery(flag string) bool {
	return slices.ContainsFunc(delivery, func(k string) bool { return strings.EqualFold(k, flag) })
}

// withDelivery returns flags with those that say how far a sent mail is in the place
// of the ones it had.
func withDelivery(flags, state []string) []string {
	out := append(slices.DeleteFunc(slices.Clone(flags), saysDelivery), state...)
	slices.Sort(out)
	return slices.Compact(out)
}

// reservedPrefix begins the keywords that no mail program can set, in any case.
const reservedPrefix = "$mailproxy"

// Reserved reports whether a flag is one that mail programs cannot change.
func Reserved(flag string) bool {
	return len(flag) >= len(reservedPrefix) && strings.EqualFold(flag[:len(reservedPrefix)], reservedPrefix)
}

// settable returns those flags that a mail program can change.
func settable(flags []string) []string {
	return slices.DeleteFunc(slices.Clone(flags), Reserved)
}

// reserved returns the others.
func reserved(flags []string) []string {
	return slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return !Reserved(f) })
}

// withReserved returns the settable ones of flags, and the reserved ones of from.
func withReserved(flags, from []string) []string {
	out := append(settable(flags), reserved(from)...)
	slices.Sort(out)
	return slices.Compact(out)
}

// MarkTx sets, as part of the caller's transaction, the keywords of the mail that
// went out with that Message-ID: on what PutSent put for it, or the mail program
// appended for it, and on copies of that, wherever they were moved. Another message
// with the same Message-ID, such as one that somebody sent back, stays as it is.
// Sessions hear of the change once the transaction is durable.
func (a *Account) MarkTx(tx *store.Tx, messageID string, keywords []string) error {
	hash := hashID(NormalMessageID(messageID))
	if hash == nil {
		return nil
	}
	var rec outgoingRecord
	switch err := getRecord(tx, outgoingKey(a.id, hash), &rec); {
	case errors.Is(err, store.ErrNotFound):
		return nil // the account was made anew since
	case err != nil:
		return fmt.Errorf("set delivery state: %w", err)
	}
	rec.Keywords = withReserved(nil, keywords)
	if err := putRecord(tx, outgoingKey(a.id, hash), rec); err != nil {
		return fmt.Errorf("set delivery state: %w", err)
	}
	places, err := a.placesTx(tx, hash)
	if err != nil {
		return fmt.Errorf("set delivery state: %w", err)
	}
	for _, p := range places {
		m, err := getMessage(tx, p.folder, p.uid)
		if err != nil {
			return fmt.Errorf("set delivery state: %w", err)
		}
		if !slices.ContainsFunc(m.Flags, saysDelivery) {
			continue // not ours
		}
		now := withDelivery(m.Flags, rec.Keywords)
		if slices.Equal(now, m.Flags) {
			continue
		}
		m.Flags = now
		if err := putRecord(tx, messageKey(p.folder, p.uid), m); err != nil {
			return fmt.Errorf("set delivery state: %w", err)
		}
		tx.OnCommit(func() { a.marked(p) })
	}
	return nil
}

// A place is where a message is.
type place struct {
	folder uint64
	uid    uint32
}

// placesTx returns where the messages with a Message-ID of that hash are.
func (a *Account) placesTx(tx *store.Tx, hash []byte) ([]place, error) {
	var places []place
	prefix := idsKey(a.id, hash)
	err := tx.Iterate(store.Range{Prefix: prefix}, func(it store.Item) error {
		rest := it.Key[len(prefix):]
		if len(rest) != 12 {
			return fmt.Errorf("entry of the index of message ids has %d bytes", len(it.Key))
		}
		places = append(places, place{binary.BigEndian.Uint64(rest), binary.BigEndian.Uint32(rest[8:])})
		return nil
	})
	return places, err
}

// marked brings memory up to date with the flags of one message. It reads them
// again: two transactions may tell of themselves in another order than they were
// made in.
func (a *Account) marked(p place) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.names.folders[p.folder]
	if f == nil || !f.loaded {
		return
	}
	i, ok := f.find(p.uid)
	if !ok {
		return
	}
	var rec messageRecord
	err := a.s.st.View(func(tx *store.Tx) (err error) {
		rec, err = getMessage(tx, p.folder, p.uid)
		return err
	})
	if errors.Is(err, ErrNoMessage) {
		return // it was removed since; whoever did that says so
	}
	if err != nil {
		a.s.log.Warn("mailbox: a message's delivery state could not be read again", "err", err)
		f.loaded = false // whoever looks next reads the index again
		f.changed()
		return
	}
	m := &f.messages[i]
	m.setFlags(rec.Flags)
	m.rev = f.rev + 1
	f.changed()
}
