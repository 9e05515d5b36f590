package directory

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/mod/sumdb/note"
)

// A draft is a network document on its way to being signed: its text, TOML, which
// may not be complete yet. What is signed later is that text, byte for byte, so
// that operators who sign it apart from each other sign the same.

// ParseDraft reads a draft. It refuses what is no TOML and keys that no document
// has; whether the document is complete is for Document.Check.
func ParseDraft(text []byte) (*Document, error) {
	if len(text) > maxDocument {
		return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrDocument, len(text), maxDocument)
	}
	d := Document{hash: hashText(text)}
	if err := decode(text, &d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return &d, nil
}

// EncodeDraft returns d as TOML, complete or not.
func EncodeDraft(d *Document) ([]byte, error) {
	text, err := toml.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode network document: %w", err)
	}
	return text, nil
}

// entries is what an operator sends to whoever makes the document: a piece of it.
type entries struct {
	Nodes []Node `toml:"node"`
}

// EncodeEntry returns a node's entry as it stands in a document.
func EncodeEntry(n Node) ([]byte, error) {
	text, err := toml.Marshal(entries{[]Node{n}})
	if err != nil {
		return nil, fmt.Errorf("encode entry of node %q: %w", n.Name, err)
	}
	return text, nil
}

// ParseEntries reads what EncodeEntry made; several may stand one after another.
// Each is checked by itself.
func ParseEntries(text []byte) ([]Node, error) {
	if len(text) > maxDocument {
		return nil, fmt.Errorf("%w: an entry has %d bytes, the limit is %d", ErrDocument, len(text), maxDocument)
	}
	var e entries
	if err := decode(text, &e); err != nil {
		return nil, fmt.Errorf("%w: entry of a node: %w", ErrDocument, err)
	}
	if len(e.Nodes) == 0 {
		return nil, fmt.Errorf("%w: there is no [[node]]", ErrDocument)
	}
	for i := range e.Nodes {
		if err := e.Nodes[i].Check(); err != nil {
			return nil, err
		}
	}
	return e.Nodes, nil
}

// decode reads TOML strictly, and says which setting is unknown.
func decode(text []byte, v any) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(v)
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		row, _ := unknown.Errors[0].Position()
		return fmt.Errorf("line %d: %q is unknown to this program", row, strings.Join(unknown.Errors[0].Key(), "."))
	}
	return err
}

// AddNode adds an entry to a draft. One of the same name and identity key is
// replaced: its operator has changed it. The same name with another key is
// refused, for whoever makes the document must notice that.
func (d *Document) AddNode(n Node) error {
	if err := n.Check(); err != nil {
		return err
	}
	for i := range d.Nodes {
		have := &d.Nodes[i]
		switch {
		case have.Name == n.Name && have.Identity != n.Identity:
			return fmt.Errorf("%w: there is a node %q already, with another identity key", ErrDocument, n.Name)
		case have.Name != n.Name && have.Identity == n.Identity:
			return fmt.Errorf("%w: node %q has the identity key of %q", ErrDocument, n.Name, have.Name)
		case have.Name == n.Name:
			*have = n
			return nil
		}
	}
	d.Nodes = append(d.Nodes, n)
	return nil
}

// RemoveNode takes a node out of a draft. It reports false if there is none of that
// name.
func (d *Document) RemoveNode(name string) bool {
	before := len(d.Nodes)
	d.Nodes = slices.DeleteFunc(d.Nodes, func(n Node) bool { return n.Name == name })
	return len(d.Nodes) < before
}

// Signed reports whether msg looks like a note that somebody has signed, rather
// than a draft.
func Signed(msg []byte) bool { return bytes.Contains(msg, []byte("\n\n— ")) }

// Text returns the text of a signed note without looking at its signatures: to
// begin a new draft from, or to show.
func Text(msg []byte) ([]byte, error) {
	n, err := openAny(msg)
	if err != nil {
		return nil, err
	}
	return []byte(n.Text), nil
}

// openAny parses a note without trusting anybody.
func openAny(msg []byte) (*note.Note, error) {
	if len(msg) > maxDocument {
		return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrDocument, len(msg), maxDocument)
	}
	n, err := note.Open(msg, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return unverified.Note, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return n, nil
}

// AddSignature signs msg, a draft or a note that others have signed, with a C2SP
// signer key, and returns the note with all signatures. The document must be
// complete. Signatures by known, which are verifier keys, are checked: one that is
// false is refused with an error that wraps ErrUntrusted. Those of others are kept
// as they are.
func AddSignature(msg []byte, signer string, known ...string) ([]byte, error) {
	s, err := note.NewSigner(signer)
	if err != nil {
		return nil, fmt.Errorf("sign network document: %w", err)
	}
	n := &note.Note{Text: string(msg)}
	if Signed(msg) {
		if n, err = openAny(msg); err != nil {
			return nil, err
		}
		report, err := Inspect(msg, known)
		if err != nil {
			return nil, err
		}
		if len(report.False) > 0 {
			return nil, report.falseSignature()
		}
	}
	if _, err := parse([]byte(n.Text)); err != nil {
		return nil, err
	}
	signed, err := note.Sign(n, s)
	if err != nil {
		return nil, fmt.Errorf("sign network document: %w", err)
	}
	return signed, nil
}

// A Report says who has signed a network document. The lists are names of keys.
type Report struct {
	Good    []string // trusted, and the signature is right
	False   []string // trusted, and the signature does not fit the text
	Missing []string // trusted, and there is none
	Other   []string // signatures by keys that are not trusted; not checked
}

// Inspect looks for the signatures on msg of each of the trusted keys.
func Inspect(msg []byte, trusted []string) (*Report, error) {
	n, err := openAny(msg)
	if err != nil {
		return nil, err
	}
	verifiers, err := verifiersOf(trusted)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	for _, v := range verifiers {
		_, err := note.Open(msg, note.VerifierList(v))
		var bad *note.InvalidSignatureError
		var unverified *note.UnverifiedNoteError
		switch {
		case err == nil:
			r.Good = append(r.Good, v.Name())
		case errors.As(err, &bad):
			r.False = append(r.False, v.Name())
		case errors.As(err, &unverified):
			r.Missing = append(r.Missing, v.Name())
		default:
			return nil, fmt.Errorf("%w: %w", ErrDocument, err)
		}
	}
	for _, s := range append(n.Sigs, n.UnverifiedSigs...) {
		if !slices.ContainsFunc(verifiers, func(v note.Verifier) bool { return v.Name() == s.Name && v.KeyHash() == s.Hash }) {
			r.Other = append(r.Other, s.Name)
		}
	}
	return r, nil
}

func (r *Report) falseSignature() error {
	return fmt.Errorf("%w: the signature of %s is false: the document was altered, or they signed another", ErrUntrusted, quoted(r.False))
}

// Err returns an error that says which signature failed, or how many are missing
// and whose, or nil if threshold of the trusted keys have signed.
func (r *Report) Err(threshold int) error {
	switch {
	case len(r.False) > 0:
		return r.falseSignature()
	case len(r.Good) < threshold && len(r.Good) == 0:
		return fmt.Errorf("%w: none of the %d trusted keys has signed it", ErrUntrusted, len(r.Missing))
	case len(r.Good) < threshold:
		return fmt.Errorf("%w: %d of %d needed have signed (%s); not: %s", ErrUntrusted, len(r.Good), threshold, quoted(r.Good), quoted(r.Missing))
	}
	return nil
}

// quoted lists names for a sentence.
func quoted(names []string) string {
	var q []string
	for _, n := range names {
		q = append(q, fmt.Sprintf("%q", n))
	}
	return strings.Join(q, ", ")
}
