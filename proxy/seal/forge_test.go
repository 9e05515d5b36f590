package seal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
)

// TestSenderCannotBeForged lets Mallory, who holds all of her own keys and all
// public ones, try to send as Alice.
func TestSenderCannotBeForged(t *testing.T) {
	alice, bob, mallory := newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "mallory")
	forge := func(change func(s *Sealer)) error {
		t.Helper()
		s, err := New(mail([]byte("send money")), mallory.sender(), bob.bundle)
		if err != nil {
			t.Fatal(err)
		}
		change(s)
		body, err := s.payload.encode()
		if err != nil {
			t.Fatal(err)
		}
		s.noiseSize = len(body) + noiseOverhead
		block, err := firstBlock(s)
		if err != nil {
			t.Fatal(err)
		}
		_, err = AssembleParts(bob.Recipient, 100, openAll(t, [][]byte{block}, bob.Recipient))
		return err
	}
	if err := forge(func(*Sealer) {}); err != nil {
		t.Fatalf("nothing forged: %v", err)
	}
	tests := []struct {
		name   string
		change func(s *Sealer)
		want   error
	}{
		{"alice's bundle and address", func(s *Sealer) { s.payload.Address, s.payload.Bundle = alice.Address, alice.signed }, ErrSender},
		{"alice's address over mallory's bundle", func(s *Sealer) { s.payload.Address = alice.Address }, ErrSender},
		{"bundle with alice's address, signed by another", func(s *Sealer) {
			b := *mallory.bundle
			b.Address, b.Identity = alice.Address, mallory.Identity
			signed, err := b.Sign(mallory.identity)
			if err != nil {
				t.Fatal(err)
			}
			signed.Body = bytes.Replace(signed.Body, mallory.Identity, alice.Identity, 1)
			s.payload.Address, s.payload.Bundle = alice.Address, signed
		}, ErrSender},
		{"alice's public static key with mallory's private", func(s *Sealer) {
			s.from.Static = StaticKey{Private: mallory.Static.Private, Public: alice.Static.Public}
			s.payload.Address, s.payload.Bundle = alice.Address, alice.signed
		}, ErrSender},
		{"no bundle", func(s *Sealer) { s.payload.Bundle = nil }, ErrMalformed},
		{"address not canonical", func(s *Sealer) {
			b := *mallory.bundle
			b.Address = "Mallory@north.test"
			signed, err := b.Sign(mallory.identity)
			if err != nil {
				t.Fatal(err)
			}
			s.payload.Address, s.payload.Bundle = b.Address, signed
		}, ErrSender},
		{"another hash", func(s *Sealer) { s.payload.Hash = random(32) }, ErrContent},
		{"larger size", func(s *Sealer) { s.payload.Size++ }, ErrContent},
		{"smaller size", func(s *Sealer) { s.payload.Size-- }, ErrContent},
		{"size beyond the limit", func(s *Sealer) { s.payload.Size = 1 << 60 }, ErrTooLarge},
		{"unknown coding", func(s *Sealer) { s.payload.Coding = 9 }, ErrVersion},
		{"raw said to be compressed", func(s *Sealer) { s.payload.Coding = codingZstd }, ErrContent},
		{"no kind", func(s *Sealer) { s.payload.Kind = 0 }, ErrMalformed},
		{"another version", func(s *Sealer) { s.payload.Version = 2 }, ErrVersion},
		{"more blocks than n", func(s *Sealer) { s.payload.Count = MaxBlocks }, ErrParts},
	}
	for _, tt := range tests {
		if err := forge(tt.change); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestNoiseMessageCannotBeMoved takes the sender's message out of one block, as
// its recipient can, and puts it elsewhere.
func TestNoiseMessageCannotBeMoved(t *testing.T) {
	alice, bob, carol := newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "carol")
	blocks, err := Seal(mail([]byte("x")), alice.sender(), bob.bundle)
	if err != nil {
		t.Fatal(err)
	}
	part := openAll(t, blocks, bob.Recipient)[0]

	moved := *part
	moved.EncHash = sha256.Sum256([]byte("another block"))
	if _, err := Authenticate(bob.Recipient, &moved); !errors.Is(err, ErrSender) {
		t.Errorf("in another block: %v", err)
	}
	if _, err := Authenticate(carol.Recipient, part); !errors.Is(err, ErrSender) {
		t.Errorf("to another recipient: %v", err)
	}
	moved = *part
	moved.PrekeyID = random(8)
	if _, err := Authenticate(bob.Recipient, &moved); !errors.Is(err, ErrSender) {
		t.Errorf("to another prekey: %v", err)
	}
	moved = *part
	moved.ID[0]++
	if _, err := Authenticate(bob.Recipient, &moved); !errors.Is(err, ErrSender) {
		t.Errorf("under another message id: %v", err)
	}
	moved = *part
	moved.Count++
	if _, err := Authenticate(bob.Recipient, &moved); !errors.Is(err, ErrSender) {
		t.Errorf("with another n: %v", err)
	}
	moved = *part
	moved.Index = 1
	if _, err := Authenticate(bob.Recipient, &moved); !errors.Is(err, ErrParts) {
		t.Errorf("as part 1: %v", err)
	}
}
