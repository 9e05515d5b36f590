// Package client asks a spool service: it builds, signs and sends the requests of
// package spool through a mixclient.Network and reads the replies.
//
// It decides nothing: when to try again, which keys to trust and what a block
// means is for those above, proxy and its packages, which alone import it. All
// its requests are idempotent, so whoever met a lost packet may ask again. The
// reads of one's own spool do not go through Query: a Reader fills the slots of
// the network's read process.
package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"mailproxy/mixclient"
	"mailproxy/spool"
)

// expiry is how long a request is good: half of spool.MaxExpiry, so that the
// clocks may differ by as much in either direction.
const expiry = spool.MaxExpiry / 2

// Signing is what requests need beside a key.
type Signing struct {
	// Instance is this installation's: random, and kept with the account.
	Instance spool.Instance
	// Nonce returns a number greater than all it returned before, also before a
	// restart. It must return at once and may be called from several goroutines.
	Nonce func() uint64
	Now   func() time.Time // nil: time.Now
}

func (s Signing) auth(now time.Time) spool.Auth {
	return spool.Auth{Instance: s.Instance, Nonce: s.Nonce(), Expiry: now.Add(expiry).Unix()}
}

func (s Signing) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// A Client asks one service. Its methods may be called from any goroutine; they
// return what mixclient.Network.Query returns when no reply came.
type Client struct {
	net     mixclient.Network
	svc     mixclient.Service
	signing Signing
}

// New returns a client of svc. Signing may be empty for one that only looks up
// and appends.
func New(net mixclient.Network, svc mixclient.Service, signing Signing) *Client {
	return &Client{net: net, svc: svc, signing: signing}
}

func (c *Client) ask(ctx context.Context, r spool.Request, reply any) (spool.Status, error) {
	b, err := spool.EncodeRequest(r)
	if err != nil {
		return 0, err
	}
	raw, err := c.net.Query(ctx, c.svc, b)
	if err != nil {
		return 0, err
	}
	return spool.DecodeReply(raw, reply)
}

func (c *Client) auth() (spool.Auth, error) {
	if c.signing.Nonce == nil {
		return spool.Auth{}, errors.New("client has no nonces to sign with")
	}
	return c.signing.auth(c.signing.now()), nil
}

// Register gives the bundle's address the spool whose read key is given. It may
// be repeated, and with a higher version it replaces the bundle. invite is the code
// of an invitation, nil for none.
func (c *Client) Register(ctx context.Context, identity, read ed25519.PrivateKey, bundle *spool.SignedBundle, invite []byte) error {
	auth, err := c.auth()
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	r := &spool.Register{Bundle: *bundle, Auth: auth, Invite: invite}
	r.Sign(spool.ServiceOf(c.svc.Provider), identity, read)
	if _, err := c.ask(ctx, r, new(spool.Empty)); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	return nil
}

// Replace publishes a bundle of a higher version under a name that the identity
// has. It may be repeated.
func (c *Client) Replace(ctx context.Context, identity ed25519.PrivateKey, bundle *spool.SignedBundle) error {
	auth, err := c.auth()
	if err != nil {
		return fmt.Errorf("replace key bundle: %w", err)
	}
	b, err := bundle.Open()
	if err != nil {
		return fmt.Errorf("replace key bundle: %w", err)
	}
	r := &spool.Replace{Bundle: *bundle, Auth: auth}
	r.Sign(spool.ServiceOf(c.svc.Provider), b.Spool, identity)
	if _, err := c.ask(ctx, r, new(spool.Empty)); err != nil {
		return fmt.Errorf("replace key bundle: %w", err)
	}
	return nil
}

// Append puts a block of spool.BlockSize bytes into a spool, by the open lane if
// lane is nil. When it returns nil the block is on the service's disk, or was
// there before (known).
func (c *Client) Append(ctx context.Context, id spool.ID, block []byte, lane *spool.LaneProof) (known bool, err error) {
	status, err := c.ask(ctx, &spool.Append{Spool: id, Block: block, Lane: lane}, new(spool.Empty))
	if err != nil {
		return false, fmt.Errorf("append block: %w", err)
	}
	return status == spool.StatusKnown, nil
}

// NextRead returns the bytes of a read: it trims the key's spool up to cursor and
// asks for the block want. Reader does so at each slot.
func NextRead(svc mixclient.Service, read ed25519.PrivateKey, signing Signing, now time.Time, cursor, want uint64) ([]byte, error) {
	r := &spool.Read{Cursor: cursor, Want: want, Auth: signing.auth(now)}
	r.Sign(spool.ServiceOf(svc.Provider), read)
	b, err := spool.EncodeRequest(r)
	if err != nil {
		return nil, fmt.Errorf("build read: %w", err)
	}
	return b, nil
}

// ParseRead reads the reply to a read with this cursor.
func ParseRead(reply []byte, cursor uint64) (*spool.ReadReply, error) {
	var r spool.ReadReply
	if _, err := spool.DecodeReply(reply, &r); err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	if err := r.Check(cursor); err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	return &r, nil
}
