package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
)

// Where things are kept: "keys/" address NUL kind, and for prekeys the id.
const (
	prefix      = "keys/"
	kindAccount = "account"
	kindBoot    = "boot"
	kindState   = "state"
	kindPrekey  = "prekey/"
)

func key(addr, kind string) []byte { return []byte(prefix + addr + "\x00" + kind) }

// recordFormat is the version of all records below.
const recordFormat = 1

// accountRecord holds the keys that never change.
type accountRecord struct {
	Format        uint8  `cbor:"1,keyasint"`
	IdentitySeed  []byte `cbor:"2,keyasint"` // Ed25519 (RFC 8032)
	StaticPrivate []byte `cbor:"3,keyasint"` // X25519 (RFC 7748)
	StaticPublic  []byte `cbor:"4,keyasint"`
	ReadSeed      []byte `cbor:"5,keyasint"` // Ed25519
	Instance      []byte `cbor:"6,keyasint"`
}

func (r *accountRecord) check() error {
	if r.Format != recordFormat {
		return fmt.Errorf("%w: account has format %d, this program reads %d", ErrRecord, r.Format, recordFormat)
	}
	if len(r.IdentitySeed) != ed25519.SeedSize || len(r.ReadSeed) != ed25519.SeedSize ||
		len(r.StaticPrivate) != 32 || len(r.StaticPublic) != 32 || len(r.Instance) != InstanceSize {
		return fmt.Errorf("%w: account has a key of a wrong size", ErrRecord)
	}
	return nil
}

// stateRecord is what changes with every rotation and publication.
type stateRecord struct {
	Format    uint8               `cbor:"1,keyasint"`
	Bundle    *spool.SignedBundle `cbor:"2,keyasint"` // the current one
	Due       int64               `cbor:"3,keyasint"` // Unix seconds: replace its prekey then
	Published uint64              `cbor:"4,keyasint"` // newest version known to be published
	// Latest is the latest time seen, and Behind is when the clock was first seen
	// to be behind it, 0 while it is not. See clock.
	Latest int64 `cbor:"5,keyasint"` // Unix seconds
	Behind int64 `cbor:"6,keyasint"` // Unix seconds
	// Generation is the provider's store's that was seen last, see spool.Generation.
	Generation uint64 `cbor:"7,keyasint,omitempty"`
	// Lost says that the provider may not have Bundle any more.
	Lost bool `cbor:"8,keyasint,omitempty"`
}

// clock reports whether now may be believed: a clock that fell back, to 1970 after
// a dead battery, must not date the replacement of a prekey, which would seem to
// be long ago once the clock is right. One that has been behind for ClockDoubt is
// right after all, and what was seen before was ahead.
func (s *stateRecord) clock(now time.Time) bool {
	t := now.Unix()
	switch {
	case t >= s.Latest:
		s.Latest, s.Behind = t, 0
	case s.Behind == 0 || s.Behind > t:
		s.Behind = t
	case t-s.Behind >= int64(ClockDoubt/time.Second):
		s.Latest, s.Behind = t, 0
	}
	return s.Behind == 0
}

// prekeyRecord is a prekey that is kept.
type prekeyRecord struct {
	Format  uint8  `cbor:"1,keyasint"`
	ID      []byte `cbor:"2,keyasint"`
	Seed    []byte `cbor:"3,keyasint"` // X-Wing decapsulation key, 32 bytes
	Version uint64 `cbor:"4,keyasint"` // of the bundle it was in
	// Replaced is when a bundle with a later prekey was known to be published,
	// in Unix seconds; 0 before that.
	Replaced int64 `cbor:"5,keyasint"`
	// Doomed is when it was first seen to be due for erasure; 0 before that.
	Doomed int64 `cbor:"6,keyasint"`
}

// newPrekey makes a prekey and a bundle with it, and stores them and state.
func (r *accountRecord) newPrekey(tx *store.Tx, addr string, state *stateRecord, now time.Time) error {
	priv, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return fmt.Errorf("make prekey: %w", err)
	}
	seed, err := priv.Bytes()
	if err != nil {
		return fmt.Errorf("make prekey: %w", err)
	}
	id := make([]byte, spool.PrekeyIDSize)
	if _, err := io.ReadFull(rand.Reader, id); err != nil {
		return fmt.Errorf("make prekey: %w", err)
	}
	jitter, err := rand.Int(rand.Reader, big.NewInt(int64(PrekeyJitter/time.Second)))
	if err != nil {
		return fmt.Errorf("make prekey: %w", err)
	}
	var version uint64
	if state.Bundle != nil {
		old, err := state.Bundle.Open()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRecord, err)
		}
		version = old.Version
	}
	identity := ed25519.NewKeyFromSeed(r.IdentitySeed)
	read := ed25519.NewKeyFromSeed(r.ReadSeed)
	// The bundle is public and says the day only: the second in which a daemon
	// was at work would be one more thing to know two addresses of one user by.
	bundle := &spool.Bundle{
		Format: spool.BundleFormat, Address: addr, Version: version + 1,
		Spool:    spool.IDOf(read.Public().(ed25519.PublicKey)),
		Identity: identity.Public().(ed25519.PublicKey), Static: r.StaticPublic,
		Prekey: spool.Prekey{ID: id, Public: priv.PublicKey().Bytes(), Created: now.UTC().Truncate(24 * time.Hour).Unix()},
	}
	if state.Bundle, err = bundle.Sign(identity); err != nil {
		return err
	}
	state.Due = now.Add(PrekeyLife).Unix() + jitter.Int64()
	rec := &prekeyRecord{Format: recordFormat, ID: id, Seed: seed, Version: bundle.Version}
	return errors.Join(put(tx, key(addr, kindPrekey+string(id)), rec), put(tx, key(addr, kindState), state))
}

// Rotate replaces the prekey if it is older than a week and erases those kept for
// PrekeyRetention, durably. It reports whether there is a new bundle, which the
// caller has to publish. Call it at every start and once an hour.
func (a *Account) Rotate() (rotated bool, err error) {
	err = a.update(func(tx *store.Tx, v *view) error {
		rotated = false // Update may run this again
		now := a.now()
		believed := v.state.clock(now)
		// Due further ahead than any prekey lives: it was made by a clock that
		// was wrong.
		ahead := v.state.Due - now.Add(PrekeyLife+PrekeyJitter).Unix()
		if now.Unix() >= v.state.Due || ahead > 0 {
			var rec accountRecord
			if err := get(tx, key(a.address, kindAccount), &rec); err != nil {
				return err
			}
			if err := rec.newPrekey(tx, a.address, v.state, now); err != nil {
				return err
			}
			rotated = true
		} else if err := put(tx, key(a.address, kindState), v.state); err != nil {
			return err
		}
		if !believed {
			return nil
		}
		if err := a.retire(tx, v, now); err != nil {
			return err
		}
		return a.erase(tx, v, now)
	})
	if err != nil {
		return false, fmt.Errorf("rotate prekey: %w", err)
	}
	return rotated, nil
}

// retire dates the prekeys of which a successor is published.
func (a *Account) retire(tx *store.Tx, v *view, now time.Time) error {
	for _, p := range v.prekeys {
		if p.Version >= v.state.Published || p.Replaced != 0 && p.Replaced <= now.Unix() {
			continue // a date ahead is of a clock that was
		}
		p.Replaced = now.Unix()
		if err := put(tx, key(a.address, kindPrekey+string(p.ID)), p); err != nil {
			return err
		}
	}
	return nil
}

// erase deletes the prekeys to which nothing can be sealed any more.
func (a *Account) erase(tx *store.Tx, v *view, now time.Time) error {
	for _, p := range v.prekeys {
		k := key(a.address, kindPrekey+string(p.ID))
		due := p.Replaced != 0 && now.Unix()-p.Replaced >= int64(PrekeyRetention/time.Second)
		switch {
		case !due:
			if p.Doomed == 0 {
				continue
			}
			// The clock was ahead when it was found due.
			p.Doomed = 0
			if err := put(tx, k, p); err != nil {
				return err
			}
		case p.Doomed == 0 || p.Doomed > now.Unix():
			p.Doomed = now.Unix()
			if err := put(tx, k, p); err != nil {
				return err
			}
		case now.Unix()-p.Doomed >= int64(EraseGrace/time.Second):
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// Unpublished returns the current bundle if it is not known to be published, or
// may have been lost since, or nil.
func (a *Account) Unpublished() (*spool.SignedBundle, error) {
	var out *spool.SignedBundle
	err := a.store.View(func(tx *store.Tx) error {
		v, err := readView(tx, a.address)
		if err != nil {
			return err
		}
		if v.bundle.Version > v.state.Published || v.state.Lost {
			out = v.state.Bundle
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	return out, nil
}

// Published records, durably, that the provider publishes this version of the
// bundle. From now on the time runs after which the prekeys before it are erased:
// until a successor is published, others go on sealing to the old one.
func (a *Account) Published(version uint64) error {
	err := a.update(func(tx *store.Tx, v *view) error {
		if version > v.bundle.Version {
			return fmt.Errorf("version %d was never made, the newest is %d", version, v.bundle.Version)
		}
		found := v.state.Lost && version == v.bundle.Version
		if version <= v.state.Published && !found {
			return nil
		}
		now := a.now()
		believed := v.state.clock(now)
		v.state.Published = max(version, v.state.Published)
		v.state.Lost = v.state.Lost && !found
		if err := put(tx, key(a.address, kindState), v.state); err != nil || !believed {
			return err // Rotate dates what this replaces when the clock is right
		}
		return a.retire(tx, v, now)
	})
	if err != nil {
		return fmt.Errorf("record published bundle: %w", err)
	}
	return nil
}

// view is what the store holds of an account that changes.
type view struct {
	state   *stateRecord
	bundle  *spool.Bundle
	prekeys []*prekeyRecord // the newest first
}

func readView(tx *store.Tx, addr string) (*view, error) {
	v := &view{state: &stateRecord{}}
	if err := get(tx, key(addr, kindState), v.state); err != nil {
		return nil, err
	}
	if v.state.Format != recordFormat || v.state.Bundle == nil {
		return nil, fmt.Errorf("%w: state has format %d, this program reads %d", ErrRecord, v.state.Format, recordFormat)
	}
	var err error
	if v.bundle, err = v.state.Bundle.Open(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	err = tx.Iterate(store.Range{Prefix: key(addr, kindPrekey), Values: true}, func(i store.Item) error {
		b, err := i.Value()
		if err != nil {
			return err
		}
		var p prekeyRecord
		if err := codec.Unmarshal(b, &p); err != nil {
			return fmt.Errorf("%w: prekey: %w", ErrRecord, err)
		}
		if p.Format != recordFormat {
			return fmt.Errorf("%w: prekey has format %d, this program reads %d", ErrRecord, p.Format, recordFormat)
		}
		v.prekeys = append(v.prekeys, &p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(v.prekeys, func(a, b *prekeyRecord) int { return int(int64(b.Version) - int64(a.Version)) })
	return v, nil
}

// update runs fn in a transaction and makes a's copy what the store then holds.
func (a *Account) update(fn func(tx *store.Tx, v *view) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var after *view
	err := a.store.Update(func(tx *store.Tx) error {
		v, err := readView(tx, a.address)
		if err != nil {
			return err
		}
		if err := fn(tx, v); err != nil {
			return err
		}
		after, err = readView(tx, a.address)
		return err
	})
	if err != nil {
		return err
	}
	return a.adopt(after)
}

// adopt takes over v. The caller holds mu or is the only one who knows a.
func (a *Account) adopt(v *view) error {
	prekeys := make([]seal.Prekey, 0, len(v.prekeys))
	for _, p := range v.prekeys {
		priv, err := hpke.MLKEM768X25519().NewPrivateKey(p.Seed)
		if err != nil {
			return fmt.Errorf("%w: prekey: %w", ErrRecord, err)
		}
		prekeys = append(prekeys, seal.Prekey{ID: p.ID, Private: priv})
	}
	if len(prekeys) == 0 || !bytes.Equal(prekeys[0].ID, v.bundle.Prekey.ID) {
		return fmt.Errorf("%w: the bundle's prekey is not there", ErrRecord)
	}
	a.current, a.bundle, a.prekeys = v.state.Bundle, v.bundle, prekeys
	a.generation = max(a.generation, v.state.Generation)
	return nil
}
