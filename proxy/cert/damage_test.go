package cert

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Design section 8: "never replace it silently".
func TestTrapDamageReplacesNothing(t *testing.T) {
	base := t.TempDir()
	good, other := filepath.Join(base, "good"), filepath.Join(base, "other")
	ensure(t, good, start)
	ensure(t, other, start)
	all, foreign := files(t, good), files(t, other)
	type damage struct {
		name, file, hint string
		do               func(path string) error
	}
	var cases []damage
	for _, f := range []string{caFile, caKeyFile, leafFile, leafKeyFile} {
		hint := "move it away"
		if strings.HasPrefix(f, "leaf") {
			hint = "remove "
		}
		put := func(s string) func(string) error {
			return func(path string) error { return os.WriteFile(path, []byte(s), 0o600) }
		}
		cases = append(cases,
			damage{"empty", f, hint, put("")},
			damage{"half", f, hint, put(all[f][:len(all[f])/2])},
			damage{"garbage", f, hint, put("\x00garbage")},
			damage{"twice", f, hint, put(all[f] + all[f])},
			damage{"huge", f, hint, put(all[f] + strings.Repeat("\n", maxFile))},
			damage{"empty block", f, hint, put(string(pem.EncodeToMemory(&pem.Block{Type: map[bool]string{true: keyType, false: certType}[strings.HasSuffix(f, ".key")]})))},
			damage{"another's", f, hint, put(foreign[f])},
		)
		if f != leafFile { // a missing leaf is issued: see TestMissingLeafIsIssued
			cases = append(cases, damage{"missing", f, hint, os.Remove})
		}
		if strings.HasSuffix(f, ".key") && runtime.GOOS != "windows" {
			cases = append(cases, damage{"readable", f, "chmod 600", func(path string) error { return os.Chmod(path, 0o640) }})
		}
	}
	cases = append(cases, damage{"leaf as ca", caFile, "move it away", func(path string) error { return os.WriteFile(path, []byte(all[leafFile]), 0o600) }})
	for _, c := range cases {
		t.Run(c.file+" "+c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "c")
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			for name := range all { // CopyFS does not keep modes
				if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.do(filepath.Join(dir, c.file)); err != nil {
				t.Fatal(err)
			}
			before := files(t, dir)
			_, err := Ensure(dir, at(start))
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.hint) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v", err)
			}
			if !equal(before, files(t, dir)) {
				t.Error("something was replaced")
			}
		})
	}
}

// What the error about a damaged leaf advises.
func TestMissingLeafIsIssued(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	l := ensure(t, dir, start)
	for _, gone := range [][]string{{leafFile, leafKeyFile}, {leafFile}} {
		for _, f := range gone {
			if err := os.Remove(filepath.Join(dir, f)); err != nil {
				t.Fatal(err)
			}
		}
		again := ensure(t, dir, start)
		if again.Fingerprint() != l.Fingerprint() {
			t.Fatal("the CA changed")
		}
		if _, err := shake(t, again, start, "localhost", nil); err != nil {
			t.Error(err)
		}
	}
}

func TestTwoAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	var wg sync.WaitGroup
	prints := make([]string, 4)
	for i := range prints {
		wg.Go(func() {
			l, err := Ensure(dir, at(start))
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = l.Fingerprint()
		})
	}
	wg.Wait()
	want := ensure(t, dir, start).Fingerprint()
	for _, p := range prints {
		if p != want {
			t.Error("two authorities were made")
		}
	}
}

func FuzzReadPEM(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := readCert(path); (c == nil) == (err == nil) {
			t.Error("neither certificate nor error")
		}
		if k, err := readKey(path); (k == nil) == (err == nil) {
			t.Error("neither key nor error")
		}
	})
}
