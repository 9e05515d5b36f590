package directory

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"mailproxy/mixnet/sphinx"
)

// signed is a network whose keys the test holds.
type signed struct {
	t    *testing.T
	keys map[string]ed25519.PrivateKey
	doc  *Document
}

func newSigned(t *testing.T) *signed {
	s := &signed{t: t, keys: map[string]ed25519.PrivateKey{}}
	d := document(t)
	for i := range d.Nodes {
		d.Nodes[i].Identity = s.key(d.Nodes[i].Name)
	}
	s.doc = s.read(d)
	return s
}

func (s *signed) key(name string) Key {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.keys[name] = key
	return Key(pub)
}

// read gives a document the hash of its text.
func (s *signed) read(d *Document) *Document {
	s.t.Helper()
	got, err := parse(draftOf(s.t, d))
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// next returns a document that is made later and changed.
func (s *signed) next(d *Document, change func(*Document)) *Document {
	n := *d
	n.Nodes = append([]Node(nil), d.Nodes...)
	n.Made = d.Made.Add(time.Hour)
	change(&n)
	return s.read(&n)
}

// snapshot is that of an epoch under a document, with all of its nodes.
func (s *signed) snapshot(d *Document, e Epoch) *SignedSnapshot {
	s.t.Helper()
	x := Snapshot{Format: snapshotFormat, Document: d.Hash(), Epoch: e}
	for _, n := range d.Nodes {
		if n.Role == RoleDirectory {
			continue
		}
		x.Descriptors = append(x.Descriptors, *s.descriptor(n.Name, e))
	}
	body, err := x.encode(d)
	if err != nil {
		s.t.Fatal(err)
	}
	signed := &SignedSnapshot{Body: body}
	for _, n := range d.WithRole(RoleDirectory) {
		signed.Signatures = append(signed.Signatures, SignSnapshot(body, s.keys[n.Name]))
	}
	return signed
}

func (s *signed) descriptor(name string, e Epoch) *SignedDescriptor {
	sd, err := NewDescriptor(s.keys[name], e, sphinx.PublicKey{1}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return sd
}

// TestTampered alters each byte of what is signed: the sentence says whose signature
// it no longer fits.
func TestTampered(t *testing.T) {
	s := newSigned(t)
	views := NewViews(s.doc)
	snapshot := s.snapshot(s.doc, 10)
	for i := range snapshot.Body {
		bad := &SignedSnapshot{Body: bytes.Clone(snapshot.Body), Signatures: snapshot.Signatures}
		bad.Body[i] ^= 1
		if _, err := views.Add(bad); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), `the signature of directory "node5" is false`) {
			t.Fatalf("snapshot altered at byte %d: %v", i, err)
		}
	}
	for i := range snapshot.Signatures[0].Signature {
		bad := &SignedSnapshot{Body: snapshot.Body, Signatures: []Signature{snapshot.Signatures[0]}}
		bad.Signatures[0].Signature = bytes.Clone(bad.Signatures[0].Signature)
		bad.Signatures[0].Signature[i] ^= 1
		if _, err := views.Add(bad); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), `the signature of directory "node5" is false`) {
			t.Fatalf("signature of the snapshot altered at byte %d: %v", i, err)
		}
	}
	if added, err := views.Add(snapshot); !added || err != nil {
		t.Errorf("the snapshot itself: %v, %v", added, err)
	}

	good := s.descriptor("node1", 10)
	if _, err := good.Open(s.doc); err != nil {
		t.Fatal(err)
	}
	named := 0
	for i := range good.Body {
		bad := &SignedDescriptor{Body: bytes.Clone(good.Body), Signature: good.Signature}
		bad.Body[i] ^= 1
		_, err := bad.Open(s.doc)
		// Where it no longer says whose it is, no signature can be false.
		if !errors.Is(err, ErrDescriptor) || !strings.Contains(err.Error(), "signature") {
			t.Fatalf("descriptor altered at byte %d: %v", i, err)
		}
		if strings.Contains(err.Error(), `the signature of node "node1" is false`) {
			named++
		}
	}
	if named < sphinx.KeySize {
		t.Errorf("the node whose signature is false is named for %d of %d bytes", named, len(good.Body))
	}

	one, v1 := signer(t, "one")
	two, v2 := signer(t, "two")
	msg, err := Sign(s.doc, one, two)
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Index(msg, []byte("\n\n— "))
	for i := range text {
		bad := bytes.Clone(msg)
		bad[i] ^= 1
		_, err := Open(bad, Trust{Keys: []string{v1, v2}, Threshold: 2})
		if bad[i] < 0x20 { // a note has no control characters
			if !errors.Is(err, ErrDocument) {
				t.Fatalf("document altered at byte %d: %v", i, err)
			}
			continue
		}
		if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), `the signature of "one" is false: the document was altered`) {
			t.Fatalf("document altered at byte %d: %v", i, err)
		}
	}
}

func TestRenew(t *testing.T) {
	s := newSigned(t)
	more := s.next(s.doc, func(d *Document) {
		d.Nodes = append(d.Nodes, Node{Name: "new", Operator: "new", Role: RoleMix, Layer: 2, Address: "127.0.0.1:4100", Identity: s.key("new")})
	})
	views := NewViews(s.doc)
	for _, test := range []struct {
		name   string
		change func(*Document)
		says   string
	}{
		{"other network", func(d *Document) { d.Network = "another" }, `it is of network "another", the one in use of "test"`},
		{"older", func(d *Document) { d.Made = s.doc.Made.Add(-time.Second) }, "and the later one holds"},
		{"of the same second", func(d *Document) { d.Made = s.doc.Made; d.Nodes[0].Address = "127.0.0.1:1" }, "and the later one holds"},
		{"other delay and rate", func(d *Document) { d.Parameters.MixDelay *= 2; d.Parameters.ReadRate = 1 }, "it changes mix_delay, read_rate"},
		{"other epoch", func(d *Document) { d.Parameters.Epoch *= 2 }, "it changes epoch"},
	} {
		if changed, err := views.Renew(s.next(s.doc, test.change)); changed || !errors.Is(err, ErrSuccessor) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, %v, want ErrSuccessor that says %q", test.name, changed, err, test.says)
		}
	}
	if changed, err := views.Renew(s.doc); changed || err != nil {
		t.Errorf("the one in use: %v, %v", changed, err)
	}

	add := func(d *Document, e Epoch) {
		t.Helper()
		if added, err := views.Add(s.snapshot(d, e)); !added || err != nil {
			t.Fatalf("snapshot of %v: %v, %v", e, added, err)
		}
	}
	add(s.doc, 10)
	if changed, err := views.Renew(more); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if views.Document() != more {
		t.Error("the newer document is not the newest")
	}
	// The network goes on with the old one until its directories take the new.
	add(s.doc, 11)
	add(more, 12)
	for e, want := range map[Epoch]*Document{11: s.doc, 12: more} {
		v, err := views.At(s.doc.Parameters.EpochStart(e))
		if err != nil || v.Document != want {
			t.Errorf("%v is of another document: %v", e, err)
		}
	}
	if v := views.Latest(); v.Epoch != 12 || len(v.Layer(2)) != 2 {
		t.Errorf("the last view is of %v with %d mixes in layer 2", v.Epoch, len(v.Layer(2)))
	}
	add(more, 13)
	if got := len(views.Documents()); got != 2 {
		t.Errorf("%d documents are kept while the last epoch is of the old one, want 2", got)
	}
	add(more, 14)
	if got := views.Documents(); len(got) != 1 || got[0] != more {
		t.Errorf("%d documents are kept, want the newest", len(got))
	}
	_, err := views.Add(s.snapshot(s.doc, 15))
	if !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), "another network document") {
		t.Errorf("a snapshot of a document that is not in use: %v", err)
	}
}

func TestBehind(t *testing.T) {
	s := newSigned(t)
	next := s.next(s.doc, func(d *Document) { d.Nodes[1].Address = "127.0.0.1:4101" })
	views := NewViews(next)
	if views.Behind(next) || views.Behind(s.next(next, func(*Document) {})) {
		t.Error("a document that is not older is taken for one")
	}
	if !views.Behind(s.doc) {
		t.Fatal("the older document is not taken")
	}
	if added, err := views.Add(s.snapshot(s.doc, 10)); !added || err != nil {
		t.Errorf("a snapshot of the older document: %v, %v", added, err)
	}
}

func TestKeeps(t *testing.T) {
	s := newSigned(t)
	self := func(name string) ed25519.PublicKey { return s.keys[name].Public().(ed25519.PublicKey) }
	moved := s.next(s.doc, func(d *Document) { d.Nodes[1].Address = "127.0.0.1:4101" })
	if err := moved.Keeps(s.doc, self("node1")); err != nil {
		t.Errorf("a node that moves: %v", err)
	}
	for _, test := range []struct {
		name   string
		change func(*Document)
		says   string
	}{
		{"left out", func(d *Document) { d.Nodes[1].Identity = s.key("other") }, `node "node1" is not in it`},
		{"renamed", func(d *Document) { d.Nodes[1].Name = "x" }, `node "node1" is another in it`},
		{"of another layer", func(d *Document) { d.Nodes[1].Layer, d.Nodes[2].Layer = 2, 1 }, `node "node1" is another in it`},
	} {
		if err := s.next(s.doc, test.change).Keeps(s.doc, self("node1")); !errors.Is(err, ErrSuccessor) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want ErrSuccessor that says %q", test.name, err, test.says)
		}
	}
}
