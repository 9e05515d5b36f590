package storekey

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"

	"github.com/zalando/go-keyring"

	"mailproxy/internal/durable"
	"mailproxy/internal/store"
)

// MinPassphrase is how many characters a new passphrase has at least.
const MinPassphrase = 12

// To says how the store key is to be kept from now on.
type To struct {
	Way Way
	// Passphrase returns the new one. It is called once the old way has worked.
	Passphrase func() (string, error)
	// Cost of the passphrase; zero stands for DefaultCost.
	Cost Cost
	// KeyFile is used, or made if it is not there.
	KeyFile string
}

// Change keeps the key of the store in dir in another way, or by another passphrase.
// It makes the key if there is no store yet. A daemon may run on the store meanwhile.
// A crash at any moment leaves the old way working, or the new one. When Change
// returns nil, the new one is on disk.
//
// It does not make a new store key: who had that before has it still.
func Change(dir string, from Sources, to To) error {
	old, err := read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = create(dir)
	}
	if err != nil {
		return err
	}
	before, err := parse(dir, old)
	if err != nil {
		return err
	}
	key, err := unwrap(dir, old, from)
	if err != nil {
		return err
	}
	raw, r, err := wrap(dir, key, from, to)
	if err != nil {
		return err
	}
	if err := replace(dir, old, raw); err != nil {
		if r.Way == Keychain {
			err = errors.Join(err, from.forget(r))
		}
		return err
	}
	if before.Way == Keychain {
		if err := from.forget(before); err != nil {
			return fmt.Errorf("the store's key is kept in the new way now, but not all of the old one is gone: %w", err)
		}
	}
	return nil
}

// wrap returns the bytes of a File that keeps the key in the new way, which is ready
// and was tried.
func wrap(dir string, key []byte, from Sources, to To) (raw []byte, r *record, err error) {
	r = &record{Version: recordVersion, Way: to.Way}
	if to.Way == Plain {
		return key, r, nil
	}
	with, err := r.prepare(dir, from, to)
	if err != nil {
		return nil, nil, err
	}
	if err := r.seal(with, key); err != nil {
		return nil, nil, fmt.Errorf("seal the store's key: %w", err)
	}
	if raw, err = r.encode(); err != nil {
		return nil, nil, fmt.Errorf("seal the store's key: %w", err)
	}
	// What cannot be opened again must never take the place of what can.
	again, err := parse(dir, raw)
	if err != nil {
		return nil, nil, err
	}
	if have, err := again.open(with); err != nil || !bytes.Equal(have, key) {
		return nil, nil, errors.New("seal the store's key: it does not open again")
	}
	return raw, r, nil
}

// prepare returns the key to seal with, which can be had again when it returns.
func (r *record) prepare(dir string, from Sources, to To) ([]byte, error) {
	switch to.Way {
	case Passphrase:
		if to.Passphrase == nil {
			return nil, fmt.Errorf("%w, and nobody can be asked for it here", ErrNoPassphrase)
		}
		p, err := to.Passphrase()
		if err != nil {
			return nil, err
		}
		if n := utf8.RuneCountInString(p); n < MinPassphrase {
			return nil, fmt.Errorf("the passphrase has %d characters, and less than %d are soon guessed: take several words", n, MinPassphrase)
		}
		if r.Cost = to.Cost; r.Cost == (Cost{}) {
			r.Cost = DefaultCost()
		}
		if err := r.Cost.check(); err != nil {
			return nil, fmt.Errorf("cost of the passphrase: %w", err)
		}
		r.Salt = make([]byte, saltSize)
		rand.Read(r.Salt) // never fails
		return r.Cost.derive(p, r.Salt)
	case KeyFile:
		var err error
		if r.KeyFile, err = absolute(to.KeyFile); err != nil {
			return nil, err
		}
		return keyFile(dir, r.KeyFile)
	case Keychain:
		return r.putKeychain(from)
	}
	return nil, fmt.Errorf("there is no way %q to keep a key", to.Way)
}

// keyFile reads a key file, or makes it.
func keyFile(dir, file string) ([]byte, error) {
	if abs, err := filepath.Abs(filepath.Join(dir, File)); err != nil || abs == file {
		return nil, fmt.Errorf("%s is where the sealed key is kept; the key file must be another one, best on another disk", file)
	}
	key, err := readKeyFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, store.KeySize)
	rand.Read(key) // never fails
	if err := durable.WriteFile(file, key, 0o600); err != nil {
		return nil, fmt.Errorf("make key file: %w", err)
	}
	return key, nil
}

// putKeychain puts a new key into the keychain and reads it back. Its name is new
// too: until File is replaced, the old one is in use.
func (r *record) putKeychain(from Sources) ([]byte, error) {
	with, id := make([]byte, store.KeySize), make([]byte, 8)
	rand.Read(with) // never fails
	rand.Read(id)
	r.Item = id
	secret := base64.StdEncoding.EncodeToString(with)
	err := from.chain().Set(chainItem(id), secret)
	if err == nil {
		var have string
		if have, err = from.chain().Get(chainItem(id)); err == nil && have != secret {
			err = errors.New("it gives back something else than it was given")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be used here (%w); nothing was changed. On Linux it needs a Secret Service in your desktop session: "+
			"GNOME Keyring, KWallet or KeePassXC. Else choose --passphrase or --key-file FILE", ErrNoKeychain, err)
	}
	return with, nil
}

// forget removes the keychain's item of a record that is not in use.
func (s Sources) forget(r *record) error {
	err := s.chain().Delete(chainItem(r.Item))
	if err == nil || errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return fmt.Errorf("delete %q of %s from the keychain: %w", chainItem(r.Item), chainService, err)
}

// replace puts raw in the place of old, if old is still there, and overwrites what
// was there where that was the key itself.
func replace(dir string, old, raw []byte) error {
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := readLocked(dir)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, old) {
		return ErrChanged
	}
	file := filepath.Join(dir, File)
	if len(old) != store.KeySize || len(raw) == store.KeySize {
		return durable.WriteFile(file, raw, 0o600)
	}
	// Windows replaces no file that is open.
	former, err := openToErase(file)
	if err != nil {
		return fmt.Errorf("replace the store's key: %w", err)
	}
	err = durable.WriteFile(file, raw, 0o600)
	if former != nil {
		if err == nil {
			err = eraseUnlinked(former)
		}
		err = errors.Join(err, former.Close())
	}
	return err
}

// overwrite writes zeros over a key. What a file system with copies, or a disk with
// spare blocks, keeps is beyond it: see the threat model.
func overwrite(f *os.File) error {
	_, err := f.WriteAt(make([]byte, store.KeySize), 0)
	if err = errors.Join(err, f.Sync()); err != nil {
		return fmt.Errorf("overwrite the former key: %w", err)
	}
	return nil
}
