package sphinx

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cloudflare/circl/dh/x25519"
)

// follow unwraps a packet from hop `from` on and returns the hop that refused it,
// with its error, or len(keys) and what OpenReply says.
func follow(packet []byte, keys []*PrivateKey, from int, surb SURBKeys) (int, error) {
	for i := from; i < len(keys); i++ {
		u, err := keys[i].Unwrap(packet)
		if err != nil {
			return i, err
		}
		if u.IsReply {
			_, err := surb.OpenReply(u.Payload)
			return len(keys), err
		}
	}
	return len(keys), nil
}

// TestEveryByteFlipped changes each byte of a packet before a hop: a changed
// header is refused by that hop, a changed payload at the end.
func TestEveryByteFlipped(t *testing.T) {
	r := rand.NewChaCha8([32]byte{12})
	for _, reply := range []bool{false, true} {
		path, keys := randomPath(t, r, MaxHops, reply)
		payload := make([]byte, 70)
		var packet []byte
		var surbKeys SURBKeys
		var err error
		if reply {
			var surb []byte
			if surb, surbKeys, err = NewSURB(r, path); err == nil {
				packet, _, err = PacketFromSURB(surb, payload)
			}
		} else {
			packet, err = NewPacket(r, path, payload)
		}
		if err != nil {
			t.Fatal(err)
		}
		end := MaxHops - 1
		if reply {
			end = MaxHops
		}
		for hop := range MaxHops {
			for pos := range packet {
				// The top bit of the element does not change the secret (RFC 7748,
				// section 5): flip it, too.
				for _, bit := range []byte{0x80, 1 << (r.Uint64() % 7)} {
					b := bytes.Clone(packet)
					b[pos] ^= bit
					wantHop, want := hop, ErrMAC
					switch {
					case pos < versionSize:
						want = ErrVersion
					case pos >= HeaderSize:
						wantHop, want = end, ErrPayload
					}
					if at, err := follow(b, keys, hop, surbKeys); at != wantHop || !errors.Is(err, want) {
						t.Fatalf("byte %d changed before hop %d: hop %d said %v, want hop %d, %v", pos, hop, at, err, wantHop, want)
					}
					if pos >= HeaderSize && hop > 0 {
						break // covered by hop 0; AEZ is the slow part here
					}
				}
			}
			if _, err := keys[hop].Unwrap(packet); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestWrongSize(t *testing.T) {
	r := rand.NewChaCha8([32]byte{13})
	path, keys := randomPath(t, r, 2, false)
	packet, err := NewPacket(r, path, make([]byte, 40))
	if err != nil {
		t.Fatal(err)
	}
	for n := range packet {
		at, err := follow(bytes.Clone(packet[:n]), keys, 0, nil)
		if n < Overhead {
			if at != 0 || !errors.Is(err, ErrSize) {
				t.Errorf("%d bytes: hop %d said %v", n, at, err)
			}
		} else if at != 1 || !errors.Is(err, ErrPayload) {
			t.Errorf("%d bytes: hop %d said %v", n, at, err)
		}
	}
	for _, more := range []int{1, 16, 32} {
		b := append(bytes.Clone(packet), make([]byte, more)...)
		if at, err := follow(b, keys, 0, nil); at != 1 || !errors.Is(err, ErrPayload) {
			t.Errorf("%d bytes more: hop %d said %v", more, at, err)
		}
	}

	surbPath, _ := randomPath(t, r, 2, true)
	surb, surbKeys, err := NewSURB(r, surbPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, surb[:SURBSize-1], append(bytes.Clone(surb), 0)} {
		if _, _, err := PacketFromSURB(b, nil); !errors.Is(err, ErrSize) {
			t.Errorf("SURB of %d bytes: %v", len(b), err)
		}
	}
	for _, k := range []SURBKeys{nil, surbKeys[:64], surbKeys[1:], append(bytes.Clone(surbKeys), make([]byte, 4*64)...)} {
		if _, err := k.OpenReply(make([]byte, 100)); !errors.Is(err, ErrSize) {
			t.Errorf("SURB keys of %d bytes: %v", len(k), err)
		}
	}
	if _, err := surbKeys.OpenReply(make([]byte, TagSize-1)); !errors.Is(err, ErrSize) {
		t.Errorf("short reply: %v", err)
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := PrivateKeyFromBytes(make([]byte, n)); !errors.Is(err, ErrSize) {
			t.Errorf("private key of %d bytes: %v", n, err)
		}
	}
}

func TestWrongKey(t *testing.T) {
	r := rand.NewChaCha8([32]byte{14})
	path, keys := randomPath(t, r, 3, false)
	packet, err := NewPacket(r, path, make([]byte, 40))
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(packet)
	if _, err := keys[1].Unwrap(packet); !errors.Is(err, ErrMAC) {
		t.Fatalf("another hop's key: %v", err)
	}
	if !bytes.Equal(packet, before) {
		t.Fatal("a packet that does not verify was changed")
	}
	// A replay has the same tag; it is not refused here.
	replay := bytes.Clone(packet)
	u1, err1 := keys[0].Unwrap(packet)
	u2, err2 := keys[0].Unwrap(replay)
	if err1 != nil || err2 != nil || u1.Tag != u2.Tag {
		t.Fatalf("replay: %v, %v", err1, err2)
	}

	surbPath, surbHops := randomPath(t, r, 2, true)
	surb, _, err := NewSURB(r, surbPath)
	if err != nil {
		t.Fatal(err)
	}
	_, otherKeys, err := NewSURB(r, surbPath)
	if err != nil {
		t.Fatal(err)
	}
	packet, _, err = PacketFromSURB(surb, make([]byte, 40))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := otherKeys.OpenReply(deliver(t, packet, surbPath, surbHops).Payload); !errors.Is(err, ErrPayload) {
		t.Fatalf("another SURB's keys: %v", err)
	}
}

// TestBadCommands makes headers that verify and whose commands are wrong.
func TestBadCommands(t *testing.T) {
	r := rand.NewChaCha8([32]byte{15})
	path, keys := randomPath(t, r, 1, false)
	good, err := NewPacket(r, path, make([]byte, 40))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := keys[0].shared((*x25519.Key)(good[elementOff:]))
	if err != nil {
		t.Fatal(err)
	}
	k, err := deriveKeys(&secret)
	if err != nil {
		t.Fatal(err)
	}
	for pos := range hopSize {
		packet := bytes.Clone(good)
		packet[routingOff+pos] ^= 0x40
		var mac [macSize]byte
		k.mac(&mac, packet[:macOff])
		copy(packet[macOff:], mac[:])
		u, err := keys[0].Unwrap(packet)
		if 0 < pos && pos <= RecipientSize { // the recipient's bytes mean nothing here
			if err != nil || u.Recipient == *path[0].Recipient {
				t.Errorf("byte %d: %v", pos, err)
			}
		} else if !errors.Is(err, ErrCommands) {
			t.Errorf("byte %d: %v", pos, err)
		}
	}
}

// FuzzUnwrap: no packet makes a hop panic, and without its sender's keys none is
// accepted but those it was given.
func FuzzUnwrap(f *testing.F) {
	r := rand.NewChaCha8([32]byte{19})
	good := make(map[[2]string]bool)
	var keys []*PrivateKey
	for _, surb := range []bool{false, true} {
		path, k := randomPath(f, r, 2, surb)
		keys = append(keys, k...)
		var packet []byte
		var err error
		if surb {
			var b []byte
			if b, _, err = NewSURB(r, path); err == nil {
				packet, _, err = PacketFromSURB(b, make([]byte, 8))
			}
		} else {
			packet, err = NewPacket(r, path, make([]byte, 8))
		}
		if err != nil {
			f.Fatal(err)
		}
		for i := range k {
			f.Add(bytes.Clone(packet))
			public := k[i].Public()
			good[[2]string{string(public[:]), string(packet[:HeaderSize])}] = true
			if _, err := k[i].Unwrap(packet); err != nil {
				f.Fatal(err)
			}
		}
	}
	f.Add([]byte(nil))
	f.Add(make([]byte, Overhead))
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, k := range keys {
			b := bytes.Clone(packet)
			u, err := k.Unwrap(b)
			if err != nil {
				if u.Payload != nil || u.Tag != [32]byte{} {
					t.Errorf("%v, and %+v", err, u)
				}
				continue
			}
			public := k.Public()
			if !good[[2]string{string(public[:]), string(packet[:HeaderSize])}] {
				t.Errorf("accepted %x", packet)
			}
		}
	})
}
