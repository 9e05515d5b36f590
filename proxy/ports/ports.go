// Package ports opens the daemon's listening sockets on loopback, and says who
// holds one that is taken. proxy, packages beneath it and cmd/mailproxy import it.
package ports

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// A TakenError says that another program has a port.
type TakenError struct {
	Address string // host:port
	Holder  string // "exim4 (process 812)", or empty if that cannot be found out
	Err     error
}

// By says who holds the port, as far as it is known.
func (e *TakenError) By() string {
	if e.Holder == "" {
		return "another program"
	}
	return e.Holder
}

// Error names the port and, where it is known, the holder.
func (e *TakenError) Error() string {
	return fmt.Sprintf("%s is taken by %s; stop it, or choose another port in the configuration", e.Address, e.By())
}

// Unwrap returns the system's error.
func (e *TakenError) Unwrap() error { return e.Err }

// Listen opens address, which must name a loopback IP address and a port: the
// listeners are for programs of this machine only. It returns a *TakenError if
// the port is taken.
func Listen(address string) (net.Listener, error) {
	ap, err := parse(address)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &TakenError{Address: address, Holder: holder(ap), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// Check returns the error that Listen has for an address on which nobody may listen. It
// opens nothing.
func Check(address string) error {
	_, err := parse(address)
	return err
}

func parse(address string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return ap, fmt.Errorf("listen on %q: not an IP address and port such as 127.0.0.1:1143", address)
	}
	if !ap.Addr().IsLoopback() {
		return ap, fmt.Errorf("listen on %q: not a loopback address; mail would be offered to the network", address)
	}
	return ap, nil
}
