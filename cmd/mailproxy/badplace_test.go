package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"mailproxy/internal/demo"
	"mailproxy/mixclient"
	"mailproxy/proxy"
)

// newBadPlace writes a configuration for w's network that works, and a data
// directory that was used before.
func newBadPlace(t *testing.T, w *demo.World) *badPlace {
	t.Helper()
	p := &badPlace{World: w, dir: t.TempDir()}
	cfg := proxy.DefaultConfig()
	cfg.Network = networkConfig("network.note", w.Network)
	cfg.Listen = proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0"}
	if err := errors.Join(cfg.Write(p.config()), os.WriteFile(filepath.Join(p.dir, "network.note"), w.Network.Note, 0o600)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *badPlace) config() string { return filepath.Join(p.dir, "config.toml") }
func (p *badPlace) key() string    { return filepath.Join(p.dir, "data", "store.key") }

// used makes the data directory, as a daemon that ran before leaves it.
func (p *badPlace) used() (*proxy.Daemon, error) {
	cfg, err := proxy.LoadConfig(p.config())
	if err != nil {
		return nil, err
	}
	return proxy.Open(proxy.Options{
		Dir: cfg.Dir, Listen: cfg.Listen, Network: func(string) mixclient.Network { return nil },
	})
}

// running spoils something, then returns what "mailproxy run" says.
func running(spoil func(*badPlace) error) func(*testing.T, *badPlace) string {
	return func(t *testing.T, p *badPlace) string {
		d, err := p.used()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Close(), spoil(p)); err != nil {
			t.Fatal(err)
		}
		return p.run(t)
	}
}

func (p *badPlace) run(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mailproxy", "run", "--config", p.config()).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the command ended with %v, want status 1", err)
	}
	return string(out)
}

func twoDaemons(t *testing.T, p *badPlace) string {
	d, err := p.used()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	return p.run(t)
}

// rewrite changes a file of the place, and fails if that changes nothing.
func rewrite(name string, change func(string) string) func(*badPlace) error {
	return func(p *badPlace) error {
		file := filepath.Join(p.dir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		changed := change(string(b))
		if changed == string(b) {
			return fmt.Errorf("%s is as it was", name)
		}
		return os.WriteFile(file, []byte(changed), 0o600)
	}
}

func takenPort(t *testing.T, p *badPlace) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return running(rewrite("config.toml", func(s string) string {
		return strings.Replace(s, "imap = '127.0.0.1:0'", "imap = '"+l.Addr().String()+"'", 1)
	}))(t, p)
}

// signedByOthers signs the document with keys of the same names.
func signedByOthers(p *badPlace) error {
	return resign(p, func(text string) string { return text }, func([]string) {})
}

// anotherFormat is a document as a later release may have it, signed by those who
// are trusted.
func anotherFormat(p *badPlace) error {
	return resign(p, func(text string) string { return strings.Replace(text, "format = 1", "format = 2", 1) }, func(keys []string) {
		err := rewrite("config.toml", func(s string) string {
			for i, k := range p.Network.Trust.Keys {
				s = strings.Replace(s, k, keys[i], 1)
			}
			return s
		})(p)
		if err != nil {
			panic(err)
		}
	})
}

func resign(p *badPlace, change func(string) string, trust func(keys []string)) error {
	text, _, _ := strings.Cut(string(p.Network.Note), "\n\n— ")
	var signers []note.Signer
	var keys []string
	for _, name := range []string{"east-operator", "west-operator"} {
		skey, vkey, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			return err
		}
		s, err := note.NewSigner(skey)
		if err != nil {
			return err
		}
		signers, keys = append(signers, s), append(keys, vkey)
	}
	msg, err := note.Sign(&note.Note{Text: change(text) + "\n"}, signers...)
	if err != nil {
		return err
	}
	trust(keys)
	return os.WriteFile(filepath.Join(p.dir, "network.note"), msg, 0o600)
}
