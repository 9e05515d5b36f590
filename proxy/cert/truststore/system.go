package truststore

import (
	"context"
	"crypto/sha1" // by which Windows and macOS name certificates
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"

	"mailproxy/internal/durable"
)

// anchors are where distributions look for authorities of the administrator, and the
// program that takes them up.
var anchors = []struct {
	dir    string
	ext    string
	update []string
}{
	{"usr/local/share/ca-certificates", ".crt", []string{"update-ca-certificates"}},           // Debian, Ubuntu, Alpine
	{"etc/pki/ca-trust/source/anchors", ".pem", []string{"update-ca-trust", "extract"}},       // Fedora
	{"etc/ca-certificates/trust-source/anchors", ".crt", []string{"trust", "extract-compat"}}, // Arch
	{"etc/pki/trust/anchors", ".pem", []string{"update-ca-certificates"}},                     // openSUSE
}

// system is the system's own store, and whether this computer has one that is known.
func (c Computer) system() (Place, bool) {
	switch c.OS {
	case "linux":
		return c.anchors()
	case "darwin":
		return c.keychain(), true
	case "windows":
		return c.windows(), true
	}
	return Place{}, false
}

func (c Computer) anchors() (Place, bool) {
	for _, at := range anchors {
		dir := filepath.Join(c.Root, filepath.FromSlash(at.dir))
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		p := Place{Kind: System, Path: dir, on: c, program: at.update[0], admin: true,
			where: "it comes with the system's package ca-certificates"}
		file := func(a Authority) string {
			return filepath.Join(dir, strings.ReplaceAll(a.Name, " ", "-")+at.ext)
		}
		p.trusted = func(_ context.Context, a Authority) (bool, error) { return sameFile(file(a), a) }
		p.add = func(a Authority) []step {
			b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.DER})
			return []step{
				{argv: []string{"cp", a.File, file(a)}, do: func() error { return durable.WriteFile(file(a), b, 0o644) }},
				{argv: at.update},
			}
		}
		p.remove = func(a Authority) []step {
			return []step{
				{argv: []string{"rm", file(a)}, do: func() error { return os.Remove(file(a)) }},
				{argv: at.update},
			}
		}
		return p, true
	}
	return Place{}, false
}

// keychain is the user's own on macOS: its programs ask for the login password.
func (c Computer) keychain() Place {
	file := filepath.Join(c.Home, "Library", "Keychains", "login.keychain-db")
	p := Place{Kind: System, Path: file, on: c, program: "security", where: "it is a part of macOS"}
	p.trusted = func(ctx context.Context, a Authority) (bool, error) {
		out, err := c.Run(ctx, []string{"security", "find-certificate", "-a", "-Z", "-c", a.Name, file})
		// It fails if there is none.
		return err == nil && strings.Contains(strings.ToUpper(out), thumbprint(a)), nil
	}
	p.add = func(a Authority) []step {
		return []step{{argv: []string{"security", "add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-k", file, a.File}}}
	}
	p.remove = func(a Authority) []step {
		return []step{
			{argv: []string{"security", "remove-trusted-cert", a.File}},
			{argv: []string{"security", "delete-certificate", "-Z", thumbprint(a), file}},
		}
	}
	return p
}

// windows is the user's own store there: Windows asks whether it is meant.
func (c Computer) windows() Place {
	p := Place{Kind: System, Path: "Root of the user", on: c, program: "certutil.exe", where: "it is a part of Windows"}
	p.trusted = func(ctx context.Context, a Authority) (bool, error) {
		// It fails if there is none.
		_, err := c.Run(ctx, []string{"certutil.exe", "-user", "-store", "Root", thumbprint(a)})
		return err == nil, nil
	}
	p.add = func(a Authority) []step {
		return []step{{argv: []string{"certutil.exe", "-user", "-addstore", "Root", a.File}}}
	}
	p.remove = func(a Authority) []step {
		return []step{{argv: []string{"certutil.exe", "-user", "-delstore", "Root", thumbprint(a)}}}
	}
	return p
}

// thumbprint names a certificate to macOS and Windows. Nothing rests on its hash.
func thumbprint(a Authority) string {
	sum := sha1.Sum(a.DER)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
