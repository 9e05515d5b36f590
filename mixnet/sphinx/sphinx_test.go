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
