//go:build linux

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// mixName is the mix that is measured.
const mixName = "mix1"

// A world is the network around the mix: nodes before it, which send, and nodes
// after it, which receive.
type world struct {
	dir     string
	doc     *directory.Document
	mix     ed25519.PrivateKey // its identity
	keyDir  string
	senders []ed25519.PrivateKey
	sinks   []*sink
	epoch   directory.Epoch // whose key packets are made for
	key     sphinx.PublicKey
}

// A sink is a node after the mix.
type sink struct {
	id       sphinx.NodeID
	key      *sphinx.PrivateKey
	end      *wire.End
	listener net.Listener
}

// newWorld makes a document, all keys, and the listeners of the nodes after the mix.
// The mix's keys of an epoch and the one before are in dir.
func newWorld(dir string, p directory.Parameters) (*world, error) {
	w := &world{dir: dir, keyDir: filepath.Join(dir, "keys")}
	d := &directory.Document{
		Format: directory.Format, Network: "one mix under load", Made: time.Now().UTC().Truncate(time.Second),
		Parameters: p, SnapshotThreshold: 1,
	}
	w.doc = d
	add := func(n directory.Node) (ed25519.PrivateKey, net.Listener, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		pub, identity, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, nil, errors.Join(err, l.Close())
		}
		n.Operator, n.Address, n.Identity = "operator of "+n.Name, l.Addr().String(), directory.Key(pub)
		d.Nodes = append(d.Nodes, n)
		return identity, l, nil
	}
	for _, n := range []directory.Node{
		{Name: "gateway1", Role: directory.RoleGateway},
		{Name: "gateway2", Role: directory.RoleGateway},
		{Name: mixName, Role: directory.RoleMix, Layer: 1},
		{Name: "mix2a", Role: directory.RoleMix, Layer: 2},
		{Name: "mix2b", Role: directory.RoleMix, Layer: 2},
		{Name: "mix3", Role: directory.RoleMix, Layer: 3},
		{Name: "service", Role: directory.RoleService, Services: []string{"echo"}},
		{Name: "directory", Role: directory.RoleDirectory}, // which does not answer
	} {
		identity, l, err := add(n)
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		switch {
		case n.Layer == 2:
			s := &sink{listener: l}
			w.sinks = append(w.sinks, s)
			if s.key, err = sphinx.NewPrivateKey(rand.Reader); err != nil {
				return nil, errors.Join(err, w.close())
			}
			if s.end, err = wire.NewEnd(identity, d.Parameters.Packet(), nil); err != nil {
				return nil, errors.Join(err, w.close())
			}
			s.id = d.Nodes[len(d.Nodes)-1].ID()
			continue
		case n.Role == directory.RoleGateway:
			w.senders = append(w.senders, identity)
		case n.Name == mixName:
			w.mix = identity
		}
		if err := l.Close(); err != nil { // the port is the mix's, or nobody's
			return nil, errors.Join(err, w.close())
		}
	}
	err := d.Check()
	if err == nil {
		err = w.makeKeys()
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// makeKeys makes the mix's keys, which it will find.
func (w *world) makeKeys() error {
	p := w.doc.Parameters
	w.epoch = p.EpochAt(time.Now()) + 1
	ring, err := keyring.Open(w.keyDir, p, func() time.Time { return p.EpochStart(w.epoch) })
	if err != nil {
		return err
	}
	_, err = ring.Public(w.epoch - 1)
	if err == nil {
		w.key, err = ring.Public(w.epoch)
	}
	return errors.Join(err, ring.Close())
}

func (w *world) close() error {
	var errs []error
	for _, s := range w.sinks {
		if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// node returns the entry of that name.
func (w *world) node(name string) *directory.Node {
	for i := range w.doc.Nodes {
		if n := &w.doc.Nodes[i]; n.Name == name {
			return n
		}
	}
	panic("there is no node " + name) // newWorld has made it
}

// dial opens the links into the mix.
func (w *world) dial(ctx context.Context) ([]*wire.Conn, error) {
	var conns []*wire.Conn
	mix := w.node(mixName)
	for _, identity := range w.senders {
		end, err := wire.NewEnd(identity, w.doc.Parameters.Packet(), nil)
		if err == nil {
			var c *wire.Conn
			if c, err = end.Dial(ctx, mix.Address, mix.Identity); err == nil {
				conns = append(conns, c)
				continue
			}
		}
		for _, c := range conns {
			_ = c.Close() // they carried nothing
		}
		return nil, fmt.Errorf("link to the mix: %w", err)
	}
	return conns, nil
}

// An arrival is when a packet came, and its header.
type arrival struct {
	at     int64 // nanoseconds after the flow began
	sink   int
	header [sphinx.HeaderSize]byte
}

// receive takes what comes to sink number i, until ctx ends.
func (w *world) receive(ctx context.Context, i int, note func(sink int, packet []byte)) error {
	s := w.sinks[i]
	raw, err := s.listener.Accept()
	if err != nil {
		return fmt.Errorf("link from the mix: %w", err)
	}
	conn, err := s.end.Accept(ctx, raw, func(k directory.Key) bool { return k == w.node(mixName).Identity })
	if err != nil {
		return fmt.Errorf("link from the mix: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buf := make([]byte, s.end.FrameSize())
	for {
		_, packet, err := conn.ReadFrame(buf, 0)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("link from the mix: %w", err)
		}
		note(i, packet)
	}
}
