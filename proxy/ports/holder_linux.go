package ports

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// holder finds who listens on ap or on the same port of all addresses. It sees
// processes of the same user only, unless it runs as root.
func holder(ap netip.AddrPort) string {
	inode := listenerInode("/proc/net/tcp", ap)
	if inode == "" {
		inode = listenerInode("/proc/net/tcp6", ap)
	}
	if inode == "" {
		return ""
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			return "process " + pid
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
	}
	return "a program of another user"
}

// listenerInode looks in a table of the kernel (proc(5), /proc/net/tcp) for the
// socket that listens on ap.
func listenerInode(table string, ap netip.AddrPort) string {
	f, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		field := strings.Fields(lines.Text())
		const listening = "0A"
		if len(field) < 10 || field[3] != listening {
			continue
		}
		host, port, ok := strings.Cut(field[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); !ok || err != nil || uint16(n) != ap.Port() {
			continue
		}
		addr, ok := kernelAddr(host)
		if ok && (addr == ap.Addr() || addr.IsUnspecified()) {
			return field[9]
		}
	}
	return ""
}

// kernelAddr reads an address as the kernel writes it: hexadecimal words of four
// bytes, each in the machine's byte order, here little endian.
func kernelAddr(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b)%4 != 0 {
		return netip.Addr{}, false
	}
	for w := range slices.Chunk(b, 4) {
		slices.Reverse(w)
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}
