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
			damage{"empty seal", f, hint, put(string(pem.EncodeToMemory(&pem.Block{Type: map[bool]string{true: sealedType, false: certType}[strings.HasSuffix(f, ".key")]})))},
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
			_, err := Ensure(dir, testKey, at(start))
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.hint) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v", err)
			}
			if !equal(before, files(t, dir)) {
				t.Error("something was replaced")
			}
		})
	}
}

// The keys are sealed with the store's key, and those that lie open are sealed.
func TestKeysAreSealed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	l, err := Ensure(dir, nil, at(start))
	if err != nil {
		t.Fatal(err)
	}
	if all := files(t, dir); !strings.Contains(all[caKeyFile], "BEGIN PRIVATE KEY") || !strings.Contains(all[leafKeyFile], "BEGIN PRIVATE KEY") {
		t.Fatal("without a store's key they are sealed")
	}
	before := files(t, dir)
	for range 2 { // the second finds them sealed
		sealed := ensure(t, dir, start)
		if !fits(l.ca, sealed.caKey) || sealed.Fingerprint() != l.Fingerprint() {
			t.Fatal("the keys changed")
		}
	}
	all := files(t, dir)
	for _, f := range []string{caKeyFile, leafKeyFile} {
		if !strings.Contains(all[f], "BEGIN MAILPROXY SEALED PRIVATE KEY") || strings.Contains(all[f], "BEGIN PRIVATE KEY") {
			t.Errorf("%s is not sealed", f)
		}
	}
	if all[caFile] != before[caFile] || all[leafFile] != before[leafFile] {
		t.Error("a certificate changed")
	}
	for what, key := range map[string][]byte{"none": nil, "another": make([]byte, 32)} {
		if _, err := Ensure(dir, key, at(start)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "store") {
			t.Errorf("store's key: %s: %v", what, err)
		}
	}
	// Each is sealed for its own place.
	if err := os.WriteFile(filepath.Join(dir, leafKeyFile), []byte(all[caKeyFile]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(dir, testKey, at(start)); !errors.Is(err, ErrDamaged) {
		t.Errorf("the authority's key in the leaf's place: %v", err)
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
			l, err := Ensure(dir, testKey, at(start))
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
		if k, _, err := readKey(path, nil); (k == nil) == (err == nil) {
			t.Error("neither key nor error")
		}
	})
}
