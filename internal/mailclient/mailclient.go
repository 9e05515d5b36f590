// Package mailclient writes what mail programs read to set an account up: the
// servers with their ports, Mozilla's autoconfig file, Apple's configuration profile.
//
// It opens no port and knows no account; what it is given it puts into the form that
// a program reads. proxy, cmd/mailproxy and cmd/mailspool import it.
package mailclient

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// A Protocol is what a mail program speaks with a server.
type Protocol string

// The protocols. A mail program takes one of IMAP and POP3, and SMTP.
const (
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
	SMTP Protocol = "smtp"
)

// A Security is how a connection becomes secure.
type Security string

// The securities. TLS from the start is the better one (RFC 8314 section 3).
const (
	TLS      Security = "tls"
	STARTTLS Security = "starttls"
)

// A Server is one that a mail program can be told of. User name is always the
// address, and authentication a password within TLS.
type Server struct {
	Protocol Protocol `json:"protocol"`
	Host     string   `json:"host"`
	Port     int      `json:"port"`
	Security Security `json:"security"`
}

// ErrNoServers is wrapped by the error for servers of which a mail program could
// make nothing.
var ErrNoServers = errors.New("not enough servers for a mail program")

// names are those that listeners have, the ones to prefer first.
var names = []struct {
	name     string
	protocol Protocol
	security Security
}{
	{"imaps", IMAP, TLS}, {"imap", IMAP, STARTTLS},
	{"pop3s", POP3, TLS}, {"pop3", POP3, STARTTLS},
	{"smtps", SMTP, TLS}, {"smtp", SMTP, STARTTLS},
}

// Servers returns the servers of listeners, whose addresses are by name: imap, pop3
// and smtp, and with an s at the end those with TLS from the start. One that is
// empty or missing is not offered. Of each protocol the one to prefer comes first.
func Servers(listeners map[string]string) ([]Server, error) {
	var list []Server
	for _, n := range names {
		at := listeners[n.name]
		if at == "" {
			continue
		}
		host, port, err := net.SplitHostPort(at)
		if err != nil {
			return nil, fmt.Errorf("where %s listens: %w", n.name, err)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		switch {
		case err != nil:
			return nil, fmt.Errorf("where %s listens: %q is not a port's number", n.name, port)
		case number == 0:
			return nil, fmt.Errorf("%w: %s takes another port at each start", ErrNoServers, n.name)
		}
		list = append(list, Server{n.protocol, reach(host), int(number), n.security})
	}
	return list, nil
}

// Loopback is the host that mail programs on the same computer are told. It is a
// number: "localhost" may be ::1 first, where nothing listens.
const Loopback = "127.0.0.1"

// reach returns where a program on this computer reaches a listener.
func reach(host string) string {
	if ip := net.ParseIP(host); host == "" || host == "localhost" || ip != nil && ip.IsUnspecified() {
		return Loopback
	}
	return host
}

// Defaults returns the servers of a daemon whose ports nobody has changed.
func Defaults() []Server {
	return []Server{
		{IMAP, Loopback, 1993, TLS}, {IMAP, Loopback, 1143, STARTTLS},
		{POP3, Loopback, 1995, TLS}, {POP3, Loopback, 1110, STARTTLS},
		{SMTP, Loopback, 1465, TLS}, {SMTP, Loopback, 1025, STARTTLS},
	}
}

// best returns the first server of the protocol.
func best(list []Server, p Protocol) (Server, bool) {
	for _, s := range list {
		if s.Protocol == p {
			return s, true
		}
	}
	return Server{}, false
}
