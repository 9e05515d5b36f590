package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/control"
	"mailproxy/internal/durable"
	"mailproxy/internal/store"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/storekey"
)

// movedVersion is the version of the record below.
const movedVersion = 1

// movedKey is where a store keeps that its accounts go on elsewhere.
var movedKey = []byte("moved/mark")

// A moved record says to which file the accounts of a store were handed over.
type moved struct {
	Version uint8  `cbor:"1,keyasint"`
	ID      []byte `cbor:"2,keyasint"` // of the export
	At      int64  `cbor:"3,keyasint"` // Unix seconds
	File    string `cbor:"4,keyasint"` // absolute
}

// ErrMoved is wrapped by the refusal to work with accounts that were handed over to
// another computer.
var ErrMoved = errors.New("its accounts were moved to another computer")

// How many starts an import and the undoing of an export are counted as, see
// keys.Ahead: of two computers that have the same accounts after all, the one is refused
// on which the other's export was not undone.
const (
	aheadImport = 1 << 16
	aheadUndo   = 1 << 17
)

// partSuffix ends the name of an export that is not whole, or not handed over yet.
const partSuffix = ".part"

// getMoved returns what a store keeps of an export, or nil.
func getMoved(st *store.Store) (*moved, error) {
	var m moved
	err := st.View(func(tx *store.Tx) error {
		b, err := tx.Get(movedKey)
		if err != nil {
			return err
		}
		return codec.Unmarshal(b, &m)
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read whether the accounts were moved: %w", err)
	case m.Version != movedVersion:
		return nil, fmt.Errorf("%w, by a newer mailproxy than this", ErrMoved)
	}
	return &m, nil
}

// checkMoved refuses the store of dir if its accounts were handed over. What the directory
// notes of that is as the store has it afterwards.
func checkMoved(dir string, st *store.Store) error {
	m, err := getMoved(st)
	if err != nil {
		return err
	}
	if m == nil {
		return dropNote(dir)
	}
	noteErr := m.note(dir)
	if err := m.finish(); err != nil {
		return errors.Join(err, noteErr)
	}
	return errors.Join(m.refusal(), noteErr)
}

// finish gives the file its name, should that have been interrupted: the store is
// marked first, so that there never are two copies that both may be used.
func (m *moved) finish() error {
	part := m.File + partSuffix
	if _, err := os.Stat(part); errors.Is(err, fs.ErrNotExist) {
		return nil // it has its name, or was taken away with it
	}
	if _, err := os.Stat(m.File); err == nil {
		return fmt.Errorf("%w: what was exported is in %s, and cannot be named %s since there is such a file; rename it yourself", ErrMoved, part, m.File)
	}
	if err := os.Rename(part, m.File); err != nil {
		return fmt.Errorf("%w: what was exported is in %s: %w", ErrMoved, part, err)
	}
	return durable.SyncDir(filepath.Dir(m.File))
}

// Times of stopping a daemon that has the store.
const (
	stopWait  = time.Minute
	stopEvery = 100 * time.Millisecond
)

// takeStore stops the daemon that runs with dir, if there is one, and opens its store.
func takeStore(ctx context.Context, dir string, key []byte) (st *store.Store, stopped bool, err error) {
	stopErr := Control(dir).Stop(ctx)
	stopped = stopErr == nil
	if errors.Is(stopErr, control.ErrNotRunning) {
		stopErr = nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	for {
		st, err = store.Open(store.Options{Dir: filepath.Join(dir, storekey.StoreDir), Key: key, Reserve: reserve})
		if !errors.Is(err, store.ErrLocked) {
			return st, stopped, err
		}
		stopped = true // also where its answer was lost
		select {
		case <-ctx.Done():
			return nil, stopped, errors.Join(fmt.Errorf("%w: the mailproxy that runs with %s has not stopped; stop it, and try again", err, dir), stopErr)
		case <-time.After(stopEvery):
		}
	}
}

// UndoExport takes back the accounts that were handed over, for which their file must not
// have been imported: a daemon that has it is refused by the providers from now on. It
// returns their addresses.
func UndoExport(ctx context.Context, dir string, key func() ([]byte, error)) (addresses []string, err error) {
	if _, err := Control(dir).Status(ctx); err == nil {
		return nil, fmt.Errorf("undo export: mailproxy runs with %s, so its accounts were not exported", dir)
	}
	st, _, err := openTaken(ctx, dir, key)
	if err != nil {
		return nil, fmt.Errorf("undo export: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	m, err := getMoved(st)
	if err == nil && m == nil {
		err = fmt.Errorf("the accounts in %s were not exported; there is nothing to undo", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("undo export: %w", err)
	}
	err = st.Update(func(tx *store.Tx) error {
		if err := keys.Ahead(tx, aheadUndo); err != nil {
			return err
		}
		return tx.Delete(movedKey)
	})
	if err != nil {
		return nil, fmt.Errorf("undo export: %w", err)
	}
	if err := dropNote(dir); err != nil {
		return nil, fmt.Errorf("undo export: the accounts are back, but for a note that says otherwise: %w; \"mailproxy run\" removes it", err)
	}
	return addressesOf(st)
}

// openTaken is takeStore where there has to be a store.
func openTaken(ctx context.Context, dir string, key func() ([]byte, error)) (*store.Store, bool, error) {
	if _, err := os.Stat(filepath.Join(dir, storekey.StoreDir)); errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("there are no accounts in %s", dir)
	}
	k, err := key()
	if err != nil {
		return nil, false, err
	}
	return takeStore(ctx, dir, k)
}

// addressesOf lists the accounts of a store, but for those that were deleted.
func addressesOf(st *store.Store) ([]string, error) {
	records, err := listAccounts(st)
	if err != nil {
		return nil, err
	}
	list := []string{}
	for _, r := range records {
		if r.Ending != Deleted {
			list = append(list, r.Address)
		}
	}
	return list, nil
}
