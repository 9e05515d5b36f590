package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/flynn/noise"

	"mailproxy/spool"
)

// person is an account with all its keys.
type person struct {
	identity ed25519.PrivateKey
	bundle   *spool.Bundle
	signed   *spool.SignedBundle
	Recipient
}

func (p *person) sender() Sender { return Sender{Static: p.Static, Bundle: p.signed} }

// newPerson derives all keys from name, so that vectors can be made again.
func newPerson(t testing.TB, name string) *person {
	t.Helper()
	key := func(what string) []byte {
		h := sha256.Sum256([]byte(name + "/" + what))
		return h[:]
	}
	p := &person{identity: ed25519.NewKeyFromSeed(key("identity"))}
	static, err := noise.DH25519.GenerateKeypair(bytes.NewReader(key("static")))
	if err != nil {
		t.Fatal(err)
	}
	prekey, err := hpke.MLKEM768X25519().NewPrivateKey(key("prekey"))
	if err != nil {
		t.Fatal(err)
	}
	id := key("prekey id")[:spool.PrekeyIDSize]
	p.Recipient = Recipient{
		Address: name + "@north.test", Identity: p.identity.Public().(ed25519.PublicKey),
		Static: StaticKey(static), Prekeys: []Prekey{{ID: id, Private: prekey}},
	}
	read := ed25519.NewKeyFromSeed(key("read")).Public().(ed25519.PublicKey)
	p.bundle = &spool.Bundle{
		Format: spool.BundleFormat, Address: p.Address, Version: 1, Spool: spool.IDOf(read),
		Identity: p.Identity, Static: static.Public,
		Prekey: spool.Prekey{ID: id, Public: prekey.PublicKey().Bytes(), Created: 1790000000},
	}
	p.sign(t)
	return p
}

func (p *person) sign(t testing.TB) {
	t.Helper()
	var err error
	if p.signed, err = p.bundle.Sign(p.identity); err != nil {
		t.Fatal(err)
	}
}

func mail(content []byte) Message {
	m := Message{Kind: KindMail, Content: content}
	rand.Read(m.ID[:])
	return m
}

func openAll(t testing.TB, blocks [][]byte, to Recipient) []*Part {
	t.Helper()
	var parts []*Part
	for i, b := range blocks {
		if len(b) != BlockSize {
			t.Fatalf("block %d has %d bytes", i, len(b))
		}
		p, err := OpenBlock(b, to)
		if err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		enc, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if p, err = UnmarshalPart(enc); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	return parts
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestSealAndOpen(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	room := func(size uint64) int { // what block 0 has room for
		body, err := (&payload{Version: 1, ID: make([]byte, 16), Count: 1, Hash: make([]byte, 32), Size: size, Kind: 1, Address: alice.Address, Bundle: alice.signed}).encode()
		if err != nil {
			t.Fatal(err)
		}
		return ChunkSize - noiseOverhead - len(body)
	}
	first, firstOfLarge := room(5000), room(100_000)
	tests := []struct {
		name    string
		content []byte
		blocks  int
	}{
		{"empty", nil, 1},
		{"one byte", []byte("x"), 1},
		{"short mail", []byte("Subject: hi\r\n\r\nhello\r\n"), 1},
		{"compressible", bytes.Repeat([]byte("hello "), 100_000), 1},
		{"fills block 0", random(first), 1},
		{"one byte more", random(first + 1), 2},
		{"fills two", random(first + ChunkSize), 2},
		{"three", random(first + ChunkSize + 1), 3},
		// The number of blocks takes a byte more here, which block 0 then lacks.
		{"fills 23", random(firstOfLarge + 22*ChunkSize), 23},
		{"24 and a count that grows", random(firstOfLarge + 23*ChunkSize), 25},
		{"large", random(2 << 20), 299},
		{"base64", []byte(base64.StdEncoding.EncodeToString(random(150_000))), 22},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mail(tt.content)
			m.Extensions = nil
			blocks, err := Seal(m, alice.sender(), bob.bundle)
			if err != nil {
				t.Fatal(err)
			}
			if len(blocks) != tt.blocks {
				t.Errorf("%d blocks, want %d", len(blocks), tt.blocks)
			}
			parts := openAll(t, blocks, bob.Recipient)
			for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
				parts[i], parts[j] = parts[j], parts[i]
			}
			forgotten := bob.Recipient
			forgotten.Prekeys = nil // assembling must not need what may be erased by then
			got, err := AssembleParts(forgotten, len(tt.content), parts)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Content, tt.content) {
				t.Error("content differs")
			}
			if got.ID != m.ID || got.Kind != KindMail || got.Sender.Address != alice.Address || !bytes.Equal(got.Bundle.Body, alice.signed.Body) {
				t.Errorf("header is %+v", got.Header)
			}
		})
	}
}

func TestLargestMail(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	content := random(MaxContent)
	s, err := New(mail(content), alice.sender(), bob.bundle)
	if err != nil {
		t.Fatal(err)
	}
	if s.Count() > MaxBlocks {
		t.Fatalf("%d blocks, MaxBlocks is %d", s.Count(), MaxBlocks)
	}
	// Every block is sealed when it is asked for and dropped at once.
	next, stop := iter.Pull2(s.Blocks())
	defer stop()
	got, err := Assemble(bob.Recipient, MaxContent, func(uint32) (*Part, error) {
		block, err, _ := next()
		if err != nil {
			return nil, err
		}
		return OpenBlock(block, bob.Recipient)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, more := next(); more {
		t.Error("there are more blocks than parts")
	}
	if !bytes.Equal(got.Content, content) {
		t.Fatal("content differs")
	}
	if _, err := New(mail(make([]byte, MaxContent+1)), alice.sender(), bob.bundle); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one byte more: %v", err)
	}
}

func TestExtensions(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	m := mail([]byte("x"))
	m.Kind = KindReceipt
	m.Extensions = map[uint64][]byte{1: []byte("append key"), 1 << 40: random(1400)}
	blocks, err := Seal(m, alice.sender(), bob.bundle)
	if err != nil {
		t.Fatal(err)
	}
	got, err := AssembleParts(bob.Recipient, 1, openAll(t, blocks, bob.Recipient))
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != KindReceipt || len(got.Extensions) != 2 || string(got.Extensions[1]) != "append key" {
		t.Errorf("kind %d, extensions %v", got.Kind, got.Extensions)
	}
	m.Extensions[2] = random(MaxPayload)
	if _, err := New(m, alice.sender(), bob.bundle); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many extensions: %v", err)
	}
	m.Kind = 0
	if _, err := New(m, alice.sender(), bob.bundle); !errors.Is(err, ErrMalformed) {
		t.Errorf("no kind: %v", err)
	}
}

func TestOpenBlockTriesAllPrekeys(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	blocks, err := Seal(mail([]byte("x")), alice.sender(), bob.bundle)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	to := bob.Recipient
	to.Prekeys = []Prekey{{ID: random(8), Private: newer}, bob.Prekeys[0]}
	if _, err := AssembleParts(to, 1, openAll(t, blocks, to)); err != nil {
		t.Fatal(err)
	}

	change := func(f func(r *Recipient)) Recipient {
		r := bob.Recipient
		r.Prekeys = []Prekey{bob.Prekeys[0]}
		f(&r)
		return r
	}
	flip := func(at int) []byte { b := bytes.Clone(blocks[0]); b[at] ^= 1; return b }
	tests := []struct {
		name  string
		block []byte
		to    Recipient
		want  error
	}{
		{"no prekeys", blocks[0], change(func(r *Recipient) { r.Prekeys = nil }), ErrNotOurs},
		{"another prekey", blocks[0], change(func(r *Recipient) { r.Prekeys[0].Private = newer }), ErrNotOurs},
		{"another prekey id", blocks[0], change(func(r *Recipient) { r.Prekeys[0].ID = random(8) }), ErrNotOurs},
		{"another address", blocks[0], change(func(r *Recipient) { r.Address = "bob@south.test" }), ErrNotOurs},
		{"another identity", blocks[0], change(func(r *Recipient) { r.Identity = alice.Identity }), ErrNotOurs},
		{"damaged enc", flip(3), bob.Recipient, ErrNotOurs},
		{"damaged X25519 share", flip(encSize - 1), bob.Recipient, ErrNotOurs},
		{"damaged text", flip(encSize + 5), bob.Recipient, ErrNotOurs},
		{"damaged tag", flip(BlockSize - 1), bob.Recipient, ErrNotOurs},
		{"zeros", make([]byte, BlockSize), bob.Recipient, ErrNotOurs},
		{"short", blocks[0][:BlockSize-1], bob.Recipient, ErrMalformed},
		{"empty", nil, bob.Recipient, ErrMalformed},
		{"long", append(bytes.Clone(blocks[0]), 0), bob.Recipient, ErrMalformed},
	}
	for _, tt := range tests {
		if _, err := OpenBlock(tt.block, tt.to); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestPartsOfOneMessageOnly(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	content := random(3 * ChunkSize)
	open := func() []*Part {
		blocks, err := Seal(mail(content), alice.sender(), bob.bundle)
		if err != nil {
			t.Fatal(err)
		}
		return openAll(t, blocks, bob.Recipient)
	}
	one, other := open(), open()
	tests := []struct {
		name  string
		parts []*Part
		want  error
	}{
		{"none", nil, ErrParts},
		{"the first missing", one[1:], ErrParts},
		{"the last missing", one[:3], ErrParts},
		{"one of another message", []*Part{one[0], other[1], one[2], one[3]}, ErrParts},
		{"one twice", []*Part{one[0], one[1], one[2], one[3], one[3]}, ErrParts},
		{"a changed chunk", []*Part{one[0], {ID: one[1].ID, Index: 1, Count: one[1].Count, Chunk: random(ChunkSize)}, one[2], one[3]}, ErrContent},
		{"a short chunk", []*Part{one[0], {ID: one[1].ID, Index: 1, Count: one[1].Count, Chunk: one[1].Chunk[1:]}, one[2], one[3]}, ErrContent},
	}
	for _, tt := range tests {
		if _, err := AssembleParts(bob.Recipient, MaxContent, tt.parts); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestUnusableKeys(t *testing.T) {
	alice, bob, mallory := newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "mallory")
	bad := *bob.bundle
	bad.Prekey.Public = make([]byte, 7)
	if _, err := Seal(mail(nil), alice.sender(), &bad); !errors.Is(err, ErrKeys) {
		t.Errorf("short prekey: %v", err)
	}
	bad = *bob.bundle
	bad.Static = make([]byte, 32) // a point of low order: no secret comes of it
	if _, err := Seal(mail(nil), alice.sender(), &bad); !errors.Is(err, ErrKeys) {
		t.Errorf("static key of low order: %v", err)
	}
	from := alice.sender()
	from.Bundle = mallory.signed
	if _, err := Seal(mail(nil), from, bob.bundle); !errors.Is(err, ErrKeys) {
		t.Errorf("bundle of another: %v", err)
	}
}

func TestKeysStayOutOfLogs(t *testing.T) {
	alice := newPerson(t, "alice")
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		out := fmt.Sprintf(f, alice.sender())
		if strings.Contains(out, fmt.Sprint(alice.Static.Private[:4])[1:9]) || strings.Contains(out, fmt.Sprintf("%x", alice.Static.Private[:4])) {
			t.Errorf("%s shows the key: %s", f, out)
		}
	}
}

func TestAppendKeyExtension(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	value := AppendKeyExtension(key, 5)
	h := Header{Extensions: map[uint64][]byte{ExtensionAppendKey: value}}
	got, version, err := h.AppendKey()
	if err != nil || version != 5 || !got.Equal(key) {
		t.Errorf("read version %d, %v", version, err)
	}
	if got, _, err := new(Header).AppendKey(); got != nil || err != nil {
		t.Errorf("a message without one brings %v, %v", got != nil, err)
	}
	for _, bad := range [][]byte{{}, value[1:], append(value, 0), make([]byte, len(value)), bytes.Repeat([]byte{0xff}, len(value))} {
		h.Extensions[ExtensionAppendKey] = bad
		if _, _, err := h.AppendKey(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}
