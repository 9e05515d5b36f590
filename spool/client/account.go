package client

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"mailproxy/spool"
)

// Access gives the read key's spool its append key. It may be repeated; another key
// needs a higher version.
func (c *Client) Access(ctx context.Context, read ed25519.PrivateKey, key ed25519.PublicKey, version uint64) error {
	auth, err := c.auth()
	if err != nil {
		return fmt.Errorf("publish append key: %w", err)
	}
	r := &spool.Access{AppendKey: key, Version: version, Auth: auth}
	r.Sign(spool.ServiceOf(c.svc.Provider), read)
	if _, err := c.ask(ctx, r, new(spool.Empty)); err != nil {
		return fmt.Errorf("publish append key: %w", err)
	}
	return nil
}

// Revoke takes the identity of a name back for good, and with erase removes the
// spool and what is in it. It may be repeated.
func (c *Client) Revoke(ctx context.Context, identity ed25519.PrivateKey, name string, id spool.ID, erase bool) error {
	auth, err := c.auth()
	if err != nil {
		return fmt.Errorf("revoke identity: %w", err)
	}
	r := &spool.Revoke{Name: name, Spool: id, Erase: erase, Auth: auth}
	r.Sign(spool.ServiceOf(c.svc.Provider), identity)
	if _, err := c.ask(ctx, r, new(spool.Empty)); err != nil {
		return fmt.Errorf("revoke identity: %w", err)
	}
	return nil
}
