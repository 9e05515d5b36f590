// Package wire is the link between two members of the mix network, and between
// a client and its gateway: TLS 1.3 with both ends known by their Ed25519 keys,
// carrying frames of one constant size and nothing else.
//
// The key exchange is X25519MLKEM768 only, so that a recorded wire stays closed
// to a later quantum computer. Certificates are self-signed envelopes for the
// keys; names and dates in them mean nothing. It knows nothing of Sphinx or of
// roles. mixnet's other packages and mixclient/builtin import it.
package wire

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	"mailproxy/mixnet/directory"
)

// Kinds of frame.
const (
	KindPacket byte = 1 // a Sphinx packet
	KindReply  byte = 2 // gateway to client: SURB id (16 bytes), then the reply's payload
	// KindSnapshot, gateway to client, is a piece of an epoch's snapshot.
	KindSnapshot byte = 3
	// KindFull, gateway to client, says that it serves as many clients as it may. The
	// connection ends.
	KindFull byte = 4
)

const (
	// FrameHeader is the size in bytes of a frame's kind and three zeros.
	FrameHeader = 4
	// SnapshotHeader is the size of what precedes a piece of a snapshot: epoch (8),
	// the gateway's time in Unix milliseconds (8), the piece's index, their number,
	// and this one's length (2 each).
	SnapshotHeader = 8 + 8 + 2 + 2 + 2
)

var (
	// ErrPeer is returned when the other end is not who it must be.
	ErrPeer = errors.New("peer has another key than the network document says")
	// ErrFrame is returned for a frame that no version of the protocol sends.
	ErrFrame = errors.New("malformed frame")
	// ErrLength is returned for a frame that is longer or shorter than all others.
	ErrLength = errors.New("frame of a wrong length")
	// ErrCut is returned where the connection ended within a frame.
	ErrCut = errors.New("connection ended within a frame")
)

// All bounds in time of a link. They guard against a stuck peer and are the same
// in scaled tests: no mail depends on them.
var (
	handshakeTimeout = 15 * time.Second
	writeTimeout     = 15 * time.Second
	// throughTimeout is handshakeTimeout where a connection is made by way of others:
	// Tor may have to build a circuit first.
	throughTimeout = 60 * time.Second
)

// A Tap sees each frame inside the TLS of a link, as it is sent, and may lose it:
// what it returns false for is not sent. It is for programs that measure what an
// observer would learn, or what loss does; no command sets one.
type Tap func(from, to directory.Key, frame []byte) (pass bool)

// An End is one member's side of all its links.
type End struct {
	cert  tls.Certificate
	key   directory.Key
	size  int // of a frame's body
	proto string
	tap   Tap
	open  func(ctx context.Context, network, address string) (net.Conn, error)
	wait  time.Duration // for a connection and its handshake
}

// NewEnd makes an end that is known by identity, for frames that hold bodies of
// packet bytes. tap may be nil.
func NewEnd(identity ed25519.PrivateKey, packet int, tap Tap) (*End, error) {
	cert, err := certificate(identity)
	if err != nil {
		return nil, err
	}
	e := &End{
		cert:  cert,
		size:  packet,
		proto: fmt.Sprintf("mailproxy/1/%d", packet), // both must mean the same frames
		tap:   tap,
		open:  new(net.Dialer).DialContext,
		wait:  handshakeTimeout,
	}
	copy(e.key[:], identity.Public().(ed25519.PublicKey))
	return e, nil
}

// Through has all later connections of Dial made by open, a proxy's perhaps.
func (e *End) Through(open func(ctx context.Context, network, address string) (net.Conn, error)) {
	e.open, e.wait = open, throughTimeout
}

// certificate wraps a key for TLS.
func certificate(identity ed25519.PrivateKey) (tls.Certificate, error) {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mailproxy"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 section 4.1.2.5: none
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, identity.Public(), identity)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make link certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: identity}, nil
}

// TLS returns a configuration, for either side, of connections that are no links:
// known by identity, speaking proto, with whom check allows.
func TLS(identity ed25519.PrivateKey, proto string, check func(directory.Key) error) (*tls.Config, error) {
	cert, err := certificate(identity)
	if err != nil {
		return nil, err
	}
	return config(cert, proto, check), nil
}

// Key returns the public key by which others know this end.
func (e *End) Key() directory.Key { return e.key }

// FrameSize is the size in bytes of each frame inside TLS.
func (e *End) FrameSize() int { return FrameHeader + e.size }

func (e *End) config(check func(directory.Key) error) *tls.Config {
	return config(e.cert, e.proto, check)
}

func config(cert tls.Certificate, proto string, check func(directory.Key) error) *tls.Config {
	return &tls.Config{
		Certificates:     []tls.Certificate{cert},
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		NextProtos:       []string{proto},
		ClientAuth:       tls.RequireAnyClientCert,
		ServerName:       "mailproxy",
		// The key is compared below; chains and names mean nothing here.
		InsecureSkipVerify:          true,
		SessionTicketsDisabled:      true, // a resumed session would tell two connections are one client's
		DynamicRecordSizingDisabled: true, // a frame is one record, the first as the last
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != proto {
				return fmt.Errorf("%w: it speaks %q, not %q", ErrPeer, s.NegotiatedProtocol, proto)
			}
			k, err := peerKey(s)
			if err != nil {
				return err
			}
			return check(k)
		},
	}
}

func peerKey(s tls.ConnectionState) (k directory.Key, err error) {
	if len(s.PeerCertificates) != 1 {
		return k, fmt.Errorf("%w: %d certificates", ErrPeer, len(s.PeerCertificates))
	}
	pub, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return k, fmt.Errorf("%w: not an Ed25519 key", ErrPeer)
	}
	copy(k[:], pub)
	return k, nil
}

// Dial connects to the member at address, which must prove peer.
func (e *End) Dial(ctx context.Context, address string, peer directory.Key) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.wait)
	defer cancel()
	raw, err := e.open(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := watchPeer(raw); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), raw.Close())
	}
	conn := tls.Client(raw, e.config(func(k directory.Key) error {
		if k != peer {
			return ErrPeer
		}
		return nil
	}))
	return e.handshake(ctx, conn)
}

// Accept takes over raw, an accepted connection. allow says whether a member
// with that key may connect.
func (e *End) Accept(ctx context.Context, raw net.Conn, allow func(directory.Key) bool) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := watchPeer(raw); err != nil {
		return nil, errors.Join(fmt.Errorf("take connection: %w", err), raw.Close())
	}
	conn := tls.Server(raw, e.config(func(k directory.Key) error {
		if !allow(k) {
			return fmt.Errorf("%w: not a member that may connect here", ErrPeer)
		}
		return nil
	}))
	return e.handshake(ctx, conn)
}

func (e *End) handshake(ctx context.Context, conn *tls.Conn) (*Conn, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("link handshake: %w", err), ignoreClosed(conn.Close()))
	}
	k, err := peerKey(conn.ConnectionState())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Conn{conn: conn, end: e, peer: k, out: make([]byte, e.FrameSize())}, nil
}

// ignoreClosed drops the error of closing what a failed handshake left closed.
func ignoreClosed(err error) error {
	var op *net.OpError
	if errors.Is(err, net.ErrClosed) || errors.As(err, &op) {
		return nil
	}
	return err
}

// A Conn is an open link. One goroutine may read while another writes.
type Conn struct {
	conn *tls.Conn
	end  *End
	peer directory.Key
	out  []byte // the frame being written
	in   []byte // the frame being read, and one byte

	mu     sync.Mutex // guards ending, and orders deadlines of reads
	ending time.Time  // no read waits longer; zero before Finish
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// Peer returns the key that the other end proved.
func (c *Conn) Peer() directory.Key { return c.peer }

// WriteFrame sends one frame. body may be shorter than a packet; the rest is
// zeros.
func (c *Conn) WriteFrame(kind byte, body []byte) error {
	if len(body) > c.end.size {
		return fmt.Errorf("write frame: body of %d bytes exceeds %d", len(body), c.end.size)
	}
	c.out[0] = kind
	clear(c.out[FrameHeader+copy(c.out[FrameHeader:], body):])
	if c.end.tap != nil && !c.end.tap(c.end.key, c.peer, c.out) {
		return nil
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// ReadFrame reads the next frame into buf, which holds End.FrameSize bytes, and
// returns its kind and body; the body aliases buf. A zero idle waits for ever. It
// returns ErrLength, ErrCut and ErrFrame wrapped, after which the link is of no use.
func (c *Conn) ReadFrame(buf []byte, idle time.Duration) (kind byte, body []byte, err error) {
	var deadline time.Time
	if idle > 0 {
		deadline = time.Now().Add(idle)
	}
	if err := c.readUntil(deadline); err != nil {
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	buf = buf[:c.end.FrameSize()]
	if err := c.read(buf); err != nil {
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	if buf[1]|buf[2]|buf[3] != 0 || buf[0] < KindPacket || buf[0] > KindFull {
		return 0, nil, fmt.Errorf("read frame: %w", ErrFrame)
	}
	return buf[0], buf[FrameHeader:], nil
}

// readUntil sets when the next read gives up.
func (c *Conn) readUntil(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending.IsZero() && (deadline.IsZero() || c.ending.Before(deadline)) {
		deadline = c.ending
	}
	return c.conn.SetReadDeadline(deadline)
}

// Finish tells the other end that this one will not write any more. That ends the
// connection for a Link, which then closes it behind all that it has sent; reads
// here return that, and give up after so long.
func (c *Conn) Finish(within time.Duration) error {
	c.mu.Lock()
	c.ending = time.Now().Add(within)
	err := c.conn.SetReadDeadline(c.ending)
	c.mu.Unlock()
	if half, ok := c.conn.NetConn().(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite() // no close_notify, see Close
	}
	if err != nil {
		return fmt.Errorf("finish link: %w", err)
	}
	return nil
}

// maxRecord is the most that a TLS record holds, RFC 8446 section 5.1.
const maxRecord = 1 << 14

// read fills buf with one frame: one record, or, of a frame that is longer than
// records can be, a full one and what is left. tls.Conn.Read returns no more than
// one record at a time, so that each frame's length can be seen, and not only that
// the frames after it are out of step. The one byte more shows a record that is too
// long.
func (c *Conn) read(buf []byte) error {
	if c.in == nil {
		c.in = make([]byte, len(buf)+1)
	}
	for at := 0; at < len(buf); {
		end := min(at+maxRecord, len(buf))
		n, err := c.conn.Read(c.in[at:min(end+1, at+maxRecord)])
		switch {
		case n == end-at: // an error will be there the next time too
			at = end
		case n > 0:
			return ErrLength
		case errors.Is(err, io.ErrUnexpectedEOF), at > 0 && errors.Is(err, io.EOF):
			return ErrCut
		default:
			return err
		}
	}
	copy(buf, c.in)
	return nil
}

// Close closes the link. It may be called more than once and while another
// goroutine reads or writes, which then fails.
func (c *Conn) Close() error {
	// No close_notify: what a link says when it ends is the TCP stream's end, and
	// waiting to write an alert to a stuck peer would hold up the caller.
	return c.conn.NetConn().Close()
}
