package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

// TestKeptGateway checks that a client keeps the gateway that it once chose, as long
// as the network has it, and does not choose anew when the choice cannot be read.
func TestKeptGateway(t *testing.T) {
	doc := func(names ...string) *directory.Document {
		d := &directory.Document{}
		for _, name := range names {
			d.Nodes = append(d.Nodes, directory.Node{Name: name, Role: directory.RoleGateway})
		}
		return d
	}
	cfg := proxy.Config{Dir: filepath.Join(t.TempDir(), "data")}
	file := filepath.Join(cfg.Dir, "gateway")
	for _, step := range []struct {
		d    *directory.Document
		want string
	}{
		{doc("a"), "a"},
		{doc("b", "c", "d", "e", "f", "g", "h", "a"), "a"},
		{doc("b"), "b"}, // a is gone
	} {
		got, err := keptGateway(cfg, step.d)
		if err != nil || got != step.want {
			t.Errorf("gateway %q, %v, want %q", got, err, step.want)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != step.want {
			t.Errorf("kept %q, %v, want %q", b, err, step.want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := keptGateway(cfg, doc("a")); err == nil || !strings.Contains(err.Error(), "which gateway was chosen") {
		t.Errorf("gateway %q, %v, though the choice cannot be read", got, err)
	}
	cfg.Network.Gateway = "z"
	if got, err := keptGateway(cfg, doc("a")); err != nil || got != "z" {
		t.Errorf("gateway %q, %v, want the one of the configuration", got, err)
	}
}
