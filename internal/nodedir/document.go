package nodedir

import (
	"errors"
	"fmt"
	"os"

	"mailproxy/internal/netdoc"
	"mailproxy/mixnet/directory"
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
	doc, err := directory.Open(msg, c.trust())
	if err != nil {
		return nil, fmt.Errorf("network document %s: %w", c.Network.Document, err)
	}
	c.note = msg
	return doc, nil
}

func (c *Config) trust() directory.Trust {
	return directory.Trust{Keys: c.Network.Keys, Threshold: c.Network.Threshold}
}

func (c *Config) copies() netdoc.Copies { return netdoc.Copies{Dir: c.dir, Trust: c.trust()} }

// Earlier returns the document that this node used before doc, if the network may
// be using it still, or nil.
func (c *Config) Earlier(doc *directory.Document) (*directory.Document, error) {
	return c.copies().Earlier(doc)
}

// Keep keeps a copy of the document that Document has read, now that the node uses
// it.
func (c *Config) Keep() error { return c.copies().Keep(c.note) }

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
