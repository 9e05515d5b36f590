package main

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mailproxy/internal/demo"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

// TestRenewal is about which documents take the place of the one in use.
func TestRenewal(t *testing.T) {
	w, err := demo.StartNetwork(demo.Config{Dir: t.TempDir(), Parameters: directory.DefaultParameters()})
	if err != nil {
		t.Fatal(err)
	}
	doc := *w.Network.Document
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	key, trusted, err := note.GenerateKey(rand.Reader, "operator")
	if err != nil {
		t.Fatal(err)
	}
	signed := func(after time.Duration, change func(*directory.Document)) []byte {
		t.Helper()
		d := doc
		d.Made = d.Made.Add(after)
		if change != nil {
			change(&d)
		}
		msg, err := directory.Sign(&d, key)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	dir := t.TempDir()
	cfg := proxy.DefaultConfig()
	cfg.Dir = dir
	cfg.Network = proxy.NetworkConfig{Document: filepath.Join(dir, "network.note"), Keys: []string{trusted}, Threshold: 1}
	r := renewal{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	first, newest := signed(0, nil), signed(2*time.Hour, nil)
	for _, test := range []struct {
		what  string
		msg   []byte
		newer bool
		want  string
	}{
		{"the first", first, true, ""},
		{"the same", first, false, ""},
		{"another network's", signed(time.Hour, func(d *directory.Document) { d.Network = "another" }), false, `of network "another"`},
		{"a newer one", newest, true, ""},
		{"an older one", first, false, ""},
		{"one that takes a restart", signed(3*time.Hour, func(d *directory.Document) { d.Parameters.MixDelay *= 2 }), true, ""},
		{"one with a change", bytes.Replace(newest, []byte("mix"), []byte("mlx"), 1), false, "is not believed"},
		{"nothing", nil, false, "is not believed"},
	} {
		before, _ := os.ReadFile(cfg.Network.Document) // there is none at first
		newer, err := r.take(test.msg)
		if newer != test.newer || (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v", test.what, newer, err)
		}
		want := before
		if test.newer {
			want = test.msg
		}
		if have, err := os.ReadFile(cfg.Network.Document); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s: the file is not what it should be: %v", test.what, err)
		}
	}
	if _, err := r.look(t.Context()); err == nil || !strings.Contains(err.Error(), "not an https address") {
		t.Errorf("no address: %v", err)
	}
}

func TestFirstLook(t *testing.T) {
	r := renewal{cfg: proxy.Config{Dir: t.TempDir()}}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	if d := r.first(now, 0.5); d != renewSoon/2 {
		t.Errorf("never looked: in %v", d)
	}
	file := filepath.Join(r.cfg.Dir, lookedFile)
	for _, test := range []struct{ ago, want time.Duration }{
		{0, renewEvery}, {time.Hour, renewEvery - time.Hour}, {renewEvery, 0}, {100 * renewEvery, 0}, {-time.Hour, 0},
	} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, now.Add(-test.ago), now.Add(-test.ago)); err != nil {
			t.Fatal(err)
		}
		if d := r.first(now, 0.5); d != test.want+renewSoon/2 {
			t.Errorf("looked %v ago: in %v, want %v", test.ago, d, test.want+renewSoon/2)
		}
	}
}
