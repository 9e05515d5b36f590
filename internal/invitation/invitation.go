// Package invitation is the one string that a provider gives to whom it invites: where
// the network document is, who must have signed it, the provider, and the code that
// lets in.
//
// It fetches nothing and believes nothing. Whoever hands a person an invitation decides
// which network they join, so it has to come from the provider by a way that the person
// trusts; the checksum is against slips, not against forgery. cmd/mailspool makes
// invitations, cmd/mailproxy reads them; it is a leaf.
package invitation

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"mailproxy/internal/address"
	"mailproxy/internal/codec"
)

// Bounds.
const (
	// MaxSize is how many characters an invitation may have, without blanks.
	MaxSize = 8 << 10
	// maxKeys and maxText bound what is in one.
	maxKeys = 64
	maxText = 512
)

// prefix tells what the string is, and its version.
const (
	name    = "mailproxy"
	version = "1"
	prefix  = name + version
)

// checksumSize is how many bytes of SHA-256 stand at the end.
const checksumSize = 4

// Errors of Parse. Each is a sentence for a person.
var (
	ErrForeign = errors.New("this is no invitation: one begins with \"" + name + "\"; copy all of it from what your provider sent you")
	ErrVersion = errors.New("this invitation is of another version than this program reads; install the newest one")
	ErrDamaged = errors.New("this invitation is not complete, or has a slip in it; copy all of it once more")
)

// An Invitation says how to join a network.
type Invitation struct {
	// Document is where the signed network document is: an https address, or, for
	// networks on one computer, the path of a file.
	Document string `cbor:"1,keyasint"`
	// Keys are those that may have signed it, as directory.Trust has them, of which
	// Threshold must have.
	Keys      []string `cbor:"2,keyasint"`
	Threshold int      `cbor:"3,keyasint"`
	// Provider is the domain of the address that will be.
	Provider string `cbor:"4,keyasint"`
	// Code lets in, where the provider wants one.
	Code string `cbor:"5,keyasint,omitempty"`
}

// encoding has letters and digits only, in one case: it survives being read out, and
// a double click selects all of it.
var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// String returns the invitation in one line of letters and digits. It fails for one
// that Parse would refuse.
func (i Invitation) String() (string, error) {
	if err := i.check(); err != nil {
		return "", fmt.Errorf("make invitation: %w", err)
	}
	b, err := codec.Marshal(i)
	if err != nil {
		return "", fmt.Errorf("make invitation: %w", err)
	}
	sum := sha256.Sum256(b)
	s := prefix + strings.ToLower(encoding.EncodeToString(append(b, sum[:checksumSize]...)))
	if len(s) > MaxSize {
		return "", fmt.Errorf("make invitation: it has %d characters, and %d are most", len(s), MaxSize)
	}
	return s, nil
}

// Parse reads an invitation. Mail programs break lines and quote with ">"; both are
// forgiven, and so is the case. It wraps ErrForeign, ErrVersion or ErrDamaged.
func Parse(s string) (i Invitation, err error) {
	s = strings.ToLower(strings.Map(func(r rune) rune {
		if r <= ' ' || r == '>' || r == '\u00a0' || r == '\u200b' || r == '\ufeff' {
			return -1
		}
		return r
	}, s))
	rest, ok := strings.CutPrefix(s, name)
	switch {
	case !ok || rest == "":
		return i, ErrForeign
	case len(s) > MaxSize:
		return i, ErrDamaged
	}
	if rest, ok = strings.CutPrefix(rest, version); !ok {
		return i, ErrVersion
	}
	b, err := encoding.DecodeString(strings.ToUpper(rest))
	if err != nil || len(b) <= checksumSize {
		return i, ErrDamaged
	}
	body, sum := b[:len(b)-checksumSize], sha256.Sum256(b[:len(b)-checksumSize])
	if !bytes.Equal(sum[:checksumSize], b[len(body):]) {
		return i, ErrDamaged
	}
	if err := codec.Unmarshal(body, &i); err != nil {
		return Invitation{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := i.check(); err != nil {
		return Invitation{}, fmt.Errorf("this invitation cannot be used: %w; tell your provider", err)
	}
	return i, nil
}

// check says what an invitation must not be.
func (i *Invitation) check() error {
	switch {
	case len(i.Keys) == 0 || len(i.Keys) > maxKeys:
		return fmt.Errorf("it names %d keys that sign the network document, and 1 to %d are possible", len(i.Keys), maxKeys)
	case i.Threshold < 1 || i.Threshold > len(i.Keys):
		return fmt.Errorf("%d of its %d keys cannot sign the network document", i.Threshold, len(i.Keys))
	case !address.IsCanonical("x@" + i.Provider):
		return fmt.Errorf("its provider %q is not a domain", i.Provider)
	}
	for _, text := range append([]string{i.Document, i.Provider, i.Code}, i.Keys...) {
		if len(text) > maxText || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("a part of it is too long, or not text")
		}
	}
	if i.File() != "" {
		return nil
	}
	u, err := url.Parse(i.Document)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("the network document's place %q is neither an https address nor the whole path of a file", i.Document)
	}
	return nil
}

// File returns the path of the network document where that is a file of this computer,
// else "".
func (i *Invitation) File() string {
	if filepath.IsAbs(i.Document) {
		return i.Document
	}
	return ""
}
