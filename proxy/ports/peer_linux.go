package ports

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Others reports whether the other end of a connection on loopback is a socket of
// another user, by the kernel's tables (proc(5), /proc/net/tcp). Root may do as it
// likes anyway. What is in no table is let through: a process that can connect to
// loopback is in one, and not to be able to read them is no reason to lock the user out.
func Others(c net.Conn) bool {
	there, err1 := netip.ParseAddrPort(c.RemoteAddr().String())
	here, err2 := netip.ParseAddrPort(c.LocalAddr().String())
	if err1 != nil || err2 != nil {
		return false
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if uid, ok := socketOwner(table, there, here); ok {
			return uid != 0 && uid != os.Getuid()
		}
	}
	return false
}

// socketOwner looks in a table for the owner of the socket that is at local and
// connected to remote.
func socketOwner(table string, local, remote netip.AddrPort) (uid int, ok bool) {
	f, err := os.Open(table)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		field := strings.Fields(lines.Text())
		if len(field) < 10 {
			continue
		}
		a, ok1 := kernelAddrPort(field[1])
		b, ok2 := kernelAddrPort(field[2])
		if !ok1 || !ok2 || a != local || b != remote {
			continue
		}
		uid, err := strconv.Atoi(field[7])
		return uid, err == nil
	}
	return 0, false
}

// kernelAddrPort reads an address and a port as the kernel writes them.
func kernelAddrPort(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	a, ok := kernelAddr(host)
	return netip.AddrPortFrom(a, uint16(n)), ok && err == nil
}
