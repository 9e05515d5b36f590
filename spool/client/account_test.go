package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// listening is a network that keeps the request and has one answer.
type listening struct {
	mixclient.Network
	reply []byte
	asked spool.Request
}

func (l *listening) Query(_ context.Context, _ mixclient.Service, request []byte) ([]byte, error) {
	r, _, status := spool.DecodeRequest(append(request, make([]byte, 9)...))
	if status != spool.StatusOK {
		return nil, status
	}
	l.asked = r
	return l.reply, nil
}

func answer(t *testing.T, s spool.Status) []byte {
	t.Helper()
	b, err := spool.EncodeReply(s, spool.Empty{})
	if !s.Success() {
		b, err = spool.EncodeRefused(spool.Refused{Status: s, Time: time.Unix(1, 0)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAccountRequests(t *testing.T) {
	identity := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	read := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	service, other := spool.ServiceOf("north.test"), spool.ServiceOf("south.test")
	n := &listening{reply: answer(t, spool.StatusOK)}
	var nonce uint64
	c := client.New(n, north, client.Signing{Nonce: func() uint64 { nonce++; return nonce }})

	if err := c.Access(t.Context(), read, key, 3); err != nil {
		t.Fatal(err)
	}
	if a, ok := n.asked.(*spool.Access); !ok || !a.Verify(service) || a.Verify(other) || a.Version != 3 || !bytes.Equal(a.AppendKey, key) {
		t.Errorf("asked %+v", n.asked)
	}
	id := spool.IDOf(read.Public().(ed25519.PublicKey))
	if err := c.Revoke(t.Context(), identity, "alice", id, true); err != nil {
		t.Fatal(err)
	}
	if r, ok := n.asked.(*spool.Revoke); !ok || !r.Verify(service, identity.Public().(ed25519.PublicKey)) || !r.Erase || r.Name != "alice" || r.Spool != id {
		t.Errorf("asked %+v", n.asked)
	}
	if n.asked.(*spool.Revoke).Auth.Nonce != 2 {
		t.Error("a nonce was used twice")
	}

	for status, temporary := range map[spool.Status]bool{spool.StatusStale: false, spool.StatusRevoked: false, spool.StatusSuspended: true, spool.StatusBusy: true} {
		n.reply = answer(t, status)
		if err := c.Access(t.Context(), read, key, 3); !errors.Is(err, status) || client.IsTemporary(err) != temporary {
			t.Errorf("access: %v, want %v, temporary %v", err, status, temporary)
		}
		if err := c.Revoke(t.Context(), identity, "alice", id, false); !errors.Is(err, status) {
			t.Errorf("revoke: %v, want %v", err, status)
		}
	}
	nobody := client.New(n, north, client.Signing{})
	if nobody.Access(t.Context(), read, key, 3) == nil || nobody.Revoke(t.Context(), identity, "alice", id, true) == nil {
		t.Error("a request was signed without a nonce")
	}
}

// TestRegisterShowsTheInvitation checks that the code is in the request.
func TestRegisterShowsTheInvitation(t *testing.T) {
	w := &world{
		identity: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)),
		read:     ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize)),
	}
	n := &listening{reply: answer(t, spool.StatusInvite)}
	c := client.New(n, north, client.Signing{Nonce: func() uint64 { return 1 }})
	err := c.Register(t.Context(), w.identity, w.read, w.bundle(t, 1), []byte("code"))
	if !errors.Is(err, client.ErrInvite) || client.IsTemporary(err) {
		t.Errorf("register: %v", err)
	}
	if r, ok := n.asked.(*spool.Register); !ok || string(r.Invite) != "code" {
		t.Errorf("asked %+v", n.asked)
	}
}
