package proxy

import (
	"context"
	"net"

	"mailproxy/internal/socks"
)

// Dialer returns what makes all connections that leave this computer, where the
// configuration names a SOCKS5 proxy, and nil where it names none. Whoever fetches
// something for the daemon uses it.
func (c NetworkConfig) Dialer() (func(ctx context.Context, network, address string) (net.Conn, error), error) {
	if c.SOCKS5 == "" {
		return nil, nil
	}
	d, err := socks.New(c.SOCKS5)
	if err != nil {
		return nil, err
	}
	return d.DialContext, nil
}
