package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorFile = "testdata/vectors.json"

// vectors are what another implementation needs to check that it opens blocks as
// this one does. HPKE draws its own randomness, so that blocks cannot be made
// again from the keys; they must open.
type vectors struct {
	Recipient vectorPerson    `json:"recipient"`
	Sender    vectorPerson    `json:"sender"`
	Info      hexBytes        `json:"info"` // HPKE info of every block
	Messages  []vectorMessage `json:"messages"`
}

type vectorPerson struct {
	Address       string   `json:"address"`
	IdentitySeed  hexBytes `json:"identity_seed"` // RFC 8032 private key
	Identity      hexBytes `json:"identity"`
	StaticPrivate hexBytes `json:"static_private"`
	Static        hexBytes `json:"static"`
	PrekeyID      hexBytes `json:"prekey_id"`
	PrekeySeed    hexBytes `json:"prekey_seed"` // X-Wing decapsulation key
	BundleBody    hexBytes `json:"bundle_body"`
	BundleSig     hexBytes `json:"bundle_signature"`
}

type vectorMessage struct {
	Comment string        `json:"comment"`
	ID      hexBytes      `json:"id"`
	Kind    Kind          `json:"kind"`
	Coding  uint8         `json:"coding"`
	Content []byte        `json:"content"` // base64
	Blocks  []vectorBlock `json:"blocks"`
}

type vectorBlock struct {
	Block     []byte   `json:"block"` // base64
	EncHash   hexBytes `json:"enc_sha256"`
	PlainHash hexBytes `json:"plaintext_sha256"`
	ChunkSize int      `json:"chunk_size"`
	Prologue  hexBytes `json:"noise_prologue,omitempty"`
	Noise     hexBytes `json:"noise_message,omitempty"`
	Payload   hexBytes `json:"noise_payload,omitempty"`
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error)      { return []byte(hex.EncodeToString(h)), nil }
func (h *hexBytes) UnmarshalText(b []byte) (e error) { *h, e = hex.DecodeString(string(b)); return e }

func vectorOf(t *testing.T, p *person) vectorPerson {
	seed, err := p.Prekeys[0].Private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return vectorPerson{
		Address: p.Address, IdentitySeed: hexBytes(p.identity.Seed()), Identity: hexBytes(p.Identity),
		StaticPrivate: p.Static.Private, Static: p.Static.Public,
		PrekeyID: p.Prekeys[0].ID, PrekeySeed: seed,
		BundleBody: p.signed.Body, BundleSig: p.signed.Signature,
	}
}

// stream is n bytes that do not compress: SHA-256 of a counter.
func stream(n int) []byte {
	var b []byte
	for i := uint32(0); len(b) < n; i++ {
		h := sha256.Sum256(binary.BigEndian.AppendUint32(nil, i))
		b = append(b, h[:]...)
	}
	return b[:n]
}

func writeVectors(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	v := vectors{
		Recipient: vectorOf(t, bob), Sender: vectorOf(t, alice),
		Info: info(bob.Address, bob.Identity, bob.Prekeys[0].ID),
	}
	mails := []struct {
		comment string
		m       Message
	}{
		{"one block, compressed, with two extensions", Message{Kind: KindMail,
			Content:    []byte("From: <alice@north.test>\r\nSubject: hi hi hi hi hi hi hi hi hi hi hi hi hi hi hi\r\n\r\nhello\r\n"),
			Extensions: map[uint64][]byte{1: []byte("one"), 1000: []byte("a thousand")}}},
		{"one block without content", Message{Kind: KindReceipt}},
		{"three blocks, raw", Message{Kind: KindMail, Content: stream(2 * ChunkSize)}},
	}
	for k, mail := range mails {
		mail.m.ID = ID(bytes.Repeat([]byte{byte(k + 1)}, IDSize))
		s, err := New(mail.m, alice.sender(), bob.bundle)
		if err != nil {
			t.Fatal(err)
		}
		out := vectorMessage{Comment: mail.comment, ID: mail.m.ID[:], Kind: mail.m.Kind, Coding: s.payload.Coding, Content: mail.m.Content}
		for block, err := range s.Blocks() {
			if err != nil {
				t.Fatal(err)
			}
			part, err := OpenBlock(block, bob.Recipient)
			if err != nil {
				t.Fatal(err)
			}
			plain := plainOf(t, part)
			hash := sha256.Sum256(plain)
			b := vectorBlock{Block: block, EncHash: part.EncHash[:], PlainHash: hash[:], ChunkSize: len(part.Chunk), Noise: part.Noise}
			if part.Index == 0 {
				b.Prologue = prologue(v.Info, part.EncHash)
				if b.Payload, err = s.payload.encode(); err != nil {
					t.Fatal(err)
				}
			}
			out.Blocks = append(out.Blocks, b)
		}
		v.Messages = append(v.Messages, out)
	}
	b, err := json.MarshalIndent(&v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func plainOf(t *testing.T, p *Part) []byte {
	b, err := (&plain{id: p.ID, i: p.Index, n: p.Count, noise: p.Noise, chunk: p.Chunk}).encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	raw, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	// The keys are made from the names, so the file must agree with them.
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	for _, p := range []struct {
		file vectorPerson
		made *person
	}{{v.Sender, alice}, {v.Recipient, bob}} {
		want, got := vectorOf(t, p.made), p.file
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) {
			t.Errorf("keys of %s differ:\n%s\n%s", want.Address, a, b)
		}
	}
	if got := info(bob.Address, bob.Identity, bob.Prekeys[0].ID); !bytes.Equal(got, v.Info) {
		t.Errorf("info is %x, want %x", got, v.Info)
	}
	if len(v.Messages) != 3 {
		t.Fatalf("%d messages", len(v.Messages))
	}
	for _, m := range v.Messages {
		t.Run(m.Comment, func(t *testing.T) {
			var parts []*Part
			for i, b := range m.Blocks {
				p, err := OpenBlock(b.Block, bob.Recipient)
				if err != nil {
					t.Fatal(err)
				}
				hash := sha256.Sum256(plainOf(t, p))
				if !bytes.Equal(p.EncHash[:], b.EncHash) || !bytes.Equal(hash[:], b.PlainHash) || len(p.Chunk) != b.ChunkSize || !bytes.Equal(p.Noise, b.Noise) {
					t.Errorf("block %d opens to something else", i)
				}
				if i == 0 && !bytes.Equal(prologue(v.Info, p.EncHash), b.Prologue) {
					t.Error("prologue differs")
				}
				parts = append(parts, p)
			}
			got, err := AssembleParts(bob.Recipient, MaxContent, parts)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Content, m.Content) || got.Kind != m.Kind || !bytes.Equal(got.ID[:], m.ID) || got.payload.Coding != m.Coding {
				t.Error("message differs")
			}
			body, err := got.payload.encode()
			if err != nil || !bytes.Equal(body, m.Blocks[0].Payload) {
				t.Errorf("payload differs: %v", err)
			}
		})
	}
}
