package sphinx

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/cloudflare/circl/dh/x25519"
)

// hexBytes is a byte string that JSON holds in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type vector struct {
	Nodes []struct{ ID, PrivateKey hexBytes }
	Path  []struct {
		ID, PublicKey hexBytes
		Commands      []hexBytes
	}
	Packets        []hexBytes
	Payload        hexBytes
	Surb, SurbKeys hexBytes
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// TestVectors follows Katzenpost's packets through all hops.
func TestVectors(t *testing.T) {
	var vectors []vector
	readJSON(t, "sphinx_vectors.json", &vectors)
	if len(vectors) != 6 {
		t.Fatalf("%d vectors, want 6", len(vectors))
	}
	replies := 0
	for _, v := range vectors {
		reply := len(v.Surb) > 0
		packet := bytes.Clone(v.Packets[0])
		if reply {
			replies++
			b, first, err := PacketFromSURB(v.Surb, v.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, packet) || first != NodeID(v.Nodes[0].ID) {
				t.Fatal("PacketFromSURB made another packet, or for another hop")
			}
		}
		for i, node := range v.Nodes {
			k, err := PrivateKeyFromBytes(node.PrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			if k.Public() != PublicKey(v.Path[i].PublicKey) {
				t.Fatalf("hop %d: another public key", i)
			}
			if !bytes.Equal(packet, v.Packets[i]) {
				t.Fatalf("hop %d of %d: not the packet of the vector", i, len(v.Nodes))
			}
			u, err := k.Unwrap(packet)
			if err != nil {
				t.Fatalf("hop %d of %d: %v", i, len(v.Nodes), err)
			}

			var commands []hexBytes
			if i < len(v.Nodes)-1 {
				if u.Last || u.Next != NodeID(v.Nodes[i+1].ID) || u.Payload != nil {
					t.Fatalf("hop %d: %+v", i, u)
				}
				commands = append(commands, appendDelay(nil, u.Delay))
			} else {
				if !u.Last || u.IsReply != reply || u.Delay != 0 {
					t.Fatalf("last hop: %+v", u)
				}
				commands = append(commands, appendRecipient(nil, &u.Recipient))
				if u.IsReply {
					commands = append(commands, appendSURBReply(nil, &u.SURBID))
				}
				got := u.Payload
				if reply {
					if got, err = SURBKeys(v.SurbKeys).OpenReply(got); err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(got, v.Payload) {
					t.Fatalf("payload %q", got)
				}
			}
			if len(commands) != len(v.Path[i].Commands) {
				t.Fatalf("hop %d: commands %x, want %x", i, commands, v.Path[i].Commands)
			}
			for j := range commands {
				if !bytes.Equal(commands[j], v.Path[i].Commands[j]) {
					t.Fatalf("hop %d: commands %x, want %x", i, commands, v.Path[i].Commands)
				}
			}
		}
	}
	if replies != 3 {
		t.Fatalf("%d replies, want 3", replies)
	}
}

// TestVectorCommands decrypts the routing information of every packet of the
// vectors and encodes what it parsed again: the order of the commands, on which
// parsing does not depend, is Katzenpost's as well.
func TestVectorCommands(t *testing.T) {
	var vectors []vector
	readJSON(t, "sphinx_vectors.json", &vectors)
	for _, v := range vectors {
		for i, node := range v.Nodes {
			k, err := PrivateKeyFromBytes(node.PrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			secret, err := k.shared((*x25519.Key)(v.Packets[i][elementOff:]))
			if err != nil {
				t.Fatal(err)
			}
			keys, err := deriveKeys(&secret)
			if err != nil {
				t.Fatal(err)
			}
			routing := bytes.Clone(v.Packets[i][routingOff:macOff])
			keys.xorStream(routing)

			var u Unwrapped
			var mac [macSize]byte
			if err := parseCommands(routing[:hopSize], &u, &mac); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 0, hopSize)
			if u.Last {
				b = appendRecipient(b, &u.Recipient)
				if u.IsReply {
					b = appendSURBReply(b, &u.SURBID)
				}
			} else {
				b = appendDelay(b, u.Delay)
				b = appendNextHop(b, &u.Next, &mac)
			}
			if b = b[:hopSize]; !bytes.Equal(b, routing[:hopSize]) {
				t.Fatalf("hop %d: encoded\n%x, want\n%x", i, b, routing[:hopSize])
			}
		}
	}
}
