package main

import (
	"os"
	"path/filepath"
	"testing"

	"mailproxy/internal/demo"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
	"mailproxy/proxy"
)

// TestAnotherUserKeepsSettings checks that the demo, started once more, leaves what
// was set in its other user's configuration, but for the network.
func TestAnotherUserKeepsSettings(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "another-user.toml")
	start := func(key string) proxy.Config {
		t.Helper()
		w := &demo.World{Network: &local.Network{Note: []byte(key), Trust: directory.Trust{Keys: []string{key}, Threshold: 1}}}
		if err := new(demoCmd).writeConfig(dir, w); err != nil {
			t.Fatal(err)
		}
		cfg, err := proxy.LoadConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Network.Keys) != 1 || cfg.Network.Keys[0] != key || cfg.Network.Document != filepath.Join(dir, "network.note") {
			t.Errorf("network %+v, want the demo's that trusts %s", cfg.Network, key)
		}
		if cfg.Dir != filepath.Join(dir, "another-user") {
			t.Errorf("data in %s", cfg.Dir)
		}
		return cfg
	}
	cfg := start("first")
	if cfg.Listen.SMTP != "127.0.0.1:2025" {
		t.Errorf("SMTP at %s", cfg.Listen.SMTP)
	}
	cfg.Listen.SMTP, cfg.Mail.Receipts = "127.0.0.1:3025", false
	if err := cfg.Write(file); err != nil {
		t.Fatal(err)
	}
	if cfg = start("second"); cfg.Listen.SMTP != "127.0.0.1:3025" || cfg.Mail.Receipts {
		t.Errorf("the user's settings are gone: %+v", cfg)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &demo.World{Network: &local.Network{Trust: directory.Trust{Keys: []string{"third"}, Threshold: 1}}}
	if err := new(demoCmd).writeConfig(dir, w); err == nil {
		t.Error("a file that cannot be read was written over")
	}
}
