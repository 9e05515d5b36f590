package cert

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"mailproxy/internal/durable"
)

// errReadable is wrapped for a key that others may read.
var errReadable = errors.New("others can read it")

const (
	certType = "CERTIFICATE"
	keyType  = "PRIVATE KEY" // PKCS #8
)

// maxFile bounds what is read: a certificate has less than 1 KiB.
const maxFile = 64 << 10

func readCert(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, certType)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return c, nil
}

func readKey(path string) (crypto.Signer, error) {
	der, err := readPEM(path, keyType)
	if err != nil {
		return nil, err
	}
	// Windows has no such bits; there the directory's owner decides.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is a secret key and %w: run chmod 600 %s", path, errReadable, path)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that cannot sign", path)
	}
	return signer, nil
}

// readPEM returns what the file's only block holds.
func readPEM(path, kind string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is damaged: it has %d bytes", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	switch {
	case len(data) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	case block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) != 0:
		return nil, fmt.Errorf("%s is damaged: it is not one %s in PEM", path, kind)
	}
	return block.Bytes, nil
}

func writeCert(path string, der []byte) error {
	return write(path, pem.EncodeToMemory(&pem.Block{Type: certType, Bytes: der}), 0o644)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return write(path, pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der}), 0o600)
}

// write puts data under path so that a crash leaves the old file or the new one.
func write(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-"+filepath.Base(path)+"-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}
