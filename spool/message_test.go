package spool

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"mailproxy/internal/codec"
)

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func testBundle(t testing.TB, address string, version uint64) *SignedBundle {
	t.Helper()
	identity, read := testKey(1), testKey(2)
	b := &Bundle{
		Format: BundleFormat, Address: address, Version: version,
		Spool:    IDOf(read.Public().(ed25519.PublicKey)),
		Identity: identity.Public().(ed25519.PublicKey),
		Static:   make([]byte, StaticSize),
		Prekey:   Prekey{ID: make([]byte, PrekeyIDSize), Public: make([]byte, PrekeySize), Created: 1_772_000_000},
	}
	s, err := b.Sign(identity)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// requests returns one valid request of each type, and appends with and without a
// proof as long as it may be.
func requests(t testing.TB) []Request {
	service := ServiceOf("north.test")
	auth := Auth{Instance: Instance{1, 2, 3, 4, 5, 6, 7, 8}, Nonce: 7, Expiry: 1_772_366_700}
	register := &Register{Bundle: *testBundle(t, "alice@north.test", 3), Auth: auth}
	register.Sign(service, testKey(1), testKey(2))
	replace := &Replace{Bundle: register.Bundle, Auth: auth}
	replace.Sign(service, IDOf(register.ReadKey), testKey(1))
	read := &Read{Cursor: 4, Want: 6, Auth: auth}
	read.Sign(service, testKey(2))
	block := make([]byte, BlockSize)
	invited := &Register{Bundle: register.Bundle, Auth: auth, Invite: make([]byte, MaxInviteSize)}
	invited.Sign(service, testKey(1), testKey(2))
	access := &Access{AppendKey: testKey(3).Public().(ed25519.PublicKey), Version: 1, Auth: auth}
	access.Sign(service, testKey(2))
	revoke := &Revoke{Name: "alice", Spool: IDOf(register.ReadKey), Erase: true, Auth: auth}
	revoke.Sign(service, testKey(1))
	return []Request{
		register, replace, read, access, revoke, invited,
		&Log{From: 7, Size: 9, Edge: true},
		&Lookup{Name: "alice"},
		&Lookup{Name: "alice", Size: MaxLogSize},
		&Append{Spool: ID{9}, Block: block},
		&Append{Spool: ID{9}, Block: block, Lane: &LaneProof{Lane: 255, Proof: make([]byte, MaxProofSize)}},
	}
}

func TestRequestsSurviveTheirEncoding(t *testing.T) {
	for _, r := range requests(t) {
		b, err := EncodeRequest(r)
		if err != nil {
			t.Fatalf("%T: %v", r, err)
		}
		for _, padding := range []int{0, 1, 500} {
			got, kind, status := DecodeRequest(append(bytes.Clone(b), make([]byte, padding)...))
			if status != StatusOK || kind != r.Type() {
				t.Fatalf("%T with %d zeros: type %d, %v", r, padding, kind, status)
			}
			again, err := EncodeRequest(got)
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%T came back as another, %v", r, err)
			}
		}
	}
}

func TestAppendOverhead(t *testing.T) {
	b, err := EncodeRequest(&Append{Spool: IDOf(testKey(1).Public().(ed25519.PublicKey)), Block: bytes.Repeat([]byte{0xff}, BlockSize)})
	if err != nil {
		t.Fatal(err)
	}
	if over := len(b) - BlockSize; over > AppendOverhead {
		t.Fatalf("an append adds %d bytes to its block, %d at most", over, AppendOverhead)
	}
	if BlockSize+AppendOverhead > MaxRequestSize {
		t.Fatal("an append does not fit into a request")
	}
}

func TestRegisterFits(t *testing.T) {
	b, err := EncodeRequest(requests(t)[0])
	if err != nil || len(b)+MaxAddressSize > MaxRequestSize {
		t.Fatalf("a registration has %d bytes, %v", len(b), err)
	}
}

func TestMalformedRequests(t *testing.T) {
	lookup := func(body string) []byte {
		b := binary.BigEndian.AppendUint16([]byte{Version, byte(TypeLookup)}, uint16(len(body)))
		return append(b, body...)
	}
	encode := func(v any) []byte {
		b, err := codec.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	frame := func(kind Type, body []byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{Version, byte(kind)}, uint16(len(body)))
		return append(b, body...)
	}
	auth := func(signature int) map[int]any {
		return map[int]any{1: make([]byte, 8), 2: 1, 3: 2, 4: make([]byte, signature)}
	}
	block := make([]byte, BlockSize)
	for _, tt := range []struct {
		what string
		b    []byte
		want Status
	}{
		{"nothing", nil, StatusMalformed},
		{"three bytes", []byte{1, 3, 0}, StatusMalformed},
		{"only padding", make([]byte, MaxRequestSize), StatusVersion},
		{"next version", append([]byte{Version + 1}, lookup("\xa1\x01\x61a")[1:]...), StatusVersion},
		{"type zero", []byte{Version, 0, 0, 0}, StatusUnknownRequest},
		{"type unknown", []byte{Version, 99, 0, 0}, StatusUnknownRequest},
		{"good", lookup("\xa1\x01\x61a"), StatusOK},
		{"good, padded", append(lookup("\xa1\x01\x61a"), 0, 0, 0), StatusOK},
		{"bytes after the end", append(lookup("\xa1\x01\x61a"), 0, 0, 1), StatusMalformed},
		{"cut short", lookup("\xa1\x01\x61a")[:7], StatusMalformed},
		{"length beyond a request", []byte{Version, byte(TypeLookup), 0xff, 0xff}, StatusTooBig},
		{"empty body", lookup(""), StatusMalformed},
		{"trailing inside", lookup("\xa1\x01\x61a\x00"), StatusMalformed},
		{"unknown field", lookup("\xa2\x01\x61a\x02\x61b"), StatusMalformed},
		{"duplicate field", lookup("\xa2\x01\x61a\x01\x61b"), StatusMalformed},
		{"missing field", lookup("\xa0"), StatusMalformed},
		{"wrong type", lookup("\xa1\x01\x01"), StatusMalformed},
		{"null", lookup("\xa1\x01\xf6"), StatusMalformed},
		{"long form of a length", lookup("\xa1\x01\x78\x01a"), StatusMalformed},
		{"long name", frame(TypeLookup, encode(map[int]any{1: string(make([]byte, 200))})), StatusMalformed},
		{"append", frame(TypeAppend, encode(map[int]any{1: make([]byte, 32), 2: block})), StatusOK},
		{"short spool id", frame(TypeAppend, encode(map[int]any{1: make([]byte, 31), 2: block})), StatusMalformed},
		{"long spool id", frame(TypeAppend, encode(map[int]any{1: make([]byte, 33), 2: block})), StatusMalformed},
		{"short block", frame(TypeAppend, encode(map[int]any{1: make([]byte, 32), 2: block[1:]})), StatusMalformed},
		{"long block", frame(TypeAppend, encode(map[int]any{1: make([]byte, 32), 2: append(block, 0)})), StatusTooBig},
		{"proof of the open lane", frame(TypeAppend, encode(map[int]any{1: make([]byte, 32), 2: block, 3: map[int]any{1: 0, 2: []byte{1}}})), StatusMalformed},
		{"lane without a proof", frame(TypeAppend, encode(map[int]any{1: make([]byte, 32), 2: block, 3: map[int]any{1: 1, 2: []byte{}}})), StatusMalformed},
		{"long proof", frame(TypeAppend, encode(map[int]any{1: make([]byte, 32), 2: block, 3: map[int]any{1: 1, 2: make([]byte, MaxProofSize+1)}})), StatusMalformed},
		{"null lane", frame(TypeAppend, encode(map[int]any{1: make([]byte, 32), 2: block, 3: nil})), StatusMalformed},
		{"read", frame(TypeRead, encode(map[int]any{1: make([]byte, 32), 2: 1, 3: 2, 4: auth(64)})), StatusOK},
		{"short read key", frame(TypeRead, encode(map[int]any{1: make([]byte, 31), 2: 1, 3: 2, 4: auth(64)})), StatusMalformed},
		{"short signature", frame(TypeRead, encode(map[int]any{1: make([]byte, 32), 2: 1, 3: 2, 4: auth(63)})), StatusMalformed},
		{"negative cursor", frame(TypeRead, encode(map[int]any{1: make([]byte, 32), 2: -1, 3: 2, 4: auth(64)})), StatusMalformed},
	} {
		if _, _, got := DecodeRequest(tt.b); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}

// The bytes that are signed, put together a second time from the description.
func TestSignatureInput(t *testing.T) {
	read, identity := testKey(2), testKey(1)
	id := sha256.Sum256(read.Public().(ed25519.PublicKey))
	service := sha256.Sum256([]byte("mailproxy/service/v1\x00spool\x00north.test"))
	tail := "0102030405060708" + "0000000000000007" + fmt.Sprintf("%016x", 1_772_366_700)
	input := func(role string, subject string) []byte {
		b, err := hex.DecodeString(hex.EncodeToString([]byte("mailproxy/spool-request/v1\x00")) + role +
			hex.EncodeToString(service[:]) + hex.EncodeToString(id[:]) + subject + tail)
		if err != nil || len(b) != 148 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		return b
	}
	r := requests(t)
	register, replace, rd, access, revoke := r[0].(*Register), r[1].(*Replace), r[2].(*Read), r[3].(*Access), r[4].(*Revoke)
	contacts := sha256.Sum256(append(bytes.Clone(access.AppendKey), 0, 0, 0, 0, 0, 0, 0, 1))
	erase := sha256.Sum256([]byte("alice\x01"))
	content := sha256.Sum256(append(bytes.Clone(register.Bundle.Body), register.Bundle.Signature...))
	position := "0000000000000004" + "0000000000000006" + "00000000000000000000000000000000"
	for _, tt := range []struct {
		what             string
		key              ed25519.PrivateKey
		input, signature []byte
	}{
		{"register", identity, input("01", hex.EncodeToString(content[:])), register.Auth.Signature},
		{"register, read key", read, input("02", hex.EncodeToString(content[:])), register.Proof},
		{"replace", identity, input("03", hex.EncodeToString(content[:])), replace.Auth.Signature},
		{"read", read, input("04", position), rd.Auth.Signature},
		{"access", read, input("05", hex.EncodeToString(contacts[:])), access.Auth.Signature},
		{"revoke", identity, input("06", hex.EncodeToString(erase[:])), revoke.Auth.Signature},
	} {
		if !ed25519.Verify(tt.key.Public().(ed25519.PublicKey), tt.input, tt.signature) {
			t.Errorf("%s: the signature is over something else", tt.what)
		}
	}
}

func TestSignaturesCoverEverything(t *testing.T) {
	service := ServiceOf("north.test")
	identity := testKey(1).Public().(ed25519.PublicKey)
	verify := func(r Request, s ServiceID) bool {
		switch r := r.(type) {
		case *Register:
			return r.Verify(s, identity)
		case *Replace:
			return r.Verify(s, IDOf(testKey(2).Public().(ed25519.PublicKey)), identity)
		case *Read:
			return r.Verify(s)
		case *Access:
			return r.Verify(s)
		case *Revoke:
			return r.Verify(s, identity)
		}
		panic("not signed")
	}
	auth := func(r Request) *Auth {
		switch r := r.(type) {
		case *Register:
			return &r.Auth
		case *Replace:
			return &r.Auth
		case *Access:
			return &r.Auth
		case *Revoke:
			return &r.Auth
		}
		return &r.(*Read).Auth
	}
	for i := range 5 {
		for _, tt := range []struct {
			what   string
			change func(r Request)
		}{
			{"instance", func(r Request) { auth(r).Instance[7]++ }},
			{"nonce", func(r Request) { auth(r).Nonce++ }},
			{"expiry", func(r Request) { auth(r).Expiry++ }},
			{"signature", func(r Request) { auth(r).Signature[0] ^= 1 }},
			{"content", func(r Request) {
				switch r := r.(type) {
				case *Register:
					r.Bundle = *testBundle(t, "alice@north.test", 4)
				case *Replace:
					r.Bundle = *testBundle(t, "alice@north.test", 4)
				case *Read:
					r.Cursor++
				case *Access:
					r.Version++
				case *Revoke:
					r.Erase = false
				}
			}},
			{"key or want", func(r Request) {
				switch r := r.(type) {
				case *Register:
					r.ReadKey = testKey(5).Public().(ed25519.PublicKey)
				case *Replace:
					r.Bundle.Signature[3] ^= 1
				case *Read:
					r.Want++
				case *Access:
					r.AppendKey = testKey(5).Public().(ed25519.PublicKey)
				case *Revoke:
					r.Name = "alicf"
				}
			}},
		} {
			r := requests(t)[i]
			if !verify(r, service) {
				t.Fatalf("%T does not verify", r)
			}
			if verify(r, ServiceOf("south.test")) {
				t.Fatalf("%T verifies at another service", r)
			}
			tt.change(r)
			if verify(r, service) {
				t.Errorf("%T verifies with another %s", r, tt.what)
			}
		}
	}
	// A registration needs both keys; neither signature stands for the other.
	r := requests(t)[0].(*Register)
	r.Auth.Signature, r.Proof = r.Proof, r.Auth.Signature
	if r.Verify(service, identity) {
		t.Error("exchanged signatures verify")
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, r := range requests(f) {
		b, err := EncodeRequest(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _, status := DecodeRequest(b)
		if (r != nil) != (status == StatusOK) {
			t.Fatalf("%v with %T", status, r)
		}
		if r == nil {
			return
		}
		again, err := EncodeRequest(r)
		if err != nil || !bytes.HasPrefix(b, again) || len(bytes.Trim(b[len(again):], "\x00")) != 0 {
			t.Fatalf("a second encoding of one request: %v", err)
		}
	})
}
