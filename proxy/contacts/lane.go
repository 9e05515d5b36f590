package contacts

import (
	"crypto/ed25519"
	"errors"

	"mailproxy/internal/store"
	"mailproxy/spool"
)

// A Lane is how to append to a contact's spool: by their append key, or if there is
// none as a stranger.
type Lane struct {
	Key     ed25519.PrivateKey // nil: none is known that their service takes
	Version uint64             // of Key
	// Terms are what a stranger's block costs, as the service told last. All zero:
	// nothing.
	Terms spool.Terms
}

// String hides the key from logs.
func (Lane) String() string { return "contacts.Lane(secret)" }

// GoString hides the key from logs.
func (l Lane) GoString() string { return l.String() }

func (r *record) lane() (l Lane) {
	if r.Terms != nil {
		l.Terms = *r.Terms
	}
	if len(r.AppendSeed) > 0 && !r.AppendRefused {
		l.Key, l.Version = ed25519.NewKeyFromSeed(r.AppendSeed), r.AppendVersion
	}
	return l
}

// Block makes the user want no mail from a contact any more. The contact may still
// hold the account's append key: see keys.Account.RotateAppend.
func (b *Book) Block(tx *store.Tx, addr string) (*Contact, error) {
	return b.change(tx, addr, "block contact", func(r *record) error {
		r.Blocked = true
		return nil
	})
}

// Unblock takes Block back. The contact is given an append key with the next mail
// to them.
func (b *Book) Unblock(tx *store.Tx, addr string) (*Contact, error) {
	return b.change(tx, addr, "unblock contact", func(r *record) error {
		r.Blocked = false
		return nil
	})
}

// Gave notes the version of the account's append key that a message to the contact
// carries.
func (b *Book) Gave(tx *store.Tx, addr string, version uint64) error {
	return b.amend(tx, addr, "note given append key", func(r *record) bool {
		given := r.Given
		r.Given = max(given, version)
		return r.Given != given
	})
}

// TakeAppendKey takes in the append key that a message of the contact brought. An
// older one than is known is passed over; one that their service refused is tried
// again when it comes once more, since the service may have it by now. It returns
// whether the lane to the contact is another one.
func (b *Book) TakeAppendKey(tx *store.Tx, addr string, key ed25519.PrivateKey, version uint64) (changed bool, err error) {
	err = b.amend(tx, addr, "take in append key", func(r *record) bool {
		changed = version > r.AppendVersion || version == r.AppendVersion && r.AppendRefused
		if changed {
			r.AppendSeed, r.AppendVersion, r.AppendRefused = key.Seed(), version, false
		}
		return changed
	})
	return changed, err
}

// RefusedLane notes that the contact's service did not take tried, and what a
// stranger's block costs there now.
func (b *Book) RefusedLane(tx *store.Tx, addr string, tried Lane, terms spool.Terms) error {
	return b.amend(tx, addr, "note refused lane", func(r *record) bool {
		if tried.Key != nil && tried.Version == r.AppendVersion {
			r.AppendRefused = true
		}
		r.Terms = &terms
		return true
	})
}

// SetTerms notes what a stranger's block costs at the contact's service.
func (b *Book) SetTerms(tx *store.Tx, addr string, terms spool.Terms) error {
	return b.amend(tx, addr, "note terms", func(r *record) bool {
		if r.Terms != nil && *r.Terms == terms {
			return false
		}
		r.Terms = &terms
		return true
	})
}

// errSame ends a change that changes nothing.
var errSame = errors.New("nothing to change")

// amend is change for what need not be written where it is so already.
func (b *Book) amend(tx *store.Tx, addr, what string, fn func(r *record) (changed bool)) error {
	_, err := b.change(tx, addr, what, func(r *record) error {
		if !fn(r) {
			return errSame
		}
		return nil
	})
	if errors.Is(err, errSame) {
		return nil
	}
	return err
}

// Prefix returns what the keys of all contacts of an account begin with, own being
// its canonical address: for who removes the account.
func Prefix(own string) []byte { return []byte(prefix + own + "\x00") }
