// Package storekey keeps the key that encrypts the daemon's store, in the file
// "store.key" of its directory.
//
// The store key itself is made once and never changes. The file holds it as it is
// (Plain), or sealed by another key: one that is derived from a passphrase, one in a
// key file, or one in the system's keychain. So to change the way, or the passphrase,
// is to replace one small file at once; the mail is not rewritten, and a daemon that
// runs need not know.
//
// It is not where the keys of accounts are: those are in the store (package keys). It
// asks nobody for a passphrase: whoever opens the store hands it the means. proxy and
// cmd/mailproxy import it.
package storekey

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/rogpeppe/go-internal/lockedfile"

	"mailproxy/internal/durable"
	"mailproxy/internal/store"
)

// File is the name of the file in the daemon's directory. StoreDir is the folder
// beside it that the key opens.
const (
	File     = "store.key"
	StoreDir = "store"
)

// lockFile is locked while File is read or replaced. It holds nothing.
const lockFile = "store.key.lock"

// A Way is how the store key is kept.
type Way string

// The ways.
const (
	Plain      Way = "plain"      // as it is, in File: what guards it are the file's permissions
	Passphrase Way = "passphrase" // sealed by a key that Argon2id derives from a passphrase
	KeyFile    Way = "key-file"   // sealed by the 32 bytes in a file elsewhere
	Keychain   Way = "keychain"   // sealed by 32 bytes in the system's keychain
)

// What can be in the way of the store key. The text of an error that wraps one says
// what to do.
var (
	// ErrWrongPassphrase is for a passphrase that does not open the store key.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrNoPassphrase is for a passphrase that is needed when nobody can be asked.
	ErrNoPassphrase = errors.New("a passphrase is needed")
	// ErrNoKeychain is for a keychain that cannot be reached, or has lost the key. It
	// is never the same as a wrong passphrase.
	ErrNoKeychain = errors.New("the system's keychain does not give the key")
	// ErrKeyFile is for a key file that is missing or another one.
	ErrKeyFile = errors.New("the key file does not open the store")
	// ErrMissing is for a store that has no File any more.
	ErrMissing = errors.New("the store's key is missing")
	// ErrDamaged is for a File that is not what was written.
	ErrDamaged = errors.New("the store's key is damaged")
	// ErrChanged is for a File that somebody else replaced meanwhile.
	ErrChanged = errors.New("the store's key was changed meanwhile; try again")
)

// tries is how often a wrong passphrase may be followed by another.
const tries = 3

// Sources are the means to come by what opens the store key. The zero value has none
// but the system's keychain.
type Sources struct {
	// Passphrase returns the passphrase. It is called again, with how often it was
	// before, after a wrong one; it returns an error if it knows no other.
	Passphrase func(before int) (string, error)
	// KeyFile is where the key file is now, if it is not where it was.
	KeyFile string
	// Keychain replaces the system's, in tests.
	Keychain Chain
}

// Open returns the key of the store in dir. Where neither the key nor a store is
// there yet, it makes a key in the way Plain.
func Open(dir string, from Sources) ([]byte, error) {
	for {
		raw, err := read(dir)
		if errors.Is(err, fs.ErrNotExist) {
			raw, err = create(dir)
		}
		if err != nil {
			return nil, err
		}
		key, err := unwrap(dir, raw, from)
		if err == nil {
			return key, nil
		}
		// The key may have been changed, and what opened the former removed.
		if now, rerr := read(dir); rerr != nil || bytes.Equal(now, raw) {
			return nil, err
		}
	}
}

// Info says how a store's key is kept.
type Info struct {
	Way      Way    `json:"way"`
	KeyFile  string `json:"key_file,omitempty"` // where it was when it was chosen
	Keychain string `json:"keychain,omitempty"` // the name of the keychain's item
	Cost     *Cost  `json:"argon2id,omitempty"` // of the passphrase
	Exists   bool   `json:"exists"`             // false: it is made at the first start
}

// Inspect says how the key of the store in dir is kept. It opens nothing.
func Inspect(dir string) (Info, error) {
	raw, err := read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := checkNew(dir); err != nil {
			return Info{}, err
		}
		return Info{Way: Plain}, nil
	}
	if err != nil {
		return Info{}, err
	}
	r, err := parse(dir, raw)
	if err != nil {
		return Info{}, err
	}
	i := Info{Way: r.Way, KeyFile: r.KeyFile, Exists: true}
	switch r.Way {
	case Keychain:
		i.Keychain = chainItem(r.Item)
	case Passphrase:
		i.Cost = &r.Cost
	}
	return i, nil
}

// read returns what is in File. The error wraps fs.ErrNotExist if it is not there.
func read(dir string) ([]byte, error) {
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return readLocked(dir)
}

func readLocked(dir string) ([]byte, error) {
	file := filepath.Join(dir, File)
	raw, err := readSmall(file)
	if err != nil {
		return nil, fmt.Errorf("read the store's key: %w", err)
	}
	if len(raw) == store.KeySize {
		if err := private(file, "opens all mail"); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// maxFile bounds what is read, in bytes.
const maxFile = 64 << 10

func readSmall(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no key file", file)
	}
	return os.ReadFile(file)
}

// private refuses a file that others can read.
func private(file, does string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("read key file: %w", err)
	}
	// Windows has no such bits; there the directory's owner decides.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("key file %s %s and others can read it: run chmod 600 %s", file, does, file)
	}
	return nil
}

// lock keeps other processes from File until unlock is called.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	file := filepath.Join(dir, lockFile)
	unlock, err = lockedfile.MutexAt(file).Lock()
	if err != nil {
		return nil, fmt.Errorf("lock the store's key: %w", err)
	}
	return unlock, nil
}

// checkNew says whether a key may be made: only for a store that is not there yet.
func checkNew(dir string) error {
	_, err := os.Stat(filepath.Join(dir, StoreDir))
	switch {
	case err == nil:
		return fmt.Errorf("%w: key file %s is missing, and the mail in %s cannot be opened without it: restore it from a backup",
			ErrMissing, filepath.Join(dir, File), dir)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for the store: %w", err)
	}
	return nil
}

// create makes a key in the way Plain, unless another process is faster.
func create(dir string) ([]byte, error) {
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	raw, err := readLocked(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	if err := checkNew(dir); err != nil {
		return nil, err
	}
	key := make([]byte, store.KeySize)
	rand.Read(key) // never fails
	return key, durable.WriteFile(filepath.Join(dir, File), key, 0o600)
}
