package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers itself, as does rpm
	nfpmfiles "github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// nobody stands where a name and an address must, when who builds gives none: the
// project has no address for mail.
const nobody = "mailproxy maintainers <maintainers@localhost.localdomain>"

// pack makes a deb or rpm of files. It uses paths that begin with stage.
func pack(src *source, p *product, t target, kind string, files []file, stage string) (artefact, error) {
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return artefact{}, fmt.Errorf("package %s: %w", p.name, err)
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: p.name, Arch: t.arch, Platform: "linux", Version: src.version, Section: p.section, Priority: "optional",
		Maintainer: src.maintainer, License: "Apache-2.0", MTime: src.time, Description: p.summary + "\n" + p.description,
		DisableGlobbing: true,
	})
	info.Depends, info.Recommends = p.depends[kind], p.recommends[kind]
	// gzip: every dpkg and rpm reads it, and xz would take a minute for a fifth less.
	info.RPM = nfpm.RPM{BuildHost: "localhost", Summary: p.summary, Group: "Applications/Internet", Compression: "gzip:9"}
	info.Deb = nfpm.Deb{Compression: "gzip:9"}
	for i, f := range files {
		from := filepath.Join(stage, fmt.Sprint(i))
		if err := os.WriteFile(from, f.data, 0o600); err != nil {
			return artefact{}, fmt.Errorf("package %s: %w", p.name, err)
		}
		c := &nfpmfiles.Content{Source: from, Destination: f.path, FileInfo: &nfpmfiles.ContentFileInfo{Owner: "root", Group: "root", Mode: f.mode, MTime: src.time}}
		if f.licence {
			c.Type = nfpmfiles.TypeRPMLicense
		}
		info.Contents = append(info.Contents, c)
	}
	for when, place := range map[string]*string{"postinst": &info.Scripts.PostInstall, "prerm": &info.Scripts.PreRemove, "postrm": &info.Scripts.PostRemove} {
		text, err := p.script(src, when)
		if err != nil {
			return artefact{}, err
		}
		if text == "" {
			continue
		}
		*place = filepath.Join(stage, when)
		if err := os.WriteFile(*place, []byte(text), 0o700); err != nil {
			return artefact{}, fmt.Errorf("package %s: %w", p.name, err)
		}
	}
	packager, err := nfpm.Get(kind)
	if err != nil {
		return artefact{}, err
	}
	a := artefact{name: packager.ConventionalFileName(info), kind: kind}
	var b bytes.Buffer
	if err := packager.Package(info, &b); err != nil {
		return artefact{}, fmt.Errorf("make %s: %w", a.name, err)
	}
	a.data = b.Bytes()
	if len(a.data) == 0 {
		return artefact{}, errors.New("make " + a.name + ": nothing was written")
	}
	return a, nil
}

// debianVersion writes a version as Debian orders them: a pre-release before the release.
func debianVersion(version string) string { return strings.Replace(version, "-", "~", 1) }
