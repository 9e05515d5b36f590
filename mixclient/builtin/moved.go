package builtin

import "net"

// setLocal notes from where a connection was made; nil notes that there is none. From
// loopback, as to a proxy on this machine, it does not matter.
func (c *Client) setLocal(conn link) {
	var local net.IP
	if end, ok := conn.(interface{ LocalAddr() net.Addr }); ok {
		if a, ok := end.LocalAddr().(*net.TCPAddr); ok && a.IP != nil && !a.IP.IsLoopback() {
			local = a.IP
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.local = local
}

// moved reports whether this machine no longer has the address from which the connection
// was made: nothing comes back to it any more, and TCP would notice a quarter of a minute
// later. Where the system does not say which addresses there are, nothing is known.
func (c *Client) moved() bool {
	c.mu.Lock()
	local := c.local
	c.mu.Unlock()
	if local == nil {
		return false
	}
	list, err := c.addresses()
	if err != nil {
		return false
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(local) {
			return false
		}
	}
	return true
}
