package wire

import (
	"context"
	"crypto/ed25519"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"mailproxy/mixnet/directory"
)

// TestDeadPeerIsNoticed checks that both sides of a link tell the system to give it
// up when the other side is silent.
func TestDeadPeerIsNoticed(t *testing.T) {
	var ends []*End
	for range 2 {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		end, err := NewEnd(key, 100, nil)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	a, b := ends[0], ends[1]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *Conn, 1)
	go func() {
		defer close(accepted)
		raw, err := l.Accept()
		if err != nil {
			return
		}
		if c, err := b.Accept(context.Background(), raw, func(directory.Key) bool { return true }); err == nil {
			accepted <- c
		}
	}()
	dialled, err := a.Dial(t.Context(), l.Addr().String(), b.Key())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	taken := <-accepted
	if taken == nil {
		t.Fatal("not accepted")
	}
	defer taken.Close()
	for side, c := range map[string]*Conn{"dialling": dialled, "accepting": taken} {
		raw, err := c.conn.NetConn().(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			if on, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); err != nil || on == 0 {
				t.Errorf("%s side: keepalive is %d, %v", side, on, err)
			}
			if ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || ms != int(deadAfter.Milliseconds()) {
				t.Errorf("%s side: the connection is given up after %d ms, %v, want %v", side, ms, err, deadAfter)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
