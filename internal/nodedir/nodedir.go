// Package nodedir is the directory in which an operator keeps one node of the mix
// network: its identity key, its entry for the network document, and its
// configuration.
//
// It runs nothing and knows no roles but their names. cmd/mixnode and
// cmd/mailspool import it.
package nodedir

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"mailproxy/internal/metrics"
	"mailproxy/mixnet/directory"
)

// ConfigVersion is the version of a node's configuration that this program reads.
const ConfigVersion = 1

// Lies is the folder in a node's directory with proofs of directories that lie.
const Lies = "lies"

// Names of files in the directory.
const (
	identityFile = "identity.key"
	entryFile    = "node.toml"
)

// Config is what the configurations of all nodes have in common.
type Config struct {
	Version int            `toml:"version"`
	Role    directory.Role `toml:"role" comment:"what this node is; the network document must say the same"`
	Listen  string         `toml:"listen" comment:"where to listen; others connect to the address in the network document"`
	Network NetworkConfig  `toml:"network"`
	Metrics metrics.Config `toml:"metrics"`

	// State is where keys and data are, if not beside the file; see Dir.
	State string `toml:"state,omitempty" comment:"directory with the keys and all that the node keeps; relative to this file"`

	dir  string // of keys and state
	note []byte // the network document, as Document read it
}

// NetworkConfig says which network document to use and whom to believe about it.
type NetworkConfig struct {
	Document  string   `toml:"document" comment:"file with the signed network document; relative to this file"`
	Keys      []string `toml:"keys" comment:"the operators' keys that may have signed it, as \"mixnode network key\" prints them"`
	Threshold int      `toml:"threshold" comment:"how many of them must have"`
}

// Dir returns the directory in which the node keeps its keys and its state: what the
// configuration says, or else the configuration's own.
func (c *Config) Dir() string { return c.dir }

// Read reads the configuration in file into v, which begins with c.
func Read(file string, c *Config, v any) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(v); err != nil {
		var syntax *toml.DecodeError
		var unknown *toml.StrictMissingError
		switch {
		case errors.As(err, &unknown):
			return fmt.Errorf("configuration %s has settings that this program does not know:\n%s", file, unknown.String())
		case errors.As(err, &syntax):
			row, col := syntax.Position()
			return fmt.Errorf("configuration %s, line %d, column %d: %w", file, row, col, err)
		}
		return fmt.Errorf("configuration %s: %w", file, err)
	}
	switch {
	case c.Version != ConfigVersion:
		return fmt.Errorf("configuration %s has version %d, this program reads %d", file, c.Version, ConfigVersion)
	case c.Network.Document == "":
		return fmt.Errorf("configuration %s names no network document: set network.document", file)
	case c.Listen == "":
		return fmt.Errorf("configuration %s does not say where to listen: set listen", file)
	}
	c.dir = beside(file, c.State)
	c.Network.Document = beside(file, c.Network.Document)
	return nil
}

// Find returns the directory of the node whose configuration that is (see Dir), also
// when the rest of the configuration is not as it must be.
func Find(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var c struct {
		State string `toml:"state"`
	}
	if err := toml.Unmarshal(raw, &c); err != nil {
		return "", fmt.Errorf("configuration %s: %w", file, err)
	}
	return beside(file, c.State), nil
}

// beside returns the path that name is, seen from the configuration's file.
func beside(file, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(file), name)
}

// Self finds the node with that identity in doc. It must have the role that the
// configuration says, lest a document turns a mix into a gateway behind its
// operator's back.
func (c *Config) Self(doc *directory.Document, identity ed25519.PrivateKey) (*directory.Node, error) {
	key := directory.Key(identity.Public().(ed25519.PublicKey))
	for i := range doc.Nodes {
		n := &doc.Nodes[i]
		if n.Identity != key {
			continue
		}
		if n.Role != c.Role {
			return nil, fmt.Errorf("the network document says that node %q is a %s, the configuration that it is a %s", n.Name, n.Role, c.Role)
		}
		return n, nil
	}
	return nil, fmt.Errorf("network %q has no node with the identity key of %s: send %s to whoever makes the network document",
		doc.Network, c.dir, filepath.Join(c.dir, entryFile))
}

// Made says what Make did.
type Made struct {
	Entry  []byte // TOML, for the network document
	NewKey bool
	Config string // file
	Kept   bool   // the configuration was there and is as it was
}

// Make makes a node's directory: the identity key, the entry n with it, and the
// configuration in that file, which may be elsewhere if it says so (see Place). What is
// there is kept, the key above all; an entry that says something else is an error, for
// it may be in a network document already.
func Make(dir, file string, n directory.Node, config any) (*Made, error) {
	if err := n.Check(); err != nil { // before anything is made
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make node directory: %w", err)
	}
	m := &Made{Config: file}
	identity, err := Identity(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, entryFile)); err == nil {
			return nil, fmt.Errorf("%s is missing, and the network knows this node by it: restore it from a backup, or begin anew in another directory", filepath.Join(dir, identityFile))
		}
		m.NewKey = true
		identity, err = newIdentity(dir)
	}
	if err != nil {
		return nil, err
	}
	n.Identity = directory.Key(identity.Public().(ed25519.PublicKey))
	if m.Entry, err = directory.EncodeEntry(n); err != nil {
		return nil, err
	}
	switch have, err := os.ReadFile(filepath.Join(dir, entryFile)); {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := WriteNew(filepath.Join(dir, entryFile), m.Entry); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("read the node's entry: %w", err)
	case !bytes.Equal(have, m.Entry):
		return nil, fmt.Errorf("%s describes another node than asked for; to change it, remove %s and run this again: the key stays", dir, filepath.Join(dir, entryFile))
	}
	text, err := toml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	made, err := WriteNew(m.Config, text)
	m.Kept = !made
	return m, err
}

// ListenAt returns where a node listens that others reach at address: its port, on
// all interfaces, since the address may be another machine's that passes it on.
func ListenAt(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort("", port)
}

// Place returns the file of a configuration for a node in dir: one of that name in it, or
// the file that is asked for, and then what the configuration must say of State.
func Place(dir, name, asked string) (file, state string, err error) {
	if asked == "" || filepath.Dir(asked) == filepath.Clean(dir) {
		if asked == "" {
			asked = filepath.Join(dir, name)
		}
		return asked, "", nil
	}
	state, err = filepath.Abs(dir)
	if err != nil {
		return "", "", fmt.Errorf("find the node's directory: %w", err)
	}
	return asked, state, nil
}

// Say tells, in words for a terminal, what was done and what comes next.
func (m *Made) Say(program string) string {
	var b strings.Builder
	if m.NewKey {
		b.WriteString("A new identity key was made; keep a copy of it in a safe place.\n")
	} else {
		b.WriteString("The identity key was there and stays as it was.\n")
	}
	if m.Kept {
		fmt.Fprintf(&b, "The configuration %s was there and stays as it was.\n", m.Config)
	} else {
		fmt.Fprintf(&b, "The configuration is %s.\n", m.Config)
	}
	fmt.Fprintf(&b, "Send the entry to whoever makes the network document; with the signed document in place, start:\n  %s run --config %s\n", program, m.Config)
	return b.String()
}
