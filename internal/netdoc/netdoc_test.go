package netdoc

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mailproxy/mixnet/directory"
)

func TestCopies(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "one")
	if err != nil {
		t.Fatal(err)
	}
	c := Copies{t.TempDir(), directory.Trust{Keys: []string{vkey}, Threshold: 1}}
	d := directory.Document{Format: directory.Format, Network: "test", Parameters: directory.DefaultParameters(), SnapshotThreshold: 1}
	for i, role := range []directory.Role{directory.RoleMix, directory.RoleMix, directory.RoleMix, directory.RoleGateway, directory.RoleService, directory.RoleDirectory} {
		pub, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		n := directory.Node{Name: fmt.Sprint("n", i), Operator: "o", Role: role, Address: "127.0.0.1:1", Identity: directory.Key(pub)}
		switch role {
		case directory.RoleMix:
			n.Layer = i + 1
		case directory.RoleService:
			n.Services = []string{"echo"}
		}
		d.Nodes = append(d.Nodes, n)
	}
	made := func(hour int, delay directory.Duration) ([]byte, *directory.Document) {
		t.Helper()
		d := d
		d.Made, d.Parameters.MixDelay = time.Unix(1_700_000_000, 0).Add(time.Duration(hour)*time.Hour), delay
		msg, err := directory.Sign(&d, skey)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := directory.Open(msg, c.Trust)
		if err != nil {
			t.Fatal(err)
		}
		return msg, doc
	}
	delay := d.Parameters.MixDelay
	earlier := func(what string, of, want *directory.Document) {
		t.Helper()
		got, err := c.Earlier(of)
		if err != nil || (got == nil) != (want == nil) || got != nil && got.Hash() != want.Hash() {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	firstNote, first := made(1, delay)
	secondNote, second := made(2, delay)
	_, other := made(3, 2*delay)
	earlier("before anything is kept", first, nil)
	for range 2 { // a second time changes nothing
		if err := c.Keep(firstNote); err != nil {
			t.Fatal(err)
		}
	}
	earlier("of the one that is kept", first, nil)
	earlier("of a newer one", second, first)
	earlier("of one that cannot follow", other, nil)
	if err := c.Keep(secondNote); err != nil {
		t.Fatal(err)
	}
	earlier("started anew", second, first)
	earlier("put back", first, nil)

	file := filepath.Join(c.Dir, earlierFile)
	if err := os.WriteFile(file, []byte(strings.Replace(string(firstNote), "test", "tost", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Earlier(second); got != nil || err == nil || !strings.Contains(err.Error(), `the signature of "one" is false`) {
		t.Errorf("a copy that was altered: %v, %v", got, err)
	}
}
