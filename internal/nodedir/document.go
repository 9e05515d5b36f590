package nodedir

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

// Copies of the network documents that this node has used: the one in use, and the
// one before it, which the network goes on with until its directories have taken up
// the newer. A node that is started anew meanwhile needs both.
const (
	usedFile    = "network.used"
	earlierFile = "network.earlier"
)

// Document reads the network document and checks it against the keys of the
// configuration.
func (c *Config) Document() (*directory.Document, error) {
	if len(c.Network.Keys) == 0 {
		return nil, errors.New("the configuration trusts nobody to sign the network document: set network.keys and network.threshold")
	}
	msg, err := os.ReadFile(c.Network.Document)
	if err != nil {
		return nil, fmt.Errorf("read network document: %w", err)
	}
	doc, err := c.open(msg)
	if err != nil {
		return nil, fmt.Errorf("network document %s: %w", c.Network.Document, err)
	}
	c.note = msg
	return doc, nil
}

func (c *Config) open(msg []byte) (*directory.Document, error) {
	return directory.Open(msg, directory.Trust{Keys: c.Network.Keys, Threshold: c.Network.Threshold})
}

// Earlier returns the document that this node used before doc, if the network may
// be using it still, or nil.
func (c *Config) Earlier(doc *directory.Document) (*directory.Document, error) {
	var errs []error
	for _, name := range []string{usedFile, earlierFile} {
		msg, err := os.ReadFile(filepath.Join(c.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var old *directory.Document
		if err == nil {
			old, err = c.open(msg)
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

// Keep keeps a copy of the document that Document has read, now that the node uses
// it.
func (c *Config) Keep() error {
	used := filepath.Join(c.dir, usedFile)
	have, err := os.ReadFile(used)
	switch {
	case err == nil && bytes.Equal(have, c.note):
		return nil
	case err == nil:
		err = durable.WriteFile(filepath.Join(c.dir, earlierFile), have, 0o600)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err == nil {
		err = durable.WriteFile(used, c.note, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep a copy of the network document: %w", err)
	}
	return nil
}

// Reload reads the configuration in file and the network document that it names
// anew, for a node that runs, and hands the document to use, which is the node's
// Reload. v begins with c, as for Read; of what it says, only who signs network
// documents matters here. It returns a sentence about what it did.
func Reload(file string, c *Config, v any, use func(*directory.Document) (changed bool, err error)) (string, error) {
	if err := Read(file, c, v); err != nil {
		return "", err
	}
	doc, err := c.Document()
	if err != nil {
		return "", err
	}
	changed, err := use(doc)
	if err != nil {
		return "", fmt.Errorf("network document %s: %w", c.Network.Document, err)
	}
	made := doc.Made.UTC().Format("2006-01-02 15:04:05")
	if !changed {
		return fmt.Sprintf("the network document of %s is in use already", made), nil
	}
	return fmt.Sprintf("the network document of %s is taken up; it holds once the directories have it", made), c.Keep()
}
