package storekey

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mailproxy/internal/store"
)

// Erase erases what opens the store in dir, for good: the key beside it, or the record
// of how it is kept, and the keychain's item. A key file or a passphrase is the user's
// own, and opens nothing then. That there is none any more is no error.
func Erase(dir string, from Sources) error {
	raw, err := read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.RemoveAll(filepath.Join(dir, lockFile))
	case err != nil:
		return fmt.Errorf("erase the store's key: %w", err)
	}
	file := filepath.Join(dir, File)
	if len(raw) == store.KeySize {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("erase the store's key: %w", err)
		}
		if err := errors.Join(overwrite(f), f.Close()); err != nil {
			return err
		}
	} else if r, err := parse(dir, raw); err != nil {
		return fmt.Errorf("erase the store's key: %w", err)
	} else if len(r.Item) > 0 {
		if err := from.forget(r); err != nil {
			return err
		}
	}
	for _, path := range []string{file, filepath.Join(dir, lockFile)} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("erase the store's key: %w", err)
		}
	}
	return nil
}
