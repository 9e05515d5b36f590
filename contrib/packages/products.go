package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// product is what a package is for: one program, and what it needs on a system.
type product struct {
	name, program string
	summary       string
	description   string // more of it, in lines of at most 79 characters
	section       string // of Debian
	depends       map[string][]string
	recommends    map[string][]string
	docs          []string // in docs/
	scripts       string   // scripts/NAME.postinst and so on
	files         map[string]string
}

// nodeDepends is what makes users and folders, in packages of each kind.
var nodeDepends = map[string][]string{
	"deb": {"systemd | systemd-standalone-sysusers | systemd-sysusers", "systemd | systemd-standalone-tmpfiles | systemd-tmpfiles"},
	"rpm": {"systemd"},
}

// nodeFiles are what a node's program needs beside it: from where in the tree, to where.
func nodeFiles(program string) map[string]string {
	return map[string]string{
		"contrib/systemd/" + program + "@.service": "/usr/lib/systemd/system/" + program + "@.service",
		"contrib/systemd/" + program + ".sysusers": "/usr/lib/sysusers.d/" + program + ".conf",
		"contrib/systemd/" + program + ".tmpfiles": "/usr/lib/tmpfiles.d/" + program + ".conf",
		"contrib/systemd/README.md":                "/usr/share/doc/" + productOf[program] + "/systemd.md",
	}
}

var productOf = map[string]string{"mailspool": "mailproxy-spool", "mixnode": "mailproxy-mix"}

var products = []product{
	{
		name: "mailproxy", program: "mailproxy", section: "mail", scripts: "user",
		summary: "private e-mail through a mix network, on localhost",
		description: `It offers SMTP, IMAP and POP3 on localhost to any mail program. What it is
handed leaves as packets of a mix network, under cover traffic that is the same
whether there is mail or not. It carries mail between addresses of its network.`,
		recommends: map[string][]string{"deb": {"libnss3-tools"}, "rpm": {"nss-tools"}},
		docs:       []string{"imap.md", "laptop.md", "mail-programs.md", "mailbox.md", "sent.md", "status-page.md", "threat-model.md"},
		files:      map[string]string{"contrib/systemd/mailproxy.service": "/usr/lib/systemd/user/mailproxy.service"},
	},
	{
		name: "mailproxy-spool", program: "mailspool", section: "mail", scripts: "node",
		summary: "provider of a mix network for e-mail",
		description: `For those who run a provider of a mailproxy network: the service node that
keeps sealed mail until its users' daemons fetch it, and its administration.`,
		depends: nodeDepends, docs: []string{"operating.md", "parameters.md", "performance.md", "threat-model.md"},
		files: nodeFiles("mailspool"),
	},
	{
		name: "mailproxy-mix", program: "mixnode", section: "net", scripts: "node",
		summary: "mix, gateway or directory of a mix network for e-mail",
		description: `For those who run a node of a mailproxy network, and for making and signing
the document that says which nodes are in it.`,
		depends: nodeDepends, docs: []string{"operating.md", "parameters.md", "performance.md", "threat-model.md"},
		files: nodeFiles("mixnode"),
	},
}

// file is one that a package installs.
type file struct {
	path    string
	mode    fs.FileMode
	data    []byte
	licence bool
}

// shared returns the files of a product that are the same in all kinds of packages for
// a system with systemd, but for the program, its licences and its changes.
func (p *product) shared(src *source) ([]file, error) {
	var files []file
	for from, to := range p.files {
		data, err := os.ReadFile(filepath.Join(src.root, filepath.FromSlash(from)))
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.name, err)
		}
		files = append(files, file{path: to, mode: 0o644, data: data})
	}
	docs, err := p.documents(src)
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		d.path = "/usr/share/doc/" + p.name + "/" + d.path
		files = append(files, d)
	}
	return files, nil
}

// documents returns the texts that go with a product, by their names in the tree.
func (p *product) documents(src *source) ([]file, error) {
	names := []string{"README.md"}
	for _, d := range p.docs {
		names = append(names, "docs/"+d)
	}
	var files []file
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(src.root, filepath.FromSlash(name)))
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.name, err)
		}
		files = append(files, file{path: name, mode: 0o644, data: data})
	}
	return files, nil
}

// debianFiles returns what Debian's policy wants: the licences of everything in one file
// (12.5), and the changes, compressed (12.7).
func (p *product) debianFiles(src *source, notices string) ([]file, error) {
	copyright := "This package is mailproxy, version " + src.version + ".\n\nCopyright: 2026 the mailproxy authors\nLicence: Apache License, version 2.0; see /usr/share/common-licenses/Apache-2.0\n\n" + notices
	changes := fmt.Sprintf("%s (%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n -- %s  %s\n",
		p.name, debianVersion(src.version), src.commit, src.maintainer, src.time.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	packed, err := gzipped([]byte(changes))
	if err != nil {
		return nil, err
	}
	doc := "/usr/share/doc/" + p.name + "/"
	return []file{{path: doc + "copyright", mode: 0o644, data: []byte(copyright)}, {path: doc + "changelog.gz", mode: 0o644, data: packed}}, nil
}

// rpmFiles returns the licences, where rpm looks for them.
func (p *product) rpmFiles(src *source, notices string) ([]file, error) {
	own, err := os.ReadFile(filepath.Join(src.root, "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.name, err)
	}
	dir := "/usr/share/licenses/" + p.name + "/"
	return []file{{path: dir + "LICENSE", mode: 0o644, data: own, licence: true}, {path: dir + "NOTICE", mode: 0o644, data: []byte(notices), licence: true}}, nil
}

// script returns a script that runs with an installation, or nothing if there is none.
func (p *product) script(src *source, when string) (string, error) {
	text, err := os.ReadFile(filepath.Join(src.root, "contrib", "packages", "scripts", p.scripts+"."+when))
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("package %s: %w", p.name, err)
	}
	return strings.ReplaceAll(string(text), "@PROGRAM@", p.program), nil
}

// gzipped compresses, without a name or time.
func gzipped(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// base is the name of an artefact without its ending.
func (p *product) base(src *source, t target) string {
	return p.name + "_" + src.version + "_" + t.os + "_" + t.arch
}
