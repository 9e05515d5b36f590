package spool

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"testing"
)

func TestContactProof(t *testing.T) {
	key, service, id, block := testKey(7), ServiceOf("north.test"), ID{1}, BlockID{2}
	public := key.Public().(ed25519.PublicKey)
	p := SignContact(key, service, id, block)
	if p.Lane != LaneContacts || !VerifyContact(public, service, id, block, p.Proof) {
		t.Fatal("the proof does not verify")
	}
	// The input, put together a second time from the description.
	input := sha256.Sum256(bytes.Join([][]byte{[]byte("mailproxy/spool-append/v1\x00\x01"), service[:], id[:], block[:]}, nil))
	if !ed25519.Verify(public, input[:], p.Proof) {
		t.Error("the signature is over something else")
	}
	for what, ok := range map[string]bool{
		"service":   VerifyContact(public, ServiceOf("south.test"), id, block, p.Proof),
		"spool":     VerifyContact(public, service, ID{9}, block, p.Proof),
		"block":     VerifyContact(public, service, id, BlockID{9}, p.Proof),
		"key":       VerifyContact(testKey(8).Public().(ed25519.PublicKey), service, id, block, p.Proof),
		"no key":    VerifyContact(nil, service, id, block, p.Proof),
		"cut proof": VerifyContact(public, service, id, block, p.Proof[1:]),
	} {
		if ok {
			t.Errorf("%s: the proof verifies", what)
		}
	}
}
