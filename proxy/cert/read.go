package cert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// ErrNone is wrapped by the error of Read for a directory without certificates.
var ErrNone = errors.New("there are no certificates yet")

// Info is what anybody may know of the certificates in a directory.
type Info struct {
	Name        string    `json:"name"`        // of the authority, which no other has
	Fingerprint string    `json:"fingerprint"` // of the authority, as mail programs show it
	File        string    `json:"file"`        // with the authority in PEM
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
	Leaf        Leaf      `json:"leaf"`

	authority *x509.Certificate
}

// Leaf is the certificate that mail programs are shown.
type Leaf struct {
	Fingerprint string    `json:"fingerprint"`
	File        string    `json:"file"`
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
	RenewedFrom time.Time `json:"renewed_from"` // from then on the daemon renews it
	Names       []string  `json:"names"`
}

// Read reads the certificates in dir, and no keys. A damaged one is an error that
// wraps ErrDamaged.
func Read(dir string) (*Info, error) {
	i := &Info{File: filepath.Join(dir, caFile), Leaf: Leaf{File: filepath.Join(dir, leafFile)}}
	ca, err := readCert(i.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: the daemon makes them at its first start", ErrNone, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	leaf, err := readCert(i.Leaf.File)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	i.authority = ca
	i.Name, i.Fingerprint, i.From, i.Until = ca.Subject.CommonName, fingerprint(ca.Raw), ca.NotBefore, ca.NotAfter
	i.Leaf.Fingerprint, i.Leaf.From, i.Leaf.Until = fingerprint(leaf.Raw), leaf.NotBefore, leaf.NotAfter
	i.Leaf.RenewedFrom = leaf.NotAfter.Add(-renewAhead)
	i.Leaf.Names = append(i.Leaf.Names, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		i.Leaf.Names = append(i.Leaf.Names, ip.String())
	}
	return i, nil
}

// DER returns the authority's certificate.
func (i *Info) DER() []byte { return i.authority.Raw }

// PEM returns the authority's certificate.
func (i *Info) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certType, Bytes: i.authority.Raw})
}

// fingerprint returns a SHA-256 as mail programs show it: pairs of upper-case
// hexadecimal digits with colons between them.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = strings.ToUpper(hex.EncodeToString([]byte{b}))
	}
	return strings.Join(pairs, ":")
}
