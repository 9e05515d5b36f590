package proxy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"mailproxy/internal/codec"
	"mailproxy/internal/durable"
	"mailproxy/internal/store"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/storekey"
	"mailproxy/proxy/transfer"
)

// A Move says which accounts go from one computer to another, or come from one.
type Move struct {
	Dir        string                 // the data directory
	Key        func() ([]byte, error) // of its store
	File       string                 // the export
	Passphrase func() (string, error) // of File; asked for once all else is in order
	Progress   transfer.Progress      // may be nil
	cost       int                    // of the passphrase, for tests; zero means transfer.Cost

	// For an export: whether mail stays here, and how the network is reached.
	WithoutMail bool
	Config      []byte
	Document    []byte
	Gateway     string

	// Configure, in an import, is told what the file says of the network, when all of
	// it has been read and before it is used.
	Configure func(transfer.Header) error
}

// A Moving is what came of a Move.
type Moving struct {
	File        string   `json:"file"`
	Addresses   []string `json:"addresses"`
	Records     uint64   `json:"records"`
	Bytes       int64    `json:"bytes"` // of File
	WithoutMail bool     `json:"without_mail,omitempty"`
	Stopped     bool     `json:"stopped,omitempty"` // a daemon, which ran
}

// PortableDocument is where the configuration that Portable returns has the network
// document, relative to itself.
const PortableDocument = "network.note"

// Portable returns the configuration as it is good on another computer.
func (c Config) Portable() ([]byte, error) {
	c.Dir, c.Network.Document = DefaultConfig().Dir, PortableDocument
	b, err := toml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	return b, nil
}

// Export writes all accounts of a data directory into a file, and has them moved with
// it: no daemon runs with the directory any more, until UndoExport. A daemon that runs
// is stopped. Should it fail, or this process end, either the accounts are here as before,
// or they are in the file, whole.
func (m Move) Export(ctx context.Context) (out Moving, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("export: %w", err)
		}
	}()
	file, err := filepath.Abs(m.File)
	if err != nil {
		return out, err
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("there is a file %s already; name another", file)
		}
		return out, err
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
		return out, fmt.Errorf("there is no directory %s", filepath.Dir(file))
	}
	passphrase, err := m.Passphrase()
	if err != nil {
		return out, err
	}
	st, stopped, err := openTaken(ctx, m.Dir, m.Key)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	out = Moving{File: file, WithoutMail: m.WithoutMail, Stopped: stopped}
	if err := checkMoved(m.Dir, st); err != nil {
		return out, err
	}
	if out.Addresses, err = addressesOf(st); err != nil {
		return out, err
	}
	if len(out.Addresses) == 0 {
		return out, fmt.Errorf("there are no accounts in %s", m.Dir)
	}
	h := &transfer.Header{
		ID: make([]byte, 16), Made: time.Now().Unix(), Addresses: out.Addresses, WithoutMail: m.WithoutMail,
		Config: m.Config, Document: m.Document, Gateway: m.Gateway,
	}
	rand.Read(h.ID) // never fails
	part := file + partSuffix
	if err := m.write(ctx, part, passphrase, h, st); err != nil {
		return out, errors.Join(err, removed(part))
	}
	// What is handed over is what can be read back, and not what was to be written.
	if out.Records, out.Bytes, err = readBack(ctx, part, passphrase, h.ID); err != nil {
		return out, errors.Join(fmt.Errorf("read back what was written: %w", err), removed(part))
	}
	// The mark first, and then the name: a file without its name is not imported by
	// anybody who does not know what happened.
	mark := &moved{Version: movedVersion, ID: h.ID, At: h.Made, File: file}
	b, err := codec.Marshal(mark)
	if err == nil {
		err = st.Update(func(tx *store.Tx) error { return tx.Set(movedKey, b) })
	}
	if err != nil {
		return out, errors.Join(err, removed(part))
	}
	return out, errors.Join(mark.finish(), mark.note(m.Dir))
}

// removed removes a file that may be there.
func removed(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// write writes the export, synced.
func (m Move) write(ctx context.Context, part, passphrase string, h *transfer.Header, st *store.Store) error {
	if err := removed(part); err != nil { // of an export that was interrupted
		return err
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	leave := func(key []byte) bool { return m.WithoutMail && mailbox.IsMail(key) }
	err = transfer.Write(ctx, f, passphrase, cmp.Or(m.cost, transfer.Cost), h, st, leave, m.Progress)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w; nothing was changed", part, store.FullOr(err))
	}
	return durable.SyncDir(filepath.Dir(part))
}

// readBack reads a whole export.
func readBack(ctx context.Context, file, passphrase string, id []byte) (records uint64, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	r, err := transfer.Open(f, passphrase)
	if err != nil {
		return 0, 0, err
	}
	if !bytes.Equal(r.Header.ID, id) {
		return 0, 0, errors.New("it is another export")
	}
	if err := r.Each(ctx, func([]byte, []byte) error { return nil }); err != nil {
		return 0, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	return r.Records(), info.Size(), nil
}

// The folders of a data directory by which an import takes the place of what was there.
const (
	importingDir = "store.importing"
	replacedDir  = "store.replaced"
)

// Import takes the accounts of a file into a data directory that has none. A daemon that
// runs there without accounts is stopped. Should it fail, or this process end, the
// directory has no accounts, or all of them.
func (m Move) Import(ctx context.Context) (out Moving, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("import: %w", err)
		}
	}()
	f, err := os.Open(m.File)
	if errors.Is(err, fs.ErrNotExist) {
		return out, fmt.Errorf("there is no file %s; give the one that \"mailproxy export\" wrote on the old computer", m.File)
	}
	if err != nil {
		return out, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return out, err
	}
	passphrase, err := m.Passphrase()
	if err != nil {
		return out, err
	}
	r, err := transfer.Open(f, passphrase)
	if err != nil {
		return out, explainFile(m.File, err)
	}
	out = Moving{File: m.File, Addresses: r.Header.Addresses, Bytes: info.Size(), WithoutMail: r.Header.WithoutMail}
	key, err := m.Key()
	if err != nil {
		return out, err
	}
	free, stopped, err := m.free(ctx, key)
	if err != nil {
		return out, err
	}
	out.Stopped = stopped
	closed := false
	defer func() {
		if free != nil && !closed {
			err = errors.Join(err, free.Close())
		}
	}()
	if err := m.fill(ctx, r, key); err != nil {
		return out, errors.Join(explainFile(m.File, err), os.RemoveAll(filepath.Join(m.Dir, importingDir)))
	}
	out.Records = r.Records()
	if m.Configure != nil {
		if err := m.Configure(r.Header); err != nil {
			return out, errors.Join(err, os.RemoveAll(filepath.Join(m.Dir, importingDir)))
		}
	}
	if free != nil {
		closed = true
		if err := free.Close(); err != nil {
			return out, err
		}
	}
	return out, m.swap(free != nil)
}

// explainFile says what is wrong with an export.
func explainFile(file string, err error) error {
	switch {
	case errors.Is(err, transfer.ErrPassphrase):
		return fmt.Errorf("%w: it does not open %s", err, file)
	case errors.Is(err, transfer.ErrNewer):
		return fmt.Errorf("%s cannot be read: %w; install that version here", file, err)
	case errors.Is(err, transfer.ErrForeign), errors.Is(err, transfer.ErrDamaged):
		return fmt.Errorf("%s cannot be used: %w; nothing was imported. Copy it once more from the other computer", file, err)
	}
	return err
}

// free sees to it that there are no accounts in the directory, and holds its store, if
// it has one, until the caller closes it.
func (m Move) free(ctx context.Context, key []byte) (st *store.Store, stopped bool, err error) {
	dir := filepath.Join(m.Dir, storekey.StoreDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	there := func(list []string) error {
		return fmt.Errorf("there are accounts in %s already (%s); import into a directory of its own, with a configuration that names it", m.Dir, strings.Join(list, ", "))
	}
	if s, err := Control(m.Dir).Status(ctx); err == nil && len(s.Accounts) > 0 {
		var list []string
		for _, a := range s.Accounts {
			list = append(list, a.Address)
		}
		return nil, false, there(list)
	}
	if st, stopped, err = takeStore(ctx, m.Dir, key); err != nil {
		return nil, stopped, err
	}
	records, err := listAccounts(st)
	if err == nil && len(records) > 0 {
		var list []string
		for _, r := range records {
			list = append(list, r.Address)
		}
		if err = checkMoved(m.Dir, st); err == nil {
			err = there(list)
		}
	}
	if err != nil {
		return nil, stopped, errors.Join(err, st.Close())
	}
	return st, stopped, nil
}

// fill makes a new store of the export, beside the one that it is to replace.
func (m Move) fill(ctx context.Context, r *transfer.Reader, key []byte) (err error) {
	dir := filepath.Join(m.Dir, importingDir)
	if err := os.RemoveAll(dir); err != nil { // of an import that was interrupted
		return err
	}
	st, err := store.Open(store.Options{Dir: dir, Key: key, Reserve: reserve})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := r.Into(ctx, st, m.Progress); err != nil {
		return err
	}
	list, err := addressesOf(st) // what this program cannot read, it does not take
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("%w: it has no accounts", transfer.ErrDamaged)
	}
	return st.Update(func(tx *store.Tx) error { return keys.Ahead(tx, aheadImport) })
}

// swap puts the new store in its place.
func (m Move) swap(replaces bool) error {
	live, replaced := filepath.Join(m.Dir, storekey.StoreDir), filepath.Join(m.Dir, replacedDir)
	if replaces {
		if err := os.RemoveAll(replaced); err != nil {
			return err
		}
		if err := os.Rename(live, replaced); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Join(m.Dir, importingDir), live); err != nil {
		return err
	}
	if err := durable.SyncDir(m.Dir); err != nil {
		return err
	}
	return errors.Join(dropNote(m.Dir), os.RemoveAll(replaced))
}
