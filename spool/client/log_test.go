package client

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"mailproxy/internal/codec"
	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/keylog"
)

func aliceBundle(t testing.TB) *spool.SignedBundle {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	b := &spool.Bundle{
		Format: spool.BundleFormat, Address: "alice@north.test", Version: 5, Identity: key.Public().(ed25519.PublicKey),
		Static: make([]byte, spool.StaticSize),
		Prekey: spool.Prekey{ID: make([]byte, spool.PrekeyIDSize), Public: make([]byte, spool.PrekeySize)},
	}
	s, err := b.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLookupReplies(t *testing.T) {
	c := New(nil, mixclient.Service{Provider: "north.test"}, Signing{})
	good := func() *spool.LookupReply {
		return &spool.LookupReply{Bundle: *aliceBundle(t), Index: 3, Kind: spool.LogMade, Version: 5, Proof: make([]byte, 64)}
	}
	if f, err := c.found("alice", 4, good()); err != nil || f.Record.Name != spool.HashName("alice@north.test") || f.Size != 4 {
		t.Fatalf("%+v, %v", f, err)
	}
	for what, change := range map[string]func(r *spool.LookupReply){
		"a revoked record":           func(r *spool.LookupReply) { r.Kind = spool.LogRevoked },
		"no record":                  func(r *spool.LookupReply) { r.Kind = 0 },
		"a record of a later bundle": func(r *spool.LookupReply) { r.Version = 6 },
		"a record beyond all logs":   func(r *spool.LookupReply) { r.Index = spool.MaxLogSize },
		"a proof beyond the head":    func(r *spool.LookupReply) { r.Index = 4 },
		"an endless proof":           func(r *spool.LookupReply) { r.Proof = make([]byte, keylog.MaxProof+32) },
		"a false signature":          func(r *spool.LookupReply) { r.Bundle.Signature[0] ^= 1 },
	} {
		r := good()
		change(r)
		if _, err := c.found("alice", 4, r); !errors.Is(err, ErrReply) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.found("bob", 4, good()); !errors.Is(err, ErrReply) {
		t.Errorf("another's bundle: %v", err)
	}
}

func FuzzLookupReply(f *testing.F) {
	b, err := codec.Marshal(spool.LookupReply{Bundle: *aliceBundle(f), Index: 3, Kind: spool.LogMade, Version: 5, Proof: make([]byte, 64)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(4), b)
	c := New(nil, mixclient.Service{Provider: "north.test"}, Signing{})
	f.Fuzz(func(t *testing.T, size uint64, b []byte) {
		var r spool.LookupReply
		if codec.Unmarshal(b, &r) != nil {
			return
		}
		found, err := c.found("alice", size, &r)
		if err != nil {
			if !errors.Is(err, ErrReply) {
				t.Fatal(err)
			}
			return
		}
		if err := keylog.CheckRecord(spool.LogHead{Size: size}, found.Index, found.Record, found.Proof); !errors.Is(err, keylog.ErrProof) {
			t.Fatalf("a proof leads to zeros: %v", err)
		}
	})
}

func FuzzLogReply(f *testing.F) {
	f.Add(uint64(2), uint64(3), true, spool.LogRecord{Kind: spool.LogMade}.Encode(), make([]byte, 32))
	f.Add(uint64(0), uint64(0), true, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, from, size uint64, edge bool, records, hashes []byte) {
		if from > size || size > spool.MaxLogSize {
			return // is not asked
		}
		p, err := parseLog(from, size, edge, &spool.LogReply{Records: records, Edge: hashes})
		if err != nil {
			if !errors.Is(err, ErrReply) {
				t.Fatal(err)
			}
			return
		}
		if n := uint64(len(p.Records)); n > spool.MaxLogRecords || n > size-from || n == 0 && from < size {
			t.Fatalf("%d records of %d", n, size-from)
		}
		if edge {
			tree, err := keylog.NewTree(from, p.Edge)
			if err != nil {
				t.Fatal(err)
			}
			tree.Head()
		}
	})
}
