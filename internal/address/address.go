// Package address knows what an address of the network looks like, and its one
// canonical spelling, by which accounts, contacts and bundles are looked up.
//
// It is not a parser of mail headers: addresses of the ordinary mail system may
// be richer than these. It is a leaf: any package may import it.
package address

import (
	"errors"
	"fmt"
	"strings"
)

// Longest parts in bytes. An address is bounded by what a key bundle has room
// for (spool.MaxAddressSize), which is less than RFC 5321 section 4.5.3.1 allows.
const (
	MaxSize   = 128
	MaxLocal  = 64
	maxDomain = MaxSize - 2 // one byte of local part and the @
)

// ErrInvalid is wrapped by every error of Canonical.
var ErrInvalid = errors.New("not an address of the network")

// localSpecial are the characters beyond letters and digits that a local part
// may hold: atext of RFC 5322 section 3.2.3.
const localSpecial = "!#$%&'*+/=?^_`{|}~-"

// Canonical returns addr in lower case, or an error if it is not local@domain
// with a dot-atom of ASCII characters as local part (RFC 5322 section 3.4.1) and
// a host name as domain. The local part is folded too: two accounts at one
// provider that differ in case only would invite mail to the wrong one.
func Canonical(addr string) (string, error) {
	if len(addr) > MaxSize {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(addr), MaxSize)
	}
	local, domain, ok := strings.Cut(addr, "@")
	if !ok {
		return "", fmt.Errorf("%w: no @", ErrInvalid)
	}
	if !validLocal(local) {
		return "", fmt.Errorf("%w: the part before @ is not well formed", ErrInvalid)
	}
	if !validDomain(domain) {
		return "", fmt.Errorf("%w: the part after @ is not a domain", ErrInvalid)
	}
	return lower(local) + "@" + lower(domain), nil
}

// Split returns the parts of a canonical address.
func Split(addr string) (local, domain string) {
	local, domain, _ = strings.Cut(addr, "@")
	return local, domain
}

// IsCanonical reports whether addr is an address of the network in its
// canonical spelling.
func IsCanonical(addr string) bool {
	c, err := Canonical(addr)
	return err == nil && c == addr
}

// Same reports whether a and b are addresses of the network and the same one.
func Same(a, b string) bool {
	ca, errA := Canonical(a)
	cb, errB := Canonical(b)
	return errA == nil && errB == nil && ca == cb
}

func validLocal(s string) bool {
	if s == "" || len(s) > MaxLocal {
		return false
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for _, c := range []byte(atom) {
			if !alphanumeric(c) && !strings.ContainsRune(localSpecial, rune(c)) {
				return false
			}
		}
	}
	return true
}

func validDomain(s string) bool {
	if s == "" || len(s) > maxDomain {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !alphanumeric(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// lower folds ASCII only; validLocal and validDomain let nothing else through.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
