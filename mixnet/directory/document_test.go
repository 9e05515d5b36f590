package directory

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

func key(t testing.TB) Key {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Key(pub)
}

// document is a small network that is right.
func document(t testing.TB) *Document {
	d := &Document{Format: Format, Network: "test", Made: time.Unix(1700000000, 0).UTC(), Parameters: DefaultParameters(), SnapshotThreshold: 1}
	add := func(n Node) {
		n.Name, n.Address = fmt.Sprintf("node%d", len(d.Nodes)), fmt.Sprintf("127.0.0.1:%d", 4000+len(d.Nodes))
		n.Identity = key(t)
		if n.Operator == "" {
			n.Operator = "operator of " + n.Name
		}
		d.Nodes = append(d.Nodes, n)
	}
	add(Node{Role: RoleGateway})
	for l := 1; l <= Layers; l++ {
		add(Node{Role: RoleMix, Layer: l})
	}
	add(Node{Role: RoleService, Provider: "north.test", Services: []string{"echo", "spool"}})
	add(Node{Role: RoleDirectory})
	return d
}

func signer(t testing.TB, name string) (skey, vkey string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	return skey, vkey
}

func TestSignAndOpen(t *testing.T) {
	d := document(t)
	s1, v1 := signer(t, "one")
	s2, v2 := signer(t, "two")
	_, v3 := signer(t, "three")
	msg, err := Sign(d, s1, s2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Open(msg, Trust{Keys: []string{v1, v2, v3}, Threshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Nodes) != len(d.Nodes) || got.Nodes[4].Provider != "north.test" || got.Parameters != d.Parameters || got.Nodes[0].Identity != d.Nodes[0].Identity {
		t.Errorf("document changed on its way:\n%+v\n%+v", got, d)
	}
	if v, err := VerifierKey(s1); err != nil || v != v1 {
		t.Errorf("verifier key of a signer: %q, %v, want %q", v, err, v1)
	}

	for _, test := range []struct {
		name  string
		msg   []byte
		trust Trust
		want  error
		says  string
	}{
		{"too few", msg, Trust{Keys: []string{v1, v3}, Threshold: 2}, ErrUntrusted, "1 of 2 needed"},
		{"nobody trusted", msg, Trust{Keys: []string{v3}, Threshold: 1}, ErrUntrusted, "none of the 1 trusted"},
		{"altered", []byte(strings.Replace(string(msg), "400ms", "401ms", 1)), Trust{Keys: []string{v1, v2}, Threshold: 2}, ErrUntrusted, "altered"},
		{"signed twice by one", append(append([]byte(nil), msg...), lastLine(msg)...), Trust{Keys: []string{v2, v3}, Threshold: 2}, ErrUntrusted, "1 of 2 needed"},
		{"no note", []byte("hello\n"), Trust{Keys: []string{v1}, Threshold: 1}, ErrDocument, ""},
		{"empty", nil, Trust{Keys: []string{v1}, Threshold: 1}, ErrDocument, ""},
		{"cut", msg[:len(msg)/2], Trust{Keys: []string{v1}, Threshold: 1}, ErrDocument, ""},
		{"huge", make([]byte, maxDocument+1), Trust{Keys: []string{v1}, Threshold: 1}, ErrDocument, "limit"},
		{"no threshold", msg, Trust{Keys: []string{v1}}, nil, "threshold of 0"},
		{"one key listed twice", msg, Trust{Keys: []string{v1, v1}, Threshold: 2}, nil, "twice"},
		{"key is none", msg, Trust{Keys: []string{"key"}, Threshold: 1}, nil, "trusted key"},
	} {
		_, err := Open(test.msg, test.trust)
		if err == nil || (test.want != nil && !errors.Is(err, test.want)) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want %v that says %q", test.name, err, test.want, test.says)
		}
	}
}

func lastLine(b []byte) []byte {
	lines := strings.SplitAfter(string(b), "\n")
	return []byte(lines[len(lines)-2])
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*Document)
		says  string
	}{
		{"format", func(d *Document) { d.Format = 2 }, "another release"},
		{"name", func(d *Document) { d.Network = "" }, "no name"},
		{"delay", func(d *Document) { d.Parameters.MixDelay = 0 }, "mix_delay"},
		{"rate", func(d *Document) { d.Parameters.ReadRate = 0 }, "rate"},
		{"rate that is no number", func(d *Document) { d.Parameters.LoopRate = math.NaN() }, "rate"},
		{"request", func(d *Document) { d.Parameters.Request = 100 }, "request"},
		{"layer missing", func(d *Document) { d.Nodes[2].Layer = 1 }, "layer 2 has no mix"},
		{"layer too high", func(d *Document) { d.Nodes[2].Layer = 4 }, "layer 4"},
		{"role", func(d *Document) { d.Nodes[1].Role = "king" }, "king"},
		{"address", func(d *Document) { d.Nodes[1].Address = "127.0.0.1" }, "host:port"},
		{"port", func(d *Document) { d.Nodes[1].Address = "127.0.0.1:0" }, "host:port"},
		{"operator missing", func(d *Document) { d.Nodes[1].Operator = "" }, "operator"},
		{"identity twice", func(d *Document) { d.Nodes[1].Identity = d.Nodes[0].Identity }, "one identity key"},
		{"provider missing", func(d *Document) { d.Nodes[4].Provider = "" }, "no provider"},
		{"echo missing", func(d *Document) { d.Nodes[4].Services = []string{"spool"} }, "echo"},
		{"both ends of a path", func(d *Document) { d.Nodes[4].Operator = d.Nodes[0].Operator }, "both ends"},
		{"directory missing", func(d *Document) { d.Nodes = d.Nodes[:5] }, "directory"},
		{"too few signatures for a majority", func(d *Document) { d.SnapshotThreshold = 0 }, "snapshot_threshold 0"},
		{"more signatures than directories", func(d *Document) { d.SnapshotThreshold = 2 }, "snapshot_threshold 2"},
		{"epoch", func(d *Document) { d.Parameters.Epoch = Duration(time.Second) }, "epoch 1s"},
		{"provider twice", func(d *Document) {
			n := d.Nodes[4]
			n.Name, n.Identity = "again", key(t)
			d.Nodes = append(d.Nodes, n)
		}, "one provider"},
	} {
		d := document(t)
		test.spoil(d)
		if err := d.Check(); !errors.Is(err, ErrDocument) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want ErrDocument that says %q", test.name, err, test.says)
		}
	}
	if err := document(t).Check(); err != nil {
		t.Error(err)
	}
}

// TestDefaultsAreTheDesigns pins what users were told: the traffic of a client
// and the room for a block of 8 KiB.
func TestDefaultsAreTheDesigns(t *testing.T) {
	p := DefaultParameters()
	if day := p.Rate() * 86400 * float64(p.Packet()); day < 1.15e9 || day > 1.3e9 {
		t.Errorf("a client sends %.3g bytes a day, want about 1.2 GB", day)
	}
	if p.Request-8192 < 256 {
		t.Errorf("a request has room for %d bytes beside a block", p.Request-8192)
	}
	s := p.Scaled(100)
	if time.Duration(s.MixDelay) != 4*time.Millisecond || math.Abs(s.Rate()-100*p.Rate()) > 1e-9 {
		t.Errorf("scaled parameters: %+v", s)
	}
}

func FuzzOpen(f *testing.F) {
	s, v := signer(f, "fuzz")
	msg, err := Sign(document(f), s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Add([]byte("format = 1\n\n— fuzz AAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := Open(b, Trust{Keys: []string{v}, Threshold: 1}); err == nil && d.Check() != nil {
			t.Error("an invalid document was opened")
		}
		// What is inside is parsed only when it is signed; it must hold all the same.
		if d, err := parse(b); err == nil && d.Check() != nil {
			t.Error("an invalid document was parsed")
		}
	})
}
