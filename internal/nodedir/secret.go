package nodedir

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"mailproxy/internal/durable"
)

// Identity reads the identity key in dir: PKCS #8 (RFC 5958) in PEM.
func Identity(dir string) (ed25519.PrivateKey, error) {
	file := filepath.Join(dir, identityFile)
	b, err := ReadSecret(file)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return nil, fmt.Errorf("%s is not a private key in PEM: restore it from a backup", file)
	}
	defer clear(block.Bytes)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", file, err)
	}
	identity, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key file %s holds a %T, not an Ed25519 key", file, key)
	}
	return identity, nil
}

// newIdentity makes the identity key in dir, or finds the one that another process
// has made meanwhile.
func newIdentity(dir string) (ed25519.PrivateKey, error) {
	_, identity, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make identity key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(identity)
	if err != nil {
		return nil, fmt.Errorf("make identity key: %w", err)
	}
	defer clear(der)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	defer clear(text)
	if _, err := WriteNew(filepath.Join(dir, identityFile), text); err != nil {
		return nil, err
	}
	return Identity(dir)
}

// Key returns the key of size bytes in file, which is made with what it opens: if
// that is there, and the key is not, the key was lost.
func Key(file string, size int, opens string) ([]byte, error) {
	b, err := ReadSecret(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Stat(opens); serr == nil {
			return nil, fmt.Errorf("key file %s is missing, and %s cannot be opened without it: restore it from a backup", file, opens)
		}
		fresh := make([]byte, size)
		rand.Read(fresh) // never fails
		if _, err := WriteNew(file, fresh); err != nil {
			return nil, err
		}
		b, err = ReadSecret(file)
	}
	if err != nil {
		return nil, err
	}
	if len(b) != size {
		return nil, fmt.Errorf("key file %s has %d bytes, want %d: restore it from a backup", file, len(b), size)
	}
	return b, nil
}

// ReadSecret reads a file that nobody but its owner may read.
func ReadSecret(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	// Windows has no such bits; there the directory's owner decides.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key file %s can be read by others: run chmod 600 %s", file, file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	return b, nil
}

// WriteNew writes a file that only its owner reads, so that a crash leaves all of
// it or nothing. It never replaces one: it reports false if there is a file.
func WriteNew(file string, b []byte) (made bool, err error) {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, ".new-*") // made with mode 0600
	if err != nil {
		return false, fmt.Errorf("write %s: %w", file, err)
	}
	defer func() {
		if rerr := os.Remove(f.Name()); rerr != nil {
			err = errors.Join(err, fmt.Errorf("write %s: %w", file, rerr))
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, fmt.Errorf("write %s: %w", file, err)
	}
	// A link, for a rename would replace what another process has just made.
	if err := os.Link(f.Name(), file); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("write %s: %w", file, err)
	}
	return true, durable.SyncDir(dir)
}

// Replace writes a file that everybody may read, all at once and synced.
func Replace(file string, b []byte) error { return durable.WriteFile(file, b, 0o644) }
