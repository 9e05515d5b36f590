package storekey

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/zalando/go-keyring"

	"mailproxy/internal/store"
)

// unwrap returns the store key from the bytes of File.
func unwrap(dir string, raw []byte, from Sources) ([]byte, error) {
	r, err := parse(dir, raw)
	if err != nil {
		return nil, err
	}
	switch r.Way {
	case Plain:
		return raw, nil
	case Passphrase:
		return r.byPassphrase(from)
	case KeyFile:
		return r.byKeyFile(from)
	default:
		return r.byKeychain(from)
	}
}

func (r *record) byPassphrase(from Sources) ([]byte, error) {
	if from.Passphrase == nil {
		return nil, fmt.Errorf("%w to open the mail, and nobody can be asked for it here", ErrNoPassphrase)
	}
	for n := 0; ; n++ {
		p, err := from.Passphrase(n)
		if err != nil {
			return nil, err
		}
		with, err := r.Cost.derive(p, r.Salt)
		if err == nil {
			var key []byte
			if key, err = r.open(with); !errors.Is(err, errSeal) {
				return key, err
			}
		}
		// One that cannot be a passphrase is not the right one either.
		if n+1 == tries {
			return nil, fmt.Errorf("%w: the mail stays closed, and nothing was changed", ErrWrongPassphrase)
		}
	}
}

func (r *record) byKeyFile(from Sources) ([]byte, error) {
	file := r.KeyFile
	if from.KeyFile != "" {
		file = from.KeyFile
	}
	with, err := readKeyFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is not there: bring it back, or name where it is now by %s", ErrKeyFile, file, KeyFileEnv)
	}
	if err != nil {
		return nil, err
	}
	key, err := r.open(with)
	if errors.Is(err, errSeal) {
		return nil, fmt.Errorf("%w: %s is the key file of another store; the mail stays closed, and nothing was changed", ErrKeyFile, file)
	}
	return key, err
}

// KeyFileEnv names the environment variable by which a user says where the key file
// is now; it is here for the error that advises it.
const KeyFileEnv = "MAILPROXY_KEY_FILE"

// readKeyFile reads the key in a key file, which is of the form of a Plain File.
func readKeyFile(file string) ([]byte, error) {
	key, err := readSmall(file)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if len(key) != store.KeySize {
		return nil, fmt.Errorf("%w: %s has %d bytes, want %d", ErrKeyFile, file, len(key), store.KeySize)
	}
	return key, private(file, "opens the store")
}

// A Chain is a keychain: secrets by name. Get fails with keyring.ErrNotFound for one
// that is not there, and with any other error if the keychain cannot be used.
type Chain interface {
	Set(name, secret string) error
	Get(name string) (string, error)
	Delete(name string) error
}

// chainService is what the keychain's items are filed under.
const chainService = "mailproxy"

// system is the operating system's keychain: Secret Service, Keychain Services or
// Credential Manager.
type system struct{}

var _ Chain = system{}

// Set implements Chain.
func (system) Set(name, secret string) error { return keyring.Set(chainService, name, secret) }

// Get implements Chain.
func (system) Get(name string) (string, error) { return keyring.Get(chainService, name) }

// Delete implements Chain.
func (system) Delete(name string) error { return keyring.Delete(chainService, name) }

func (s Sources) chain() Chain {
	if s.Keychain != nil {
		return s.Keychain
	}
	return system{}
}

// chainItem is the name of a keychain's item.
func chainItem(id []byte) string { return "store " + hex.EncodeToString(id) }

func (r *record) byKeychain(from Sources) ([]byte, error) {
	item := chainItem(r.Item)
	secret, err := from.chain().Get(item)
	switch {
	case errors.Is(err, keyring.ErrNotFound):
		return nil, fmt.Errorf("%w: it has no %q of %s; it is perhaps another user's keychain, or the item was deleted: then restore the keychain, "+
			"or %s with its key in another way, from a backup", ErrNoKeychain, item, chainService, File)
	case err != nil:
		return nil, fmt.Errorf("%w: it cannot be reached (%w); the mail is safe and stays closed. %s", ErrNoKeychain, err, chainAdvice)
	}
	with, err := base64.StdEncoding.DecodeString(secret)
	if err != nil || len(with) != store.KeySize {
		return nil, fmt.Errorf("%w: its %q of %s is no key; restore the keychain from a backup", ErrNoKeychain, item, chainService)
	}
	key, err := r.open(with)
	if errors.Is(err, errSeal) {
		return nil, fmt.Errorf("%w: its %q of %s is the key of another store; restore the keychain from a backup", ErrNoKeychain, item, chainService)
	}
	return key, err
}

// chainAdvice is for who has chosen the keychain and has none.
const chainAdvice = "Log in to the desktop session that has the keychain (on Linux a Secret Service must run there: GNOME Keyring, KWallet or KeePassXC). " +
	"To do without it from then on: mailproxy store key --passphrase, or --key-file FILE"

// absolute returns a path that does not depend on where the program was started.
func absolute(file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", fmt.Errorf("find key file: %w", err)
	}
	return abs, nil
}
