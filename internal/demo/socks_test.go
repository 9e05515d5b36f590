package demo

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"mailproxy/internal/socks"
	"mailproxy/internal/socks/sockstest"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
)

// clientsConnected returns how many clients the gateways have.
func (w *testWorld) clientsConnected() (n int) {
	for _, nd := range w.Network.Nodes() {
		n += int(nd.Counters.Clients.Load())
	}
	return n
}

// reason returns why an account is offline, or nothing if it is not.
func (w *testWorld) reason(address string) string {
	for _, a := range w.Daemon.Status().Accounts {
		if a.Address == address && !a.Network.Connected {
			return a.Network.Reason
		}
	}
	return ""
}

// TestSOCKS has a daemon reach its gateways through a SOCKS5 proxy. All of its
// connections go there and none beside; while the proxy is down the daemon is offline,
// says why and takes mail, and afterwards sends it.
func TestSOCKS(t *testing.T) {
	t.Parallel()
	proxy, err := sockstest.Start("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	}()
	address := proxy.Address()
	through, err := socks.New(address)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) {
		c.Client = func(_ string, c *builtin.Config) { c.Open = through.DialContext }
	})
	w.send(t, Alice, Bob, "through a proxy", "can you hear me?")
	eventually(t, "delivery", func() bool { return w.delivered(Bob) == 1 })
	if here, there := w.clientsConnected(), proxy.Open(); here != 2 || there != 2 {
		t.Errorf("the gateways have %d clients, %d of them through the proxy, want both", here, there)
	}
	gateways := map[string]bool{}
	for _, g := range w.Network.Document.WithRole(directory.RoleGateway) {
		gateways[g.Address] = true
	}
	users := map[string]bool{}
	for _, r := range proxy.Requests() {
		if to := net.JoinHostPort(r.Host, strconv.Itoa(r.Port)); !gateways[to] {
			t.Errorf("the proxy was asked to connect to %s, which is no gateway", to)
		}
		if users[r.User] {
			t.Error("two connections had the same user name")
		}
		users[r.User] = true
	}

	if err := proxy.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "offline, and the reason", func() bool {
		return strings.HasPrefix(w.reason(Alice), "the SOCKS5 proxy at "+address+" does not answer; start it") && w.reason(Bob) != ""
	})
	w.send(t, Alice, Bob, "while the proxy is down", "taken all the same")
	eventually(t, "the last client to leave", func() bool { return w.clientsConnected() == 0 })
	if n := w.delivered(Bob); n != 1 {
		t.Errorf("%d mails are delivered while the proxy is down", n)
	}

	again, err := sockstest.Start(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "delivery of what had waited", func() bool { return w.delivered(Bob) == 2 })
	if here, there := w.clientsConnected(), again.Open(); here != 2 || there != 2 {
		t.Errorf("after the proxy is back, the gateways have %d clients, %d through it", here, there)
	}
}
