// Package netdoc keeps copies of the network documents that a member has used: the
// one in use, and the one before it, which the network goes on with until its
// directories have taken up the newer. A member that is started anew meanwhile needs
// both.
//
// It also fetches a document from where an invitation says. It decides nothing about
// documents: what it fetched is to be checked like any other. internal/nodedir and
// cmd/mailproxy import it.
package netdoc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mailproxy/internal/durable"
	"mailproxy/mixnet/directory"
)

// Names of the copies.
const (
	usedFile    = "network.used"
	earlierFile = "network.earlier"
)

// Copies are in a directory, and are believed as the document itself is.
type Copies struct {
	Dir   string
	Trust directory.Trust
}

// Earlier returns the document that was used before doc, if the network may be using
// it still, or nil.
func (c Copies) Earlier(doc *directory.Document) (*directory.Document, error) {
	var errs []error
	for _, name := range []string{usedFile, earlierFile} {
		msg, err := os.ReadFile(filepath.Join(c.Dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var old *directory.Document
		if err == nil {
			old, err = directory.Open(msg, c.Trust)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the copy %s of an earlier network document: %w", name, err))
			continue
		}
		if old.Hash() != doc.Hash() && doc.Succeeds(old) == nil {
			return old, nil
		}
	}
	return nil, errors.Join(errs...)
}

// Keep keeps a copy of a document, a note that has been checked, now that it is used.
func (c Copies) Keep(note []byte) error {
	used := filepath.Join(c.Dir, usedFile)
	have, err := os.ReadFile(used)
	switch {
	case err == nil && bytes.Equal(have, note):
		return nil
	case err == nil:
		err = durable.WriteFile(filepath.Join(c.Dir, earlierFile), have, 0o600)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err == nil {
		err = durable.WriteFile(used, note, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep a copy of the network document: %w", err)
	}
	return nil
}
