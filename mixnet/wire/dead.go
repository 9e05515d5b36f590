package wire

import (
	"net"
	"time"
)

// deadAfter is when a connection is given up whose peer does not confirm what was
// sent to it: TCP by itself would try for a quarter of an hour, and pile up
// packets meanwhile, to send them all at once if the peer comes back.
const deadAfter = 15 * time.Second

// keepAlive finds a peer that is gone while nothing is sent to it.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// watchPeer makes raw end soon after its peer is gone.
func watchPeer(raw net.Conn) error {
	tcp, ok := raw.(*net.TCPConn)
	if !ok {
		return nil // not over a network
	}
	if err := tcp.SetKeepAliveConfig(keepAlive); err != nil {
		return err
	}
	return boundSilence(tcp, deadAfter)
}
