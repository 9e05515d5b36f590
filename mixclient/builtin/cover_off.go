//go:build observer_cover_off

package builtin

import "mailproxy/mixnet/directory"

// loop makes none: a client built with this tag sends only what it has to send. It
// is broken on purpose, for contrib/measure/observer, which must be able to tell;
// no program that is given to anyone is built so.
func (c *Client) loop(*directory.View, *uint64) *flight { return nil }
