package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool/server"
)

// inviteRecord is an invitation. Times are Unix nanoseconds.
type inviteRecord struct {
	Format  uint8  `cbor:"1,keyasint"`
	Created int64  `cbor:"2,keyasint"`
	Expires int64  `cbor:"3,keyasint,omitempty"` // zero: never
	Note    string `cbor:"4,keyasint,omitempty"`
	UsedBy  string `cbor:"5,keyasint,omitempty"`
}

func (r *inviteRecord) invite(hash [32]byte) server.Invite {
	i := server.Invite{Hash: hash, Created: time.Unix(0, r.Created), Note: r.Note, UsedBy: r.UsedBy}
	if r.Expires != 0 {
		i.Expires = time.Unix(0, r.Expires)
	}
	return i
}

func getInvite(tx *store.Tx, hash [32]byte) (*inviteRecord, error) {
	raw, err := tx.Get(key('v', hash[:]))
	if errors.Is(err, store.ErrNotFound) {
		return nil, server.ErrInvite
	}
	if err != nil {
		return nil, err
	}
	var r inviteRecord
	if err := decode(raw, &r, &r.Format); err != nil {
		return nil, err
	}
	return &r, nil
}

// goodInvite returns an invitation that can be used, or ErrInvite.
func (b *batch) goodInvite(hash [32]byte, now time.Time) (*inviteRecord, error) {
	r, err := getInvite(b.Tx, hash)
	if err != nil {
		return nil, err
	}
	if i := r.invite(hash); !i.Good(now) {
		return nil, server.ErrInvite
	}
	return r, nil
}

// useInvite writes down that a name has used an invitation.
func (b *batch) useInvite(hash [32]byte, name string, now time.Time) error {
	r, err := b.goodInvite(hash, now)
	if err != nil {
		return err
	}
	r.UsedBy = name
	if err := put(b.Tx, key('v', hash[:]), r); err != nil {
		return err
	}
	b.stats.Invites--
	return nil
}

// AddInvite implements server.Store.
func (s *Store) AddInvite(ctx context.Context, i server.Invite) error {
	err := s.db.Room()
	if err == nil {
		err = s.update(ctx, len(i.Note)+smallChange, func(b *batch) error {
			switch _, err := getInvite(b.Tx, i.Hash); {
			case err == nil:
				return server.ErrInvite
			case !errors.Is(err, server.ErrInvite):
				return err
			}
			r := &inviteRecord{Format: recordFormat, Created: i.Created.UnixNano(), Note: i.Note, UsedBy: i.UsedBy}
			if !i.Expires.IsZero() {
				r.Expires = i.Expires.UnixNano()
			}
			if err := put(b.Tx, key('v', i.Hash[:]), r); err != nil {
				return err
			}
			if r.UsedBy == "" {
				b.stats.Invites++
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("add invitation: %w", err)
	}
	return nil
}

// Invites implements server.Store.
func (s *Store) Invites(ctx context.Context) (list []server.Invite, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		return eachInvite(tx, func(i server.Invite) error {
			list = append(list, i)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	slices.SortStableFunc(list, func(a, b server.Invite) int { return a.Created.Compare(b.Created) })
	return list, nil
}

func eachInvite(tx *store.Tx, fn func(server.Invite) error) error {
	return tx.Iterate(store.Range{Prefix: []byte("v"), Values: true}, func(i store.Item) error {
		raw, err := i.Value()
		if err != nil {
			return err
		}
		var r inviteRecord
		if err := decode(raw, &r, &r.Format); err != nil {
			return err
		}
		if len(i.Key) != 1+32 {
			return fmt.Errorf("%w: key of an invitation has %d bytes", ErrRecord, len(i.Key))
		}
		return fn(r.invite([32]byte(i.Key[1:])))
	})
}

func openInvites(tx *store.Tx) (n int, err error) {
	err = eachInvite(tx, func(i server.Invite) error {
		if i.UsedBy == "" {
			n++
		}
		return nil
	})
	return n, err
}

// DeleteInvite implements server.Store.
func (s *Store) DeleteInvite(ctx context.Context, hash [32]byte) error {
	err := s.update(ctx, smallChange, func(b *batch) error { return b.deleteInvite(hash) })
	if err != nil {
		return fmt.Errorf("delete invitation: %w", err)
	}
	return nil
}

func (b *batch) deleteInvite(hash [32]byte) error {
	r, err := getInvite(b.Tx, hash)
	if err != nil {
		return err
	}
	if err := b.Delete(key('v', hash[:])); err != nil {
		return err
	}
	if r.UsedBy == "" {
		b.stats.Invites--
	}
	return nil
}

// keepUsed is how long after its expiry it is still known who used an invitation.
const keepUsed = 180 * 24 * time.Hour

// forgetInvites removes the invitations that expired before now, and those that
// were used long after that.
func (s *Store) forgetInvites(ctx context.Context, now time.Time) error {
	list, err := s.Invites(ctx)
	if err != nil {
		return err
	}
	for _, i := range list {
		until := i.Expires
		if i.UsedBy != "" {
			until = until.Add(keepUsed)
		}
		if i.Expires.IsZero() || !now.After(until) {
			continue
		}
		if err := s.DeleteInvite(ctx, i.Hash); err != nil && !errors.Is(err, server.ErrInvite) {
			return err
		}
	}
	return nil
}
