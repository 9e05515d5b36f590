package directory

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/mod/sumdb/note"
)

// Trust names the keys that may sign a network document and how many must have.
type Trust struct {
	Keys      []string `toml:"keys"` // C2SP verifier keys, name+hash+base64
	Threshold int      `toml:"threshold"`
}

// Sign checks d and returns it as a note signed by every one of keys, which are
// C2SP signer keys.
func Sign(d *Document, keys ...string) ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	text, err := toml.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode network document: %w", err)
	}
	var signers []note.Signer
	for _, k := range keys {
		s, err := note.NewSigner(k)
		if err != nil {
			return nil, fmt.Errorf("sign network document: %w", err)
		}
		signers = append(signers, s)
	}
	msg, err := note.Sign(&note.Note{Text: string(text)}, signers...)
	if err != nil {
		return nil, fmt.Errorf("sign network document: %w", err)
	}
	return msg, nil
}

// Open checks the signatures of msg against trust, and the document in it. It
// wraps ErrUntrusted or ErrDocument.
func Open(msg []byte, trust Trust) (*Document, error) {
	if len(msg) > maxDocument {
		return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrDocument, len(msg), maxDocument)
	}
	if trust.Threshold < 1 || trust.Threshold > len(trust.Keys) {
		return nil, fmt.Errorf("check network document: a threshold of %d with %d trusted keys makes no sense", trust.Threshold, len(trust.Keys))
	}
	verifiers, err := verifiersOf(trust.Keys)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(msg, note.VerifierList(verifiers...))
	var bad *note.InvalidSignatureError
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &bad):
		return nil, fmt.Errorf("%w: the signature of %q is false: the document was altered", ErrUntrusted, bad.Name)
	case errors.As(err, &unverified):
		return nil, fmt.Errorf("%w: none of the %d trusted keys has signed it", ErrUntrusted, len(verifiers))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	case len(n.Sigs) < trust.Threshold: // note.Open counts each key once
		return nil, fmt.Errorf("%w: %d of %d needed have signed (%s)", ErrUntrusted, len(n.Sigs), trust.Threshold, signers(n))
	}
	return parse([]byte(n.Text))
}

// verifiersOf parses verifier keys and refuses one that is there twice.
func verifiersOf(keys []string) ([]note.Verifier, error) {
	var verifiers []note.Verifier
	for _, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return nil, fmt.Errorf("check network document: trusted key %q: %w", k, err)
		}
		if slices.ContainsFunc(verifiers, func(w note.Verifier) bool {
			return w.Name() == v.Name() && w.KeyHash() == v.KeyHash()
		}) {
			return nil, fmt.Errorf("check network document: trusted key %q is listed twice", k)
		}
		verifiers = append(verifiers, v)
	}
	return verifiers, nil
}

func signers(n *note.Note) string {
	var names []string
	for _, s := range n.Sigs {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func parse(text []byte) (*Document, error) {
	d := Document{hash: hashText(text)}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if err := d.Check(); err != nil {
		return nil, err
	}
	return &d, nil
}

// VerifierKey returns the verifier key of a C2SP signer key.
func VerifierKey(signer string) (string, error) {
	// PRIVATE+KEY+name+hash+base64(algorithm, seed), see c2sp.org/signed-note.
	parts := strings.SplitN(signer, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("signer key is malformed")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", errors.New("signer key is malformed")
	}
	pub := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	v, err := note.NewEd25519VerifierKey(parts[2], pub)
	if err != nil {
		return "", fmt.Errorf("derive verifier key: %w", err)
	}
	return v, nil
}
