package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/wire"
)

// saying says something to a front end and returns all that it answers.
func saying(protocol, text string) func(*testing.T, *badPlace) string {
	return func(t *testing.T, p *badPlace) string { return p.say(t, protocol, text) }
}

func (p *badPlace) say(t *testing.T, protocol, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", p.Daemon.Address(protocol).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go func() {
		// The other side may close before it has read all; what it says is read.
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Logf("the connection ended: %v", err)
	}
	return string(answer)
}

// loggedIn says something by SMTP after alice's login.
func loggedIn(text string) func(*testing.T, *badPlace) string {
	return func(t *testing.T, p *badPlace) string {
		return p.say(t, "smtp", "EHLO x\r\nAUTH PLAIN "+plain(demo.Alice, p.Accounts[0].Password)+"\r\n"+text+"QUIT\r\n")
	}
}

const envelope = "MAIL FROM:<" + demo.Alice + ">\r\nRCPT TO:<" + demo.Bob + ">\r\nDATA\r\n"

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// garbage returns n bytes that are the same each time, and a line's end.
func garbage(n int) string {
	b := make([]byte, n)
	r := mathrand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return string(b) + "\r\n"
}

// tlsHello begins TLS on a port for STARTTLS, as a mail program with the wrong
// setting does, and returns what comes instead of TLS.
func tlsHello(protocol string) func(*testing.T, *badPlace) string {
	return func(t *testing.T, p *badPlace) string {
		var hello bytes.Buffer
		c := tls.Client(&sink{&hello}, &tls.Config{ServerName: "localhost"})
		if err := c.Handshake(); err == nil {
			t.Fatal("TLS with nobody")
		}
		return p.say(t, protocol, hello.String())
	}
}

// A sink is a connection that keeps what is written and has nothing to read.
type sink struct{ w io.Writer }

func (s *sink) Write(b []byte) (int, error)      { return s.w.Write(b) }
func (s *sink) Read([]byte) (int, error)         { return 0, io.EOF }
func (s *sink) Close() error                     { return nil }
func (s *sink) LocalAddr() net.Addr              { return nil }
func (s *sink) RemoteAddr() net.Addr             { return nil }
func (s *sink) SetDeadline(time.Time) error      { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// nodeGarbage writes bytes to every node's port that are no TLS.
func nodeGarbage(t *testing.T, p *badPlace) string {
	for name, n := range p.Network.Nodes() {
		before := n.Counters.Refused.Load()
		conn, err := net.Dial("tcp", n.Entry().Address)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, garbage(3000)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s keeps the connection", name)
		}
		if len(answer) > 16 { // a TLS alert
			t.Errorf("%s answers %q", name, answer)
		}
		_ = conn.Close() // closed by the node
		eventually(t, func() bool { return n.Counters.Refused.Load() > before })
	}
	return "all closed, all counted"
}

func strangersEnd(t *testing.T, p *badPlace) *wire.End {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	end, err := wire.NewEnd(key, p.Network.Document.Parameters.Packet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// nodeStranger opens links with a key that is in no document.
func nodeStranger(t *testing.T, p *badPlace) string {
	end := strangersEnd(t, p)
	for name, n := range p.Network.Nodes() {
		d := n.Entry()
		if d.Role == directory.RoleGateway {
			continue // which is there for strangers
		}
		before := n.Counters.Refused.Load()
		conn, err := end.Dial(t.Context(), d.Address, d.Identity)
		if err == nil { // the client's half of TLS 1.3 is done before the node has seen its key
			_, _, err = conn.ReadFrame(make([]byte, end.FrameSize()), patience)
			_ = conn.Close() // closed by the node
		}
		if err == nil {
			t.Errorf("%s talks to a stranger", name)
		}
		eventually(t, func() bool { return n.Counters.Refused.Load() > before })
	}
	return "all refused, all counted"
}

// gatewayGarbage sends a gateway what it cannot use, on a good link.
func gatewayGarbage(t *testing.T, p *badPlace) string {
	said := ""
	g := p.Network.Document.WithRole(directory.RoleGateway)[0]
	n := p.Network.Nodes()[g.Name]
	end := strangersEnd(t, p)
	conn, err := end.Dial(t.Context(), g.Address, g.Identity)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	bad := func() uint64 { return n.Counters.BadVersion.Load() + n.Counters.BadMAC.Load() }
	before := bad()
	if err := conn.WriteFrame(wire.KindPacket, []byte(garbage(5000))); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return bad() > before })
	said += "packet counted\n"
	before = n.Counters.BadFrame.Load()
	if err := conn.WriteFrame(wire.KindReply, nil); err != nil { // which only a gateway sends
		t.Fatal(err)
	}
	for err = error(nil); err == nil; { // what the gateway tells all its clients may come first
		_, _, err = conn.ReadFrame(make([]byte, end.FrameSize()), patience)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the gateway goes on: %v", err)
	}
	eventually(t, func() bool { return n.Counters.BadFrame.Load() > before })
	return said + "frame counted, connection closed"
}
