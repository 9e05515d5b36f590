package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

// testKey is the key of a store.
var testKey = bytes.Repeat([]byte{7}, 32)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func ensure(t *testing.T, dir string, now time.Time) *Local {
	t.Helper()
	l, err := Ensure(dir, testKey, at(now))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// files returns what is in dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[n.Name()] = string(b)
	}
	return all
}

func equal(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func pool(t *testing.T, l *Local) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(l.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		t.Fatal("the CA file holds no certificate")
	}
	return p
}

// shake connects to a server with l's configuration.
func shake(t *testing.T, l *Local, now time.Time, name string, change func(*tls.Config)) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = tls.Server(b, l.TLS()).Handshake()
		_ = b.Close()
	})
	defer wg.Wait()
	defer a.Close()
	config := &tls.Config{RootCAs: pool(t, l), ServerName: name, Time: at(now), MinVersion: tls.VersionTLS10}
	if change != nil {
		change(config)
	}
	c := tls.Client(a, config)
	err := c.Handshake()
	return c.ConnectionState(), err
}

func TestEnsure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "certificates")
	l := ensure(t, dir, start)
	made := files(t, dir)
	if len(made) != 4 {
		t.Fatalf("%d files", len(made))
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if runtime.GOOS != "windows" {
		for name, want := range map[string]os.FileMode{".": 0o700, caFile: 0o644, caKeyFile: 0o600, leafFile: 0o644, leafKeyFile: 0o600} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s has mode %o, want %o", name, got, want)
			}
		}
	}
	again := ensure(t, dir, start.Add(time.Hour))
	if !equal(made, files(t, dir)) || again.Fingerprint() != l.Fingerprint() {
		t.Error("the second Ensure changed something")
	}
	if f := l.Fingerprint(); len(f) != 95 || strings.Trim(f, "0123456789ABCDEF:") != "" {
		t.Errorf("fingerprint %q", f)
	}
	// An empty directory is as good as none.
	if other := ensure(t, t.TempDir(), start); other.Fingerprint() == l.Fingerprint() {
		t.Error("two authorities are the same")
	}
}

// Design section 8: "a self-signed leaf that is also a CA and names only
// 127.0.0.1".
func TestTrapLeafIsNoAuthorityAndServesAllNames(t *testing.T) {
	l := ensure(t, filepath.Join(t.TempDir(), "c"), start)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		state, err := shake(t, l, start, name, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		leaf := state.PeerCertificates[0]
		if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
			t.Error("the leaf is an authority")
		}
		if state.Version != tls.VersionTLS13 {
			t.Errorf("version %x", state.Version)
		}
	}
	if _, err := shake(t, l, start, "example.org", nil); err == nil {
		t.Error("the leaf serves example.org")
	}
	if _, err := shake(t, l, start, "localhost", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
	if _, err := shake(t, l, start, "localhost", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// forge signs a leaf for somebody else with the CA's key.
func forge(t *testing.T, l *Local, change func(*x509.Certificate)) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "forged"}, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, l.ca, key.Public(), l.caKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestStolenKeyVouchesForNobodyElse(t *testing.T) {
	l := ensure(t, filepath.Join(t.TempDir(), "c"), start)
	for name, change := range map[string]func(*x509.Certificate){
		"example.org": func(c *x509.Certificate) { c.DNSNames = []string{"example.org"} },
		"10.0.0.1":    func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} },
		"fe80::1":     func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("fe80::1")} },
	} {
		der := forge(t, l, change)
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Verify(x509.VerifyOptions{DNSName: name, Roots: pool(t, l), CurrentTime: start}); err == nil {
			t.Errorf("Go trusts %s", name)
		}
		if err := openssl(t, l, der, name); err == nil {
			t.Errorf("openssl trusts %s", name)
		}
	}
	der := forge(t, l, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })
	if err := openssl(t, l, der, "localhost"); err != nil {
		t.Errorf("control: %v", err)
	}
	signer := forge(t, l, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} })
	c, err := x509.ParseCertificate(signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: pool(t, l), CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}); err == nil {
		t.Error("mail can be signed under the CA")
	}
}

// openssl verifies a certificate for a name; without openssl it skips the test.
func openssl(t *testing.T, l *Local, der []byte, name string) error {
	t.Helper()
	bin, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	file := filepath.Join(t.TempDir(), "leaf.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: certType, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	kind := "-verify_hostname"
	if net.ParseIP(name) != nil {
		kind = "-verify_ip"
	}
	out, err := exec.Command(bin, "verify", "-x509_strict", "-purpose", "sslserver", "-attime", "1795356000",
		kind, name, "-CAfile", l.CAFile(), file).CombinedOutput()
	if err != nil {
		return errors.New(string(out))
	}
	return nil
}

func TestOpenSSL(t *testing.T) {
	l := ensure(t, filepath.Join(t.TempDir(), "c"), start)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := openssl(t, l, l.leaf.Certificate[0], name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLeafIsRenewed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	now := start
	l, err := Ensure(dir, testKey, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	made, config := files(t, dir), l.TLS()
	now = start.Add(leafLife - renewAhead - time.Minute)
	if err := l.Check(); err != nil || !equal(made, files(t, dir)) {
		t.Fatalf("renewed too early, or %v", err)
	}
	now = start.Add(leafLife - renewAhead + time.Minute)
	c, err := config.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Leaf.NotAfter.After(now.Add(leafLife-time.Minute)) || !l.NotAfter().Equal(c.Leaf.NotAfter) {
		t.Errorf("the leaf ends on %v", c.Leaf.NotAfter)
	}
	after := files(t, dir)
	if after[leafFile] == made[leafFile] {
		t.Error("the new leaf was not written")
	}
	delete(after, leafFile)
	delete(made, leafFile)
	if !equal(after, made) {
		t.Error("more than the leaf changed")
	}
	if _, err := shake(t, l, now, "localhost", nil); err != nil {
		t.Error(err)
	}
	// A leaf that was made while the clock was wrong.
	now = start
	if err := l.Check(); err != nil || l.NotAfter().After(start.Add(leafLife)) {
		t.Errorf("%v, ends on %v", err, l.NotAfter())
	}
	// Long ended while the program was off.
	now = start.Add(5 * leafLife)
	l = ensure(t, dir, now)
	if _, err := shake(t, l, now, "::1", nil); err != nil {
		t.Error(err)
	}
	// The last leaf of a CA ends with it and is not renewed for ever.
	now = start.Add(caLife - time.Hour)
	ensure(t, dir, now)
	last := files(t, dir)
	ensure(t, dir, now.Add(time.Minute))
	if !equal(last, files(t, dir)) {
		t.Error("the last leaf was renewed again")
	}
	if _, err := Ensure(dir, testKey, at(start.Add(caLife+time.Hour))); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "ended on") {
		t.Errorf("an ended CA: %v", err)
	}
	if _, err := Ensure(dir, testKey, at(start.Add(-48*time.Hour))); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "clock") {
		t.Errorf("a clock before the CA: %v", err)
	}
	if !equal(last, files(t, dir)) {
		t.Error("an error replaced something")
	}
}

func TestRenewalFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	now := start
	l, err := Ensure(dir, testKey, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	now = start.Add(leafLife - time.Hour)
	if _, err := l.current(); err != nil {
		t.Errorf("a leaf that is still good is not used: %v", err)
	}
	if err := l.Check(); err == nil {
		t.Error("Check is silent")
	}
	now = start.Add(leafLife + time.Hour)
	if _, err := l.current(); err == nil {
		t.Error("an ended leaf is used")
	}
	if err := os.Rename(dir+"-gone", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := l.current(); err != nil || l.Check() != nil {
		t.Errorf("not renewed when it was possible again: %v", err)
	}
}
