//go:build !observer_cover_off

package builtin

import (
	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
)

// loop makes a query to an echo service: cover like any other query.
func (c *Client) loop(v *directory.View, count *uint64) *flight {
	echoes := echoesOf(v)
	body := make([]byte, c.Limits().Request)
	f, err := c.flight(v, echoes[c.seed.intn(len(echoes))], mixclient.KindEcho, body)
	if err != nil {
		c.log.Error("network client: cannot make a loop", "err", err)
		return nil
	}
	f.cover, f.count = true, count
	f.done = func([]byte, mixclient.Timing, error) {}
	return f
}
