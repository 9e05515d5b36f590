package badgerstore

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// Publish implements server.Store.
func (s *Store) Publish(ctx context.Context, e server.Entry, p server.Publication) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.db.Room(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := s.update(ctx, len(e.Bundle.Body)+4*smallChange, func(w *batch) error { return w.publish(e, p) }); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

func (b *batch) publish(e server.Entry, p server.Publication) error {
	var old *server.Entry
	record, err := getName(b.Tx, e.Name)
	if p.Create && p.NeedInvite && (errors.Is(err, server.ErrNoName) || err == nil && !bytes.Equal(record.Identity, e.Identity)) {
		if _, err := b.goodInvite(p.Invite, p.Now); err != nil {
			return err // before anything is said about the name
		}
	}
	switch {
	case err == nil && record.Revoked:
		return server.ErrRevoked
	case err == nil:
		have := record.entry(e.Name)
		old = &have
	case !errors.Is(err, server.ErrNoName):
		return err
	}
	owner := ""
	have, err := b.spool(e.Spool)
	if err == nil {
		owner = have.Name
	} else if !errors.Is(err, server.ErrNoSpool) {
		return err
	}
	write, err := server.Admit(old, owner, e, p.Create)
	switch {
	case err != nil:
		return err
	case old != nil && old.Suspended:
		return server.ErrSuspended
	case !write:
		return nil
	case old != nil:
		record.Version, record.Bundle = e.Version, e.Bundle
		return putName(b.Tx, e.Name, record)
	}
	if p.NeedInvite {
		if err := b.useInvite(p.Invite, e.Name, p.Now); err != nil {
			return err
		}
	}
	place, err := b.appendLog(spool.LogRecord{
		Kind: spool.LogMade, Name: e.Hash, Identity: [ed25519.PublicKeySize]byte(e.Identity), Version: e.Version,
	})
	if err != nil {
		return err
	}
	err = putName(b.Tx, e.Name, &nameRecord{
		Hash: e.Hash, Identity: e.Identity, Version: e.Version, Spool: e.Spool, Bundle: e.Bundle,
		Log: place, Since: p.Now.UnixNano(),
	})
	if err != nil {
		return err
	}
	b.setSpool(e.Spool, &spoolRecord{Name: e.Name, First: 1})
	b.stats.Names++
	b.stats.Spools++
	return nil
}

// Lookup implements server.Store.
func (s *Store) Lookup(ctx context.Context, name string) (e server.Entry, err error) {
	if err := ctx.Err(); err != nil {
		return e, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		r, err := getName(tx, name)
		if err != nil {
			return err
		}
		e = r.entry(name)
		if r.Revoked {
			return server.ErrRevoked
		}
		return nil
	})
	if err != nil {
		return e, fmt.Errorf("look up: %w", err)
	}
	return e, nil
}

// Revoke implements server.Store.
func (s *Store) Revoke(ctx context.Context, name string, erase bool, now time.Time) error {
	var id spool.ID
	err := s.update(ctx, 4*smallChange, func(b *batch) error {
		n, err := getName(b.Tx, name)
		if err != nil {
			return err
		}
		id = n.Spool
		r, err := b.spool(id)
		if err != nil {
			return err
		}
		if n.Revoked && (r.Erased || !erase) {
			return nil
		}
		if !n.Revoked {
			n.Log, err = b.appendLog(spool.LogRecord{
				Kind: spool.LogRevoked, Name: n.Hash, Identity: [ed25519.PublicKeySize]byte(n.Identity), Version: n.Version,
			})
			if err != nil {
				return err
			}
			b.stats.Names--
			b.stats.Revoked++
			if n.Suspended {
				b.stats.Suspended--
			}
			// A suspension stays: whoever has stolen a key can sign a revocation,
			// and must not read by it.
			n.Revoked, n.Bundle = true, spool.SignedBundle{}
			r.Revoked = true
			if err := putName(b.Tx, name, n); err != nil {
				return err
			}
		}
		if erase {
			if err := b.Set(key('e', id[:]), nil); err != nil {
				return err
			}
			r.Erased = true
			b.stats.Spools--
		}
		b.setSpool(id, r)
		return nil
	})
	if err == nil && erase {
		err = s.erase(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// Suspend implements server.Store.
func (s *Store) Suspend(ctx context.Context, name string, suspended bool) error {
	err := s.update(ctx, 4*smallChange, func(b *batch) error {
		n, err := getName(b.Tx, name)
		if err != nil {
			return err
		}
		r, err := b.spool(n.Spool)
		switch {
		case err != nil:
			return err
		case r.Erased:
			return server.ErrRevoked // nothing is left to be kept back
		case n.Suspended == suspended:
			return nil
		}
		n.Suspended, r.Suspended = suspended, suspended
		if err := putName(b.Tx, name, n); err != nil {
			return err
		}
		b.setSpool(n.Spool, r)
		switch {
		case n.Revoked: // not counted
		case suspended:
			b.stats.Suspended++
		default:
			b.stats.Suspended--
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("suspend: %w", err)
	}
	return nil
}

// SetAppendKey implements server.Store.
func (s *Store) SetAppendKey(ctx context.Context, id spool.ID, key ed25519.PublicKey, version uint64) error {
	err := s.update(ctx, smallChange, func(b *batch) error {
		r, err := b.spool(id)
		if err == nil {
			err = r.usable()
		}
		switch {
		case err != nil:
			return err
		case version == r.AppendVersion && bytes.Equal(key, r.AppendKey):
			return nil
		case version <= r.AppendVersion:
			return server.ErrStale
		}
		r.AppendKey, r.AppendVersion = bytes.Clone(key), version
		b.setSpool(id, r)
		return nil
	})
	if err != nil {
		return fmt.Errorf("set append key: %w", err)
	}
	return nil
}

// usable says why a spool does not take anything, if so.
func (r *spoolRecord) usable() error {
	switch {
	case r.Revoked:
		return server.ErrRevoked
	case r.Suspended:
		return server.ErrSuspended
	}
	return nil
}

// readable says why a spool does not give anything, if so.
func (r *spoolRecord) readable() error {
	switch {
	case r.Erased:
		return server.ErrRevoked
	case r.Suspended:
		return server.ErrSuspended
	}
	return nil
}

// Spool implements server.Store.
func (s *Store) Spool(ctx context.Context, id spool.ID) (server.SpoolInfo, error) {
	if err := ctx.Err(); err != nil {
		return server.SpoolInfo{}, err
	}
	r := s.summary(id)
	if r == nil {
		return server.SpoolInfo{}, server.ErrNoSpool
	}
	return server.SpoolInfo{
		Name: r.Name, Suspended: r.Suspended, Revoked: r.Revoked, AppendKey: r.AppendKey, AppendVersion: r.AppendVersion,
		Blocks: r.Blocks, Remembered: r.Remembered, Last: s.last(r),
	}, nil
}

// Users implements server.Store.
func (s *Store) Users(ctx context.Context, after string, n int) (users []server.User, err error) {
	if err := ctx.Err(); err != nil || n <= 0 {
		return nil, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		from := key('n', []byte(after), []byte{0}) // the first key behind it
		if after == "" {
			from = nil
		}
		return tx.Iterate(store.Range{Prefix: []byte("n"), From: from}, func(i store.Item) error {
			raw, err := i.Value()
			if err != nil {
				return err
			}
			var r nameRecord
			if err := decode(raw, &r, &r.Format); err != nil {
				return fmt.Errorf("name %q: %w", i.Key[1:], err)
			}
			sp, err := readSpool(tx, r.Spool)
			if err != nil {
				return fmt.Errorf("name %q: %w", i.Key[1:], err)
			}
			u := server.User{
				Name: string(i.Key[1:]), Identity: r.Identity, Version: r.Version, Spool: r.Spool,
				Suspended: r.Suspended, Revoked: r.Revoked, Blocks: sp.Blocks, Since: time.Unix(0, r.Since),
			}
			if u.Oldest, err = oldestOf(tx, r.Spool, sp); err != nil {
				return err
			}
			if users = append(users, u); len(users) == n {
				return store.ErrStop
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return users, nil
}
