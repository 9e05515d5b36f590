package builtin

import (
	"fmt"

	"mailproxy/mixnet/directory"
)

// Reload takes up a newer network document while the client runs; its connection,
// its processes and the queries under way go on. It reports false for the document
// that is in use, and refuses with an error that wraps directory.ErrSuccessor one
// with which it cannot go on; then nothing has changed.
func (c *Client) Reload(d *directory.Document) (changed bool, err error) {
	next := d.Node(c.gateway.ID())
	if next == nil || next.Role != directory.RoleGateway || next.Name != c.gateway.Name {
		return false, fmt.Errorf("%w: gateway %q is not in it; start this program anew with another gateway", directory.ErrSuccessor, c.gateway.Name)
	}
	if changed, err = c.views.Renew(d); err != nil || !changed {
		return false, err
	}
	c.address.Store(&next.Address)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = false
	c.refresh()
	return true, nil
}
