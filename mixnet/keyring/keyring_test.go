package keyring

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func parameters() directory.Parameters { return directory.DefaultParameters() }

// packet makes a packet that ends at the holder of key.
func packet(t *testing.T, key sphinx.PublicKey) []byte {
	t.Helper()
	p, err := sphinx.NewPacket(rand.Reader, []sphinx.Hop{{Key: key, Recipient: &sphinx.Recipient{1}}}, make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t *testing.T, dir string, c *clock) *Ring {
	t.Helper()
	r, err := Open(dir, parameters(), c.now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLifeOfAKey follows one key through the times at which it is accepted.
func TestLifeOfAKey(t *testing.T) {
	p := parameters()
	const e = directory.Epoch(1000)
	start, end := p.EpochStart(e), p.EpochStart(e+1)
	for _, dir := range []string{"", t.TempDir()} {
		c := &clock{start}
		r := open(t, dir, c)
		pub, err := r.Public(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, next := range []directory.Epoch{e - 1, e + 1} {
			if _, err := r.Public(next); err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range []struct {
			name string
			at   time.Time
			want error
		}{
			{"long before", start.Add(-2 * directory.Grace), sphinx.ErrMAC},
			{"by a clock that is ahead", start.Add(-directory.Grace / 2), nil},
			{"at its start", start, nil},
			{"later", start.Add(time.Duration(p.Epoch) / 2), nil},
			{"at its end", end.Add(-1), nil},
			{"on its way at the end", end.Add(p.MaxPath()), nil},
			{"at the end of grace", end.Add(p.KeyGrace() - 1), nil},
			{"after grace", end.Add(p.KeyGrace()), ErrExpired},
			{"before the key is erased", end.Add(p.KeyGrace() + p.KeyLinger()), ErrExpired},
		} {
			c.t = test.at
			if err := r.Tidy(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Unwrap(packet(t, pub)); !errors.Is(err, test.want) {
				t.Errorf("a packet %s: %v, want %v", test.name, err, test.want)
			}
		}
		c.t = end.Add(p.KeyGrace() + p.KeyLinger() + 1)
		late := packet(t, pub)
		if err := r.Tidy(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Unwrap(late); !errors.Is(err, sphinx.ErrMAC) {
			t.Errorf("a packet after its key is erased: %v, want ErrMAC", err)
		}
		if again, err := r.Public(e); err != nil || again == pub {
			t.Errorf("the key was not erased: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestErasedFromDisk looks for what an erased key leaves.
func TestErasedFromDisk(t *testing.T) {
	p := parameters()
	c := &clock{p.EpochStart(1000)}
	dir := t.TempDir()
	r := open(t, dir, c)
	if _, err := r.Public(1000); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "1000.key"))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Fatalf("key file: %v, %v", info, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c.t = p.EpochStart(1002)
	r = open(t, dir, c) // which tidies
	defer r.Close()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("files left of an erased key: %v, %v", left, err)
	}
}

// TestErasedLater: a key that could not be erased from the disk is gone from memory,
// and erased from the disk as soon as that can be.
func TestErasedLater(t *testing.T) {
	p := parameters()
	c := &clock{p.EpochStart(1000)}
	dir := t.TempDir()
	r := open(t, dir, c)
	defer r.Close()
	pub, err := r.Public(1000)
	if err != nil {
		t.Fatal(err)
	}
	// A folder that is not empty stands for what cannot be removed, for any user.
	key, aside := filepath.Join(dir, "1000.key"), filepath.Join(dir, "aside")
	if err := errors.Join(os.Rename(key, aside), os.MkdirAll(filepath.Join(key, "full"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		c.t = c.t.Add(25 * time.Minute)
		err = r.Tidy()
	}
	if err == nil || r.Len() != 0 {
		t.Errorf("a key that cannot be erased: %v, %d keys in memory", err, r.Len())
	}
	if _, err := r.Unwrap(packet(t, pub)); !errors.Is(err, sphinx.ErrMAC) {
		t.Errorf("it opens a packet: %v", err)
	}
	c.t = c.t.Add(eraseAgain / 2)
	if err := r.Tidy(); err != nil {
		t.Errorf("it is tried again and told at once: %v", err)
	}
	c.t = c.t.Add(eraseAgain / 2)
	if err := r.Tidy(); err == nil {
		t.Error("it is not tried again, or not told")
	}
	if err := errors.Join(os.RemoveAll(key), os.Rename(aside, key)); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(eraseAgain)
	if err := r.Tidy(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

// TestClockThatJumps: a clock that is wrong for some minutes does not cost a node
// the key that all packets to it are under.
func TestClockThatJumps(t *testing.T) {
	p := parameters()
	start := p.EpochStart(1000)
	c := &clock{start}
	r := open(t, t.TempDir(), c)
	defer r.Close()
	pub, err := r.Public(1000)
	if err != nil {
		t.Fatal(err)
	}
	tidy := func(after time.Duration, keys int) {
		t.Helper()
		c.t = start.Add(after)
		if err := r.Tidy(); err != nil || r.Len() != keys {
			t.Errorf("after %v: %v, %d keys, want %d", after, err, r.Len(), keys)
		}
	}
	tidy(time.Minute, 1)
	tidy(30*time.Hour, 1)
	tidy(30*time.Hour+9*time.Minute, 1)
	tidy(12*time.Minute, 1) // put right
	if _, err := r.Unwrap(packet(t, pub)); err != nil {
		t.Errorf("a packet after the clock was put right: %v", err)
	}
	tidy(5*time.Hour, 1) // the machine slept
	tidy(5*time.Hour+10*time.Minute, 0)
}

// TestKilledWhileErasing finds what a kill leaves between the two files of a key,
// and in the middle of making one.
func TestKilledWhileErasing(t *testing.T) {
	c := &clock{parameters().EpochStart(1000)}
	dir := t.TempDir()
	r := open(t, dir, c)
	if _, err := r.Public(1000); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"998.tags", ".new-key-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, sphinx.KeySize), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, dir, c)
	defer r.Close()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "1000.key" || left[1].Name() != "1000.tags" {
		t.Errorf("files: %v, %v, want those of one key", left, err)
	}
}

// TestReplayAcrossRestart kills nothing, but closes and opens: the tags are on
// disk before the packet goes on, so that a kill finds the same.
func TestReplayAcrossRestart(t *testing.T) {
	c := &clock{parameters().EpochStart(1000)}
	dir := t.TempDir()
	r := open(t, dir, c)
	pub, err := r.Public(1000)
	if err != nil {
		t.Fatal(err)
	}
	p := packet(t, pub)
	if _, err := r.Unwrap(bytes.Clone(p)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unwrap(bytes.Clone(p)); !errors.Is(err, ErrReplayed) {
		t.Errorf("replayed at once: %v", err)
	}
	// No Close: a killed process does not come to it.
	f, err := os.OpenFile(filepath.Join(dir, "1000.tags"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{1, 2, 3}); err != nil { // half a tag
		t.Fatal(err)
	}
	f.Close()
	again := open(t, dir, c)
	if same, err := again.Public(1000); err != nil || same != pub {
		t.Fatalf("another key after a restart: %v", err)
	}
	if _, err := again.Unwrap(bytes.Clone(p)); !errors.Is(err, ErrReplayed) {
		t.Errorf("replayed after a restart: %v", err)
	}
	if _, err := again.Unwrap(packet(t, pub)); err != nil {
		t.Errorf("a fresh packet after a restart: %v", err)
	}
	if again.Tags() != 2 {
		t.Errorf("%d tags, want 2", again.Tags())
	}
	again.Close()
	third := open(t, dir, c) // after the half tag was cut off and another added
	defer third.Close()
	if third.Tags() != 2 {
		t.Errorf("%d tags after another restart, want 2", third.Tags())
	}
}

func TestCorruptKeyFile(t *testing.T) {
	c := &clock{parameters().EpochStart(1000)}
	for name, content := range map[string]string{"1000.key": "short", "king.key": "x"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, parameters(), c.now); err == nil {
			t.Errorf("a key file %s with %q was opened", name, content)
		}
	}
}
