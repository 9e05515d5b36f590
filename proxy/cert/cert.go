// Package cert is the local certificate authority: the certificate by which mail
// programs on this machine recognise the loopback listeners of mailproxy, and
// the authority (CA) that they are told to trust once.
//
// The CA is made at set-up and never replaced by itself: a mail program that has
// to be asked again teaches its user to click warnings away. It can vouch for
// localhost, 127.0.0.1 and ::1 only (name constraints, RFC 5280 section
// 4.2.1.10), so whoever steals its key cannot pose as any other site. The leaf
// lives a year and is renewed by the CA before it ends, which nobody notices.
//
// Its keys are sealed with the key of the daemon's store; the certificates are
// public, and can be read without it: see Read.
//
// It has nothing to do with the network's own keys. proxy and cmd/mailproxy import
// it, and the package beneath it that tells mail programs to trust the CA.
package cert

import (
	"crypto"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mailproxy/internal/durable"
)

// The files in the directory, which holds nothing else.
const (
	caFile      = "ca.pem"
	caKeyFile   = "ca.key"
	leafFile    = "leaf.pem"
	leafKeyFile = "leaf.key"
)

// Lifetimes. Some programs refuse leaves of more than 398 days, and of more than
// 825 even from a CA that the user added.
const (
	caLife     = 20 * 365 * 24 * time.Hour
	leafLife   = 365 * 24 * time.Hour
	renewAhead = 60 * 24 * time.Hour // before the leaf ends
	skew       = 24 * time.Hour      // certificates begin this long ago: clocks differ
)

// ErrDamaged is wrapped by the errors of Ensure that the user must mend. Their
// text says how.
var ErrDamaged = errors.New("local certificates cannot be used")

// Local is the CA and the leaf of one directory. Its methods may be called from
// any goroutine.
type Local struct {
	dir   string
	seal  cipher.AEAD // of the key files; nil for none
	now   func() time.Time
	ca    *x509.Certificate
	caKey crypto.Signer
	key   crypto.Signer // of every leaf

	mu    sync.Mutex // guards what follows
	leaf  *tls.Certificate
	trial error // of the last renewal
}

// Ensure loads what is in dir, or makes it if dir does not exist or is empty. Keys
// are sealed with storeKey, the key of the daemon's store, and what lies unsealed is
// sealed; nil is for no seal. It renews the leaf if that is due. Files that are missing, damaged, readable by
// others or do not belong together are an error that wraps ErrDamaged; nothing is
// ever replaced because of it. Only keys and certificates of this package may be
// in dir.
func Ensure(dir string, storeKey []byte, now func() time.Time) (*Local, error) {
	seal, err := sealer(storeKey)
	if err != nil {
		return nil, fmt.Errorf("seal local certificates: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read certificate directory: %w", err)
	}
	if len(names) == 0 {
		if err := create(dir, seal, now()); err != nil {
			// Another process may have been faster: then its are the ones.
			if names, rerr := os.ReadDir(dir); rerr != nil || len(names) == 0 {
				return nil, fmt.Errorf("make local certificates: %w", err)
			}
		}
	}
	return load(dir, seal, now)
}

// create makes everything in a directory beside dir and then moves it into its
// place: a crash leaves all or nothing.
func create(dir string, seal cipher.AEAD, now time.Time) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".new-certificates-") // mode 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // gone already if all went well

	ca, caKey, err := newCA(now)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := newLeaf(ca, caKey, key, now)
	if err != nil {
		return err
	}
	err = errors.Join(
		writeKey(filepath.Join(tmp, caKeyFile), caKey, seal),
		writeCert(filepath.Join(tmp, caFile), ca.Raw),
		writeKey(filepath.Join(tmp, leafKeyFile), key, seal),
		writeCert(filepath.Join(tmp, leafFile), der),
	)
	if err != nil {
		return err
	}
	// An empty directory is in the way on some systems.
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return durable.SyncDir(parent)
}

// load reads the four files and checks that they fit together.
func load(dir string, seal cipher.AEAD, now func() time.Time) (*Local, error) {
	l := &Local{dir: dir, seal: seal, now: now}
	var err error
	var open bool
	if l.caKey, open, err = readKey(l.path(caKeyFile), seal); err != nil {
		return nil, l.damagedCA(err)
	}
	if l.ca, err = readCert(l.path(caFile)); err != nil {
		return nil, l.damagedCA(err)
	}
	switch t := now(); {
	case !l.ca.IsCA || l.ca.CheckSignatureFrom(l.ca) != nil:
		return nil, l.damagedCA(errors.New(caFile + " is not a certificate authority"))
	case !fits(l.ca, l.caKey):
		return nil, l.damagedCA(errors.New(caKeyFile + " is not the key of " + caFile))
	case t.After(l.ca.NotAfter):
		return nil, l.damagedCA(fmt.Errorf("the authority ended on %s", l.ca.NotAfter.Format(time.DateOnly)))
	case t.Before(l.ca.NotBefore):
		return nil, fmt.Errorf("%w: the authority begins on %s, which is still to come: set this computer's clock",
			ErrDamaged, l.ca.NotBefore.Format(time.DateOnly))
	}
	if open && seal != nil { // as an earlier release left it
		if err := writeKey(l.path(caKeyFile), l.caKey, seal); err != nil {
			return nil, fmt.Errorf("seal the authority's key: %w", err)
		}
	}
	if err := l.loadLeaf(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewLocked(); l.trial != nil && !l.validLocked() {
		return nil, l.trial
	}
	return l, nil
}

// loadLeaf reads the leaf and its key. Where they are missing it makes them: the
// CA is what mail programs trust.
func (l *Local) loadLeaf() error {
	_, err := os.Lstat(l.path(leafFile))
	missing := errors.Is(err, os.ErrNotExist)

	var open bool
	l.key, open, err = readKey(l.path(leafKeyFile), l.seal)
	if errors.Is(err, os.ErrNotExist) && missing {
		key, gerr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if gerr != nil {
			return fmt.Errorf("make leaf key: %w", gerr)
		}
		l.key, open, err = key, true, nil
	}
	if err != nil {
		return l.damagedLeaf(err)
	}
	if open && (missing || l.seal != nil) {
		if err := writeKey(l.path(leafKeyFile), l.key, l.seal); err != nil {
			return fmt.Errorf("write leaf key: %w", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if missing {
		return l.issueLocked()
	}
	leaf, err := readCert(l.path(leafFile))
	if err != nil {
		return l.damagedLeaf(err)
	}
	if !fits(leaf, l.key) {
		return l.damagedLeaf(errors.New(leafKeyFile + " is not the key of " + leafFile))
	}
	pool := x509.NewCertPool()
	pool.AddCert(l.ca)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		// At a time when it is valid: whether it still is, is another matter.
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: leaf.NotBefore.Add(skew)}); err != nil {
			return l.damagedLeaf(fmt.Errorf("%s does not serve %s: %w", leafFile, name, err))
		}
	}
	l.setLocked(leaf)
	return nil
}

func (l *Local) damagedCA(err error) error {
	if errors.Is(err, errReadable) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("%w: %w; restore %s from a backup, or move it away: a new authority is made then, "+
		"which every mail program must be told to trust again", ErrDamaged, err, l.dir)
}

func (l *Local) damagedLeaf(err error) error {
	if errors.Is(err, errReadable) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("%w: %w; remove %s and %s: new ones are made then, and mail programs will not notice",
		ErrDamaged, err, l.path(leafFile), l.path(leafKeyFile))
}

func (l *Local) path(name string) string { return filepath.Join(l.dir, name) }

// issueLocked makes a leaf for the key that there is. Since the key stays, one
// file changes, at once.
func (l *Local) issueLocked() error {
	der, err := newLeaf(l.ca, l.caKey, l.key, l.now())
	if err != nil {
		return fmt.Errorf("renew local certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("renew local certificate: %w", err)
	}
	if err := writeCert(l.path(leafFile), der); err != nil {
		return fmt.Errorf("renew local certificate: %w", err)
	}
	l.setLocked(leaf)
	return nil
}

func (l *Local) setLocked(leaf *x509.Certificate) {
	l.leaf = &tls.Certificate{Certificate: [][]byte{leaf.Raw, l.ca.Raw}, PrivateKey: l.key, Leaf: leaf}
}

// renewLocked replaces the leaf if it ends soon, or begins later than now because
// it was made while the clock was wrong.
func (l *Local) renewLocked() {
	now, leaf := l.now(), l.leaf.Leaf
	ends := now.After(leaf.NotAfter.Add(-renewAhead)) && leaf.NotAfter.Before(l.ca.NotAfter)
	if !ends && !now.Before(leaf.NotBefore) {
		l.trial = nil
		return
	}
	l.trial = l.issueLocked()
}

func (l *Local) validLocked() bool {
	now := l.now()
	return !now.Before(l.leaf.Leaf.NotBefore) && !now.After(l.leaf.Leaf.NotAfter)
}

// TLS returns a new configuration for servers, which renews the leaf when it is
// due. It speaks TLS 1.2 and later: mail programs on systems that are no longer
// kept have nothing newer, and 1.2 with the suites of crypto/tls is sound.
//
// It offers no session to resume. On loopback nothing is won by one, and the tickets
// come when a client has not asked anything yet: imaplib2, which offlineimap uses, then
// reads and writes at once on one connection of OpenSSL, which sometimes loses what it
// wrote, and both sides wait.
func (l *Local) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.current() },
	}
}

func (l *Local) current() (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewLocked(); l.trial != nil && !l.validLocked() {
		return nil, l.trial
	}
	return l.leaf, nil
}

// Check renews the leaf if that is due, and returns why it could not be renewed.
func (l *Local) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewLocked()
	return l.trial
}

// NotAfter returns when the present leaf ends.
func (l *Local) NotAfter() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leaf.Leaf.NotAfter
}

// CAFile returns the path of the CA's certificate in PEM, which is what mail
// programs are told to trust.
func (l *Local) CAFile() string { return l.path(caFile) }

// Fingerprint returns the SHA-256 of the CA's certificate as mail programs show it.
func (l *Local) Fingerprint() string { return fingerprint(l.ca.Raw) }

func newCA(now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	id := make([]byte, 4) // so that two CAs are not taken for each other
	if _, err := rand.Read(id); err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "mailproxy local authority " + hex.EncodeToString(id)},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves only
		// Critical, as RFC 5280 demands: a program that cannot check the
		// constraints should not trust this CA.
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{"localhost"},
		PermittedIPRanges: []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 1).To4(), Mask: net.CIDRMask(32, 32)},
			{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		},
		// Nothing but servers: no mail and no program can be signed under it.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	c, err = x509.ParseCertificate(der)
	return c, key, err
}

func newLeaf(ca *x509.Certificate, caKey, key crypto.Signer, now time.Time) ([]byte, error) {
	end := now.Add(leafLife)
	if end.After(ca.NotAfter) {
		end = ca.NotAfter
	}
	begin := now.Add(-skew)
	if begin.Before(ca.NotBefore) {
		begin = ca.NotBefore
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "localhost"},
		NotBefore:             begin,
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback},
	}, ca, key.Public(), caKey)
}

// fits reports whether key is the certificate's.
func fits(c *x509.Certificate, key crypto.Signer) bool {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(c.PublicKey)
}
