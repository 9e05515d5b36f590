package ports

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestOwnConnectionIsNoOthers(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("without %s: %v", address, err)
			continue
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if Others(s) {
			t.Errorf("%s: our own connection counts as another user's", address)
		}
		there, here := netip.MustParseAddrPort(s.RemoteAddr().String()), netip.MustParseAddrPort(s.LocalAddr().String())
		uid, ok := socketOwner("/proc/net/tcp", there, here)
		if !ok {
			uid, ok = socketOwner("/proc/net/tcp6", there, here)
		}
		if !ok || uid != os.Getuid() {
			t.Errorf("%s: the kernel's tables say user %d (%v), want %d", address, uid, ok, os.Getuid())
		}
	}
}

func TestSocketOwner(t *testing.T) {
	table := filepath.Join(t.TempDir(), "tcp")
	text := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:049C 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0\n" +
		"   1: 0100007F:C350 0100007F:049C 01 00000000:00000000 00:00000000 00000000  1001        0 2 1 0 20 4 0 10 -1\n" +
		"   2: 0100007F:C351 0100007F:049C 01 00000000:00000000 00:00000000 00000000  junk        0 2 1 0 20 4 0 10 -1\n" +
		"   3: short\n"
	if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	here := netip.MustParseAddrPort("127.0.0.1:1180")
	for _, c := range []struct {
		there string
		uid   int
		ok    bool
	}{{"127.0.0.1:50000", 1001, true}, {"127.0.0.1:50001", 0, false}, {"127.0.0.1:50002", 0, false}} {
		if uid, ok := socketOwner(table, netip.MustParseAddrPort(c.there), here); uid != c.uid || ok != c.ok {
			t.Errorf("%s: %d, %v, want %d, %v", c.there, uid, ok, c.uid, c.ok)
		}
	}
}
