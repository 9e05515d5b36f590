package authority

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
)

// council is a network of which the test holds all keys, with its directories.
type council struct {
	t        *testing.T
	doc      *directory.Document
	identity map[string]ed25519.PrivateKey
	listener map[string]net.Listener
	dir      map[string]string
	running  map[string]*Authority
	now      func() time.Time
}

// newCouncil makes three directories, of which two must sign, and starts none.
func newCouncil(t *testing.T, epoch time.Duration) *council {
	c := &council{
		t: t, identity: map[string]ed25519.PrivateKey{}, listener: map[string]net.Listener{},
		dir: map[string]string{}, running: map[string]*Authority{}, now: time.Now,
	}
	p := directory.DefaultParameters().Scaled(1000)
	p.Epoch = directory.Duration(epoch)
	c.doc = &directory.Document{Format: directory.Format, Network: "council", Parameters: p, SnapshotThreshold: 2}
	add := func(n directory.Node) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		pub, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		n.Operator, n.Address, n.Identity = "operator of "+n.Name, l.Addr().String(), directory.Key(pub)
		c.doc.Nodes = append(c.doc.Nodes, n)
		c.identity[n.Name], c.listener[n.Name], c.dir[n.Name] = key, l, t.TempDir()
	}
	for i := range 3 {
		add(directory.Node{Name: fmt.Sprintf("dir%d", i+1), Role: directory.RoleDirectory})
	}
	add(directory.Node{Name: "gateway", Role: directory.RoleGateway})
	for l := 1; l <= directory.Layers; l++ {
		add(directory.Node{Name: fmt.Sprintf("mix%d", l), Role: directory.RoleMix, Layer: l})
	}
	add(directory.Node{Name: "extra", Role: directory.RoleMix, Layer: 2})
	add(directory.Node{Name: "service", Role: directory.RoleService, Provider: "north.test", Services: []string{"echo", "spool"}})
	if err := c.doc.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *council) node(name string) *directory.Node {
	for i := range c.doc.Nodes {
		if c.doc.Nodes[i].Name == name {
			return &c.doc.Nodes[i]
		}
	}
	c.t.Fatalf("no node %s", name)
	return nil
}

func (c *council) start(names ...string) {
	c.t.Helper()
	for _, name := range names {
		if c.listener[name] == nil {
			l, err := net.Listen("tcp", c.node(name).Address)
			if err != nil {
				c.t.Fatal(err)
			}
			c.listener[name] = l
		}
		a, err := Start(Config{
			Document: c.doc, Identity: c.identity[name], Dir: c.dir[name], Lies: c.lies(name),
			Listener: c.listener[name], Now: c.now,
		})
		if err != nil {
			c.t.Fatal(err)
		}
		c.running[name] = a
		c.t.Cleanup(func() { c.stop(name) })
	}
}

func (c *council) stop(name string) {
	a := c.running[name]
	if a == nil {
		return
	}
	delete(c.running, name)
	c.listener[name] = nil
	if err := a.Close(); err != nil {
		c.t.Error(err)
	}
}

// lies is where a directory keeps proofs of others' lies.
func (c *council) lies(name string) string { return filepath.Join(c.dir[name], "lies") }

func (c *council) epoch() directory.Epoch { return c.doc.Parameters.EpochAt(c.now()) }

// publish makes each of the nodes publish a key for e to the directories that run.
func (c *council) publish(e directory.Epoch, names ...string) map[string]sphinx.PublicKey {
	c.t.Helper()
	keys := map[string]sphinx.PublicKey{}
	for _, name := range names {
		private, err := sphinx.NewPrivateKey(rand.Reader)
		if err != nil {
			c.t.Fatal(err)
		}
		keys[name] = private.Public()
		sd, err := directory.NewDescriptor(c.identity[name], e, private.Public(), nil)
		if err != nil {
			c.t.Fatal(err)
		}
		if taken, err := c.client(name).Publish(c.t.Context(), sd); taken != len(c.running) {
			c.t.Fatalf("%d directories took the descriptor of %s: %v", taken, name, err)
		}
	}
	return keys
}

func (c *council) client(name string) *Client {
	c.t.Helper()
	client, err := NewClient(c.doc, c.identity[name])
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// snapshot waits for the snapshot of e and returns the view that it makes.
func (c *council) snapshot(client *Client, e directory.Epoch) *directory.View {
	c.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s, err := client.Snapshot(c.t.Context(), e)
		if err == nil {
			views := directory.NewViews(c.doc)
			if _, err := views.Add(s); err != nil {
				c.t.Fatal(err)
			}
			v, err := views.At(c.doc.Parameters.EpochStart(e))
			if err != nil {
				c.t.Fatal(err)
			}
			return v
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("no snapshot of %v: %v", e, err)
		}
	}
}
