package directory

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/sphinx"
)

// TestNotice carries what a node announces, and no more than its bound.
func TestNotice(t *testing.T) {
	public, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := Node{Name: "service", Role: RoleService, Identity: Key(public)}
	doc := &Document{Nodes: []Node{n}}
	for _, size := range []int{0, 1, MaxNotice} {
		want := bytes.Repeat([]byte{7}, size)
		sd, err := NewDescriptor(identity, 5, sphinx.PublicKey{1}, want)
		if err != nil {
			t.Fatal(err)
		}
		x, err := sd.Open(doc)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x.Notice, want) {
			t.Errorf("announced %x, want %x", x.Notice, want)
		}
	}
	if _, err := NewDescriptor(identity, 5, sphinx.PublicKey{1}, make([]byte, MaxNotice+1)); err == nil {
		t.Error("a notice above the bound was signed")
	}
	for what, x := range map[string]Descriptor{
		"a notice above the bound": {Format: descriptorFormat, Node: n.ID(), Epoch: 5, Notice: make([]byte, MaxNotice+1)},
		"the format before":        {Format: descriptorFormat - 1, Node: n.ID(), Epoch: 5},
	} {
		body, err := codec.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		sd := &SignedDescriptor{Body: body, Signature: sign(identity, descriptorDomain, body)}
		if _, err := sd.Open(doc); !errors.Is(err, ErrDescriptor) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestNewestNotice is the one of the latest epoch that the node takes part in.
func TestNewestNotice(t *testing.T) {
	a, b := &Node{Name: "a", Identity: Key{1}}, &Node{Name: "b", Identity: Key{2}}
	doc := &Document{}
	v := NewViews(doc)
	if _, _, ok := v.Notice(a); ok {
		t.Error("a notice without a snapshot")
	}
	in := func(e Epoch, notice string, nodes ...*Node) {
		view := &View{Document: doc, Epoch: e, keys: map[sphinx.NodeID]*Descriptor{}}
		for _, n := range nodes {
			view.keys[n.ID()] = &Descriptor{Notice: []byte(notice)}
		}
		v.views[e] = view
	}
	in(6, "second", a, b)
	in(5, "first", a, b)
	in(7, "third", b)
	for n, want := range map[*Node]struct {
		notice string
		epoch  Epoch
	}{a: {"second", 6}, b: {"third", 7}} {
		if got, e, ok := v.Notice(n); !ok || string(got) != want.notice || e != want.epoch {
			t.Errorf("%s announces %q in %v, %v", n.Name, got, e, ok)
		}
	}
}
