package socks_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/socks"
	"mailproxy/internal/socks/sockstest"
)

// echo answers everybody with what they say, until the test ends.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// TestDial checks that names go to the proxy as they are, that no two connections show
// it the same credentials, and that what comes back is a plain TCP connection.
func TestDial(t *testing.T) {
	to := echo(t)
	p, err := sockstest.Start("127.0.0.1:0", func(string, int) string { return to })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	d, err := socks.New(p.Address())
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{"gateway.invalid:443", "abcdefghijklmnop.onion:4000", "192.0.2.7:25", "[2001:db8::1]:80"}
	for _, address := range wanted {
		c, err := d.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if _, ok := c.(*net.TCPConn); !ok {
			t.Errorf("the connection is a %T", c)
		}
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		back := make([]byte, 5)
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, back); err != nil || string(back) != "hello" {
			t.Errorf("%s: %q came back, %v", address, back, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	requests := p.Requests()
	if len(requests) != len(wanted) {
		t.Fatalf("the proxy was asked for %d connections", len(requests))
	}
	for i, r := range requests {
		host, _, err := net.SplitHostPort(wanted[i])
		if err != nil {
			t.Fatal(err)
		}
		if r.Host != host || r.Name != (net.ParseIP(host) == nil) {
			t.Errorf("the proxy was asked for %q (a name: %v), want %q", r.Host, r.Name, host)
		}
		if len(r.User) < 20 || len(r.Password) < 20 || seen[r.User] || seen[r.Password] {
			t.Errorf("credentials %q and %q are short, or were used before", r.User, r.Password)
		}
		seen[r.User], seen[r.Password] = true, true
	}
}

// TestErrors checks what a user is told of a proxy that is down, and of one that does
// not reach the gateway.
func TestErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := sockstest.Start("127.0.0.1:0", func(string, int) string { return closed })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, test := range []struct {
		proxy, says string
		down        bool
	}{
		{closed, "the SOCKS5 proxy at " + closed + " does not answer; start it", true},
		{p.Address(), "the SOCKS5 proxy at " + p.Address() + " has not connected to the gateway (unknown error connection refused)", false},
	} {
		d, err := socks.New(test.proxy)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.DialContext(t.Context(), "tcp", "gateway.invalid:443")
		var told *socks.Error
		if !errors.As(err, &told) || told.Down != test.down || !strings.HasPrefix(told.Reason(), test.says) {
			t.Errorf("%v; want %q", err, test.says)
		}
	}
}

// TestSilentProxy: a proxy that takes a connection and says nothing does not hold up
// who gives up.
func TestSilentProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := socks.New(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var told *socks.Error
	if _, err := d.DialContext(ctx, "tcp", "gateway.invalid:443"); !errors.As(err, &told) || told.Down {
		t.Errorf("%v", err)
	}
}

// TestAddress checks which addresses are taken.
func TestAddress(t *testing.T) {
	for address, good := range map[string]bool{
		"127.0.0.1:9050": true, "[::1]:9150": true, "localhost:9050": true,
		"": false, "127.0.0.1": false, ":9050": false, "127.0.0.1:0": false,
		"127.0.0.1:99999": false, "socks5://127.0.0.1:9050": false, "127.0.0.1:tor": false,
	} {
		if _, err := socks.New(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}
