package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mailproxy/internal/durable"
)

// movedFile says in a data directory what movedKey says in its store, which has the last
// word: for the commands that ask a daemon, and are not to open the store to learn why
// none runs.
const movedFile = "moved.json"

// movedNote is what is in it.
type movedNote struct {
	Version int    `json:"version"` // movedVersion
	At      int64  `json:"at"`      // Unix seconds
	File    string `json:"file"`
}

// A MovedError says that no daemon runs with the accounts of a data directory, since they
// were handed over to another computer. It is ErrMoved.
type MovedError struct {
	At   time.Time
	File string // absolute
}

// Error returns a sentence, with what to do.
func (e *MovedError) Error() string { return e.Text() + ": " + e.Hint() }

// Text says what is the matter.
func (e *MovedError) Text() string {
	return fmt.Sprintf("%v on %s, by the file %s", ErrMoved, e.At.Format(time.DateOnly), e.File)
}

// Hint says what to do.
func (e *MovedError) Hint() string {
	return `run "mailproxy import" with it there. If they never were imported, "mailproxy export --undo" takes them back to this one`
}

// Unwrap returns ErrMoved.
func (e *MovedError) Unwrap() error { return ErrMoved }

func (m *moved) refusal() error { return &MovedError{At: time.Unix(m.At, 0), File: m.File} }

// note writes movedFile.
func (m *moved) note(dir string) error {
	b, err := json.Marshal(movedNote{Version: movedVersion, At: m.At, File: m.File})
	if err == nil {
		err = durable.WriteFile(filepath.Join(dir, movedFile), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note that the accounts were moved: %w", err)
	}
	return nil
}

// dropNote removes movedFile, if there is one.
func dropNote(dir string) error { return removed(filepath.Join(dir, movedFile)) }

// noted is why no daemon runs with dir, as far as movedFile says it.
func noted(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, movedFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // of another user's directory, the socket's own error tells
	}
	var n movedNote
	if err == nil {
		err = json.Unmarshal(b, &n)
	}
	switch {
	case err != nil:
		return fmt.Errorf("read whether the accounts were moved: %w; \"mailproxy run\" says it", err)
	case n.Version != movedVersion:
		return fmt.Errorf("%w, by a newer mailproxy than this", ErrMoved)
	}
	return &MovedError{At: time.Unix(n.At, 0), File: n.File}
}
