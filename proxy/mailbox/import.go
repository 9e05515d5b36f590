package mailbox

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"mailproxy/internal/store"
)

// An Import puts messages into an account's folders that come from elsewhere, and
// leaves out those that a folder held, byte for byte, when the Import first came to
// it: so that an import can be repeated. Where a folder held fewer copies of a message
// than are imported, it gets the others. It is used by one goroutine.
type Import struct {
	a       *Account
	folders map[string]*importFolder
}

// Import begins an import.
func (a *Account) Import() *Import {
	return &Import{a: a, folders: make(map[string]*importFolder)}
}

type importFolder struct {
	f      *Folder
	bySize map[int64][]Message       // what the folder held, and was not read yet
	copies map[[sha256.Size]byte]int // of what was read, those that were not met yet
}

// Folder makes a folder, and those above it, if it is not there.
func (i *Import) Folder(name string) error {
	if err := i.a.CreateFolder(name, ""); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("import: %w", err)
	}
	_, err := i.folder(name)
	return err
}

func (i *Import) folder(name string) (*importFolder, error) {
	if in := i.folders[name]; in != nil {
		return in, nil
	}
	f, err := i.a.Folder(name)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	list, err := f.Messages()
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	in := &importFolder{f: f, bySize: make(map[int64][]Message), copies: make(map[[sha256.Size]byte]int)}
	for _, m := range list {
		in.bySize[m.Size] = append(in.bySize[m.Size], m)
	}
	i.folders[name] = in
	return in, nil
}

// Add puts the message that r reads into a folder that is there. It returns false if
// the folder held it: then its flags and its date stay as they are. When it returns
// nil the message is synced.
func (i *Import) Add(folder string, r io.Reader, flags []string, date time.Time) (added bool, err error) {
	in, err := i.folder(folder)
	if err != nil {
		return false, err
	}
	sum := sha256.New()
	g, err := i.a.s.StageReader(io.TeeReader(r, sum))
	if err != nil {
		return false, fmt.Errorf("import: %w", err)
	}
	known, err := in.take(g.size, [sha256.Size]byte(sum.Sum(nil)))
	if err == nil && !known {
		err = i.a.s.st.Update(func(tx *store.Tx) error {
			_, err := i.a.DeliverTx(tx, folder, g, flags, date)
			return err
		})
	}
	if err != nil || known {
		err = errors.Join(err, i.a.s.Discard(g))
	}
	if err != nil {
		return false, fmt.Errorf("import: %w", err)
	}
	return !known, nil
}

// take reports whether the folder held a message with these bytes that was not met
// yet, and takes that for met.
func (in *importFolder) take(size int64, sum [sha256.Size]byte) (bool, error) {
	for _, m := range in.bySize[size] {
		raw, err := in.f.Bytes(m)
		if errors.Is(err, ErrNoMessage) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("compare with UID %d: %w", m.UID, err)
		}
		in.copies[sha256.Sum256(raw)]++
	}
	delete(in.bySize, size)
	if in.copies[sum] == 0 {
		return false, nil
	}
	in.copies[sum]--
	return true, nil
}
