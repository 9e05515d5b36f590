package sphinx

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/cloudflare/circl/dh/x25519"
)

func TestSizes(t *testing.T) {
	for _, c := range []struct{ got, want int }{
		{HeaderSize, 476}, {SURBSize, 572}, {Overhead, 508}, {QueryOverhead, 574}, {hopKeysSize, 160},
	} {
		if c.got != c.want {
			t.Errorf("%d, want %d", c.got, c.want)
		}
	}
}

// deliver unwraps a packet at every hop.
func deliver(t testing.TB, packet []byte, path []Hop, keys []*PrivateKey) Unwrapped {
	t.Helper()
	for i, k := range keys {
		element := packet[elementOff:routingOff]
		tag := sha512.Sum512_256(element)
		u, err := k.Unwrap(packet)
		if err != nil {
			t.Fatalf("hop %d of %d: %v", i, len(keys), err)
		}
		if u.Tag != tag {
			t.Fatalf("hop %d: tag %x", i, u.Tag)
		}
		if i == len(keys)-1 {
			if !u.Last || u.Recipient != *path[i].Recipient || u.Delay != 0 {
				t.Fatalf("last hop: %+v", u)
			}
			return u
		}
		if u.Last || u.Next != path[i+1].ID || u.Delay != path[i].Delay || u.Payload != nil {
			t.Fatalf("hop %d: %+v", i, u)
		}
	}
	panic("no hops")
}

// TestQuery sends a query with a SURB and its reply, over paths of all lengths.
func TestQuery(t *testing.T) {
	r := rand.NewChaCha8([32]byte{10})
	for n := 1; n <= MaxHops; n++ {
		const size = 2048
		backPath, backKeys := randomPath(t, r, n, true)
		surb, surbKeys, err := NewSURB(r, backPath)
		if err != nil {
			t.Fatal(err)
		}
		query, err := PackQuery(surb, []byte("who is there"), size)
		if err != nil {
			t.Fatal(err)
		}
		path, keys := randomPath(t, r, n, false)
		packet, err := NewPacket(r, path, query)
		if err != nil {
			t.Fatal(err)
		}
		if len(packet) != Overhead+size {
			t.Fatalf("packet of %d bytes", len(packet))
		}
		u := deliver(t, packet, path, keys)
		if u.IsReply || &u.Payload[0] != &packet[Overhead] {
			t.Fatal("payload does not alias the packet")
		}
		gotSURB, user, err := UnpackQuery(u.Payload)
		if err != nil || !bytes.Equal(gotSURB, surb) || !bytes.HasPrefix(user, []byte("who is there\x00")) {
			t.Fatalf("query: %q, %v", user, err)
		}

		reply := make([]byte, size)
		r.Read(reply)
		packet, first, err := PacketFromSURB(gotSURB, reply)
		if err != nil || first != backPath[0].ID || len(packet) != Overhead+size {
			t.Fatalf("reply of %d bytes to %x: %v", len(packet), first, err)
		}
		u = deliver(t, packet, backPath, backKeys)
		if !u.IsReply || u.SURBID != *backPath[n-1].SURBID || len(u.Payload) != TagSize+size {
			t.Fatalf("reply: %+v", u)
		}
		got, err := surbKeys.OpenReply(u.Payload)
		if err != nil || !bytes.Equal(got, reply) {
			t.Fatalf("reply opened: %v", err)
		}
	}
}

// TestShortPathLooksLong: that a path is short shows neither in the length of a
// packet nor in what fills the room of the hops that are not there.
func TestShortPathLooksLong(t *testing.T) {
	r := rand.NewChaCha8([32]byte{11})
	path, keys := randomPath(t, r, 1, false)
	var seen [2][]byte
	for i := range seen {
		packet, err := NewPacket(r, path, make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
		secret, err := keys[0].shared((*x25519.Key)(packet[elementOff:]))
		if err != nil {
			t.Fatal(err)
		}
		k, err := deriveKeys(&secret)
		if err != nil {
			t.Fatal(err)
		}
		routing := packet[routingOff:macOff]
		k.xorStream(routing)
		seen[i] = routing[hopSize:]
		if len(packet) != Overhead+100 || bytes.Contains(seen[i], make([]byte, 8)) {
			t.Fatal("the room of missing hops is not random")
		}
	}
	if bytes.Equal(seen[0], seen[1]) {
		t.Fatal("the room of missing hops is the same in two packets")
	}
}

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

func TestErase(t *testing.T) {
	r := rand.NewChaCha8([32]byte{16})
	path, keys := randomPath(t, r, 1, false)
	packet, err := NewPacket(r, path, make([]byte, 40))
	if err != nil {
		t.Fatal(err)
	}
	k := keys[0]
	again, err := PrivateKeyFromBytes(k.Bytes())
	if err != nil || again.Public() != k.Public() {
		t.Fatalf("key from its bytes: %v", err)
	}

	// Erase beside Unwrap: each Unwrap has the whole key or none.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				_, err := k.Unwrap(bytes.Clone(packet))
				if errors.Is(err, ErrErased) {
					return
				}
				if err != nil {
					t.Errorf("Unwrap beside Erase: %v", err)
					return
				}
			}
		})
	}
	runtime.Gosched()
	k.Erase()
	wg.Wait()
	if !isZero(k.Bytes()) || k.Public() != path[0].Key {
		t.Error("the key is there after Erase, or its public key is not")
	}
	if _, err := again.Unwrap(packet); err != nil {
		t.Errorf("the copy of an erased key: %v", err)
	}

	surbPath, _ := randomPath(t, r, 1, true)
	_, surbKeys, err := NewSURB(r, surbPath)
	if err != nil {
		t.Fatal(err)
	}
	if surbKeys.Erase(); !isZero(surbKeys) {
		t.Error("the SURB's keys are there after Erase")
	}
}

// TestRandomnessFails: what rand says is what the caller gets, and never a packet
// made of less randomness.
func TestRandomnessFails(t *testing.T) {
	r := rand.NewChaCha8([32]byte{17})
	failed := errors.New("no more randomness")
	path, _ := randomPath(t, r, 3, false)
	surbPath, _ := randomPath(t, r, 3, true)
	const header = KeySize + 2*hopSize
	for n := range header + sprpSize {
		limited := func() io.Reader {
			return io.MultiReader(io.LimitReader(r, int64(n)), iotest.ErrReader(failed))
		}
		if b, err := NewPacket(limited(), path, nil); n < header && (b != nil || !errors.Is(err, failed)) {
			t.Fatalf("NewPacket with %d random bytes: %v", n, err)
		}
		if b, k, err := NewSURB(limited(), surbPath); b != nil || k != nil || !errors.Is(err, failed) {
			t.Fatalf("NewSURB with %d random bytes: %v", n, err)
		}
	}
	if _, err := NewPrivateKey(iotest.ErrReader(failed)); !errors.Is(err, failed) {
		t.Fatalf("NewPrivateKey: %v", err)
	}
}

// TestAllocations: Unwrap works in place. What it allocates is the state of the
// ciphers and hashes, whose number and size do not depend on the payload.
func TestAllocations(t *testing.T) {
	r := rand.NewChaCha8([32]byte{18})
	path, keys := randomPath(t, r, MaxHops, false)
	for _, size := range []int{2 << 10, 32 << 10} {
		packet, err := NewPacket(r, path, make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(packet))
		const runs = 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n := testing.AllocsPerRun(runs, func() {
			copy(b, packet)
			if _, err := keys[0].Unwrap(b); err != nil {
				t.Fatal(err)
			}
		})
		runtime.ReadMemStats(&after)
		bytes := (after.TotalAlloc - before.TotalAlloc) / (runs + 1)
		t.Logf("%d KiB: %v allocations, about %d bytes", size>>10, n, bytes)
		if n > 48 || bytes > 6<<10 {
			t.Errorf("%d KiB: %v allocations, about %d bytes", size>>10, n, bytes)
		}
	}
}

func TestPackQuery(t *testing.T) {
	surb := bytes.Repeat([]byte{7}, SURBSize)
	for _, s := range [][]byte{nil, surb} {
		b, err := PackQuery(s, []byte("user"), QueryOverhead+6)
		if err != nil {
			t.Fatal(err)
		}
		gotSURB, user, err := UnpackQuery(b)
		if err != nil || !bytes.Equal(gotSURB, s) || (gotSURB == nil) != (s == nil) || string(user) != "user\x00\x00" {
			t.Errorf("got SURB %x, user %q, %v", gotSURB, user, err)
		}
	}
	for _, c := range []struct {
		surb []byte
		user int
		size int
	}{
		{surb[1:], 0, QueryOverhead}, {surb, 1, QueryOverhead}, {nil, 1, QueryOverhead}, {surb, 0, 0}, {nil, 0, -1},
	} {
		if _, err := PackQuery(c.surb, make([]byte, c.user), c.size); !errors.Is(err, ErrQuery) {
			t.Errorf("SURB of %d, %d of %d bytes: %v", len(c.surb), c.user, c.size, err)
		}
	}
	short := make([]byte, QueryOverhead-1)
	flag := append([]byte{2}, make([]byte, QueryOverhead)...)
	reserved := append([]byte{1, 1}, make([]byte, QueryOverhead)...)
	for _, b := range [][]byte{nil, short, flag, reserved} {
		if _, _, err := UnpackQuery(b); !errors.Is(err, ErrQuery) {
			t.Errorf("query %.4x of %d bytes: %v", b, len(b), err)
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
