package wire

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// boundSilence ends the connection when what was sent stays unconfirmed for so long
// (RFC 5482, tcp(7): TCP_USER_TIMEOUT).
func boundSilence(tcp *net.TCPConn, after time.Duration) error {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return set
}
