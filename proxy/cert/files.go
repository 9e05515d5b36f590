package cert

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"mailproxy/internal/durable"
)

// errReadable is wrapped for a key that others may read.
var errReadable = errors.New("others can read it")

const (
	certType = "CERTIFICATE"
	keyType  = "PRIVATE KEY" // PKCS #8
	// sealedType is a PKCS #8 key under AES-256-GCM, with a random nonce before it and
	// the name of its file as additional data.
	sealedType = "MAILPROXY SEALED PRIVATE KEY"
)

// sealInfo parts this use of the store's key from all others (RFC 5869 section 3.2).
const sealInfo = "mailproxy keys of local certificates, 1"

// sealer returns what seals and opens key files, made from the key of the daemon's
// store, or nil for no key.
func sealer(key []byte) (cipher.AEAD, error) {
	if key == nil {
		return nil, nil
	}
	k, err := hkdf.Key(sha256.New, key, nil, sealInfo, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// maxFile bounds what is read: a certificate has less than 1 KiB.
const maxFile = 64 << 10

func readCert(path string) (*x509.Certificate, error) {
	block, err := readPEM(path, certType)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return c, nil
}

// readKey reads a key, and says whether it lay there unsealed.
func readKey(path string, seal cipher.AEAD) (key crypto.Signer, open bool, err error) {
	block, err := readPEM(path, keyType, sealedType)
	if err != nil {
		return nil, false, err
	}
	key, err = parseKey(path, block, seal)
	return key, block.Type == keyType, err
}

func parseKey(path string, block *pem.Block, seal cipher.AEAD) (crypto.Signer, error) {
	der := block.Bytes
	// Windows has no such bits; there the directory's owner decides.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is a secret key and %w: run chmod 600 %s", path, errReadable, path)
	}
	if block.Type == sealedType {
		if seal == nil {
			return nil, fmt.Errorf("%s is sealed, and opens with the store's key only", path)
		}
		var err error
		if der, err = seal.Open(nil, nil, der, []byte(filepath.Base(path))); err != nil {
			return nil, fmt.Errorf("%s is damaged, or sealed with the key of another store", path)
		}
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

// readPEM returns the file's only block, which has one of the types.
func readPEM(path string, types ...string) (*pem.Block, error) {
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
	case block == nil || !slices.Contains(types, block.Type) || len(bytes.TrimSpace(rest)) != 0:
		return nil, fmt.Errorf("%s is damaged: it is not one %s in PEM", path, types[0])
	}
	return block, nil
}

func writeCert(path string, der []byte) error {
	return write(path, pem.EncodeToMemory(&pem.Block{Type: certType, Bytes: der}), 0o644)
}

func writeKey(path string, key crypto.Signer, seal cipher.AEAD) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: keyType, Bytes: der}
	if seal != nil {
		block = &pem.Block{Type: sealedType, Bytes: seal.Seal(nil, nil, der, []byte(filepath.Base(path)))}
	}
	return write(path, pem.EncodeToMemory(block), 0o600)
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
