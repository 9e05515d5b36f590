package node

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
)

// killedEnv makes TestKilledNode the node of TestReplayedAfterAKill: the directory
// that holds its document and keys, and the seed of its identity.
const killedEnv = "MAILPROXY_TEST_NODE"

// TestKilledNode is no test of its own, but the process that
// TestReplayedAfterAKill starts and kills.
func TestKilledNode(t *testing.T) {
	dir, seed, ok := strings.Cut(os.Getenv(killedEnv), " ")
	if !ok {
		t.Skip("runs as a process of TestReplayedAfterAKill")
	}
	text, err := os.ReadFile(filepath.Join(dir, "document"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := directory.ParseDraft(text)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(seed)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keyring.Open(filepath.Join(dir, "keys"), doc.Parameters, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	identity := ed25519.NewKeyFromSeed(raw)
	for _, n := range doc.WithRole(directory.RoleMix) {
		if n.Identity != directory.Key(identity.Public().(ed25519.PublicKey)) {
			continue
		}
		l, err := net.Listen("tcp", n.Address)
		if err != nil {
			t.Fatal(err)
		}
		node, err := Start(Config{Document: doc, Identity: identity, Keys: keys, Listener: l})
		if err != nil {
			t.Fatal(err)
		}
		for { // until it is killed
			held := 0 // the node of the following layer takes none
			for _, l := range node.ties.Load().links {
				held += l.Len()
			}
			fmt.Printf("to forward %d replayed %d\n", held, node.Counters.Replayed.Load())
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// startKilled runs the node's process; the second value waits until it says so.
func startKilled(t *testing.T, env string) (kill func(), says func(want string)) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledNode$")
	cmd.Env = append(os.Environ(), killedEnv+"="+env)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill() // SIGKILL; it may be dead already
		_ = cmd.Wait()         // which says that it was killed
	}
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	return kill, func(want string) {
		t.Helper()
		last := ""
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline) && lines.Scan(); {
			if last = lines.Text(); last == want {
				return
			}
		}
		t.Fatalf("the node says %q, not %q", last, want)
	}
}

// TestReplayedAfterAKill kills a mix and starts it again: it refuses what it saw
// before, and takes what it did not.
func TestReplayedAfterAKill(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	text, err := directory.EncodeDraft(b.doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "document"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	// The key is made here, for the test makes packets for it.
	if b.rings["mix1"], err = keyring.Open(filepath.Join(dir, "keys"), b.doc.Parameters, time.Now); err != nil {
		t.Fatal(err)
	}
	seen := b.packet(b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0))
	fresh := b.packet(b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0))
	if err := b.rings["mix1"].Close(); err != nil {
		t.Fatal(err)
	}
	b.listeners["mix1"].Close()
	env := dir + " " + hex.EncodeToString(b.identity["mix1"].Seed())

	kill, says := startKilled(t, env)
	says("to forward 0 replayed 0")
	send(t, b.dial("gateway", "mix1"), bytes.Clone(seen))
	says("to forward 1 replayed 0")
	kill()

	_, says = startKilled(t, env)
	says("to forward 0 replayed 0")
	c := b.dial("gateway", "mix1")
	send(t, c, seen)
	says("to forward 0 replayed 1")
	send(t, c, fresh)
	says("to forward 1 replayed 1")
}
