package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/blakesmith/ar"
	"github.com/cavaliergopher/rpm"
)

// most is how many bytes a program may have.
const most = 40e6

// entry is a file or folder in a package, as its lists show it.
type entry struct {
	path  string
	mode  fs.FileMode
	owner string
	time  time.Time
}

// checkAll checks what packages hold against the lists in contents/, and the sizes of
// the programs. It reads the packages by other code than what wrote them.
func checkAll(made []artefact, src *source, domains []string) error {
	var errs []error
	for _, a := range made {
		if err := a.check(src, domains); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Printf("checked: %d files hold what contents/ says, and programs have at most %.0f MB\n", len(made), most/1e6)
	return nil
}

// check checks one, of packages for users of those domains.
func (a *artefact) check(src *source, domains []string) error {
	if a.size > most {
		return fmt.Errorf("the program has %d bytes, more than %.0f", a.size, most)
	}
	if a.kind == "sbom" {
		return checkSBOM(a.data, src)
	}
	var entries []entry
	var program []byte
	var err error
	switch a.kind {
	case "deb":
		entries, program, err = readDeb(a.data)
	case "rpm":
		entries, err = readRPM(a.data)
	case "tar.gz":
		entries, program, err = readTarGz(a.data)
	case "zip":
		entries, program, err = readZip(a.data)
	}
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	var have []string
	for _, e := range entries {
		name := strings.ReplaceAll(e.path, src.version, "VERSION")
		if !e.time.Equal(src.time) {
			return fmt.Errorf("%s is of %s, not of the commit's time, %s", e.path, e.time.UTC(), src.time)
		}
		have = append(have, fmt.Sprintf("%s %s %s", e.mode, e.owner, name))
	}
	slices.Sort(have)
	list := filepath.Join(src.root, "contrib", "packages", "contents", a.product+"."+a.kind)
	text, err := os.ReadFile(list)
	if err != nil {
		return fmt.Errorf("read what it must hold: %w\nit holds:\n%s", err, strings.Join(have, "\n"))
	}
	want := append(strings.Split(strings.TrimSpace(string(text)), "\n"), a.forDomains(domains)...)
	var wrong []string
	for _, line := range want {
		if !slices.Contains(have, line) {
			wrong = append(wrong, "missing: "+line)
		}
	}
	for _, line := range have {
		if !slices.Contains(want, line) {
			wrong = append(wrong, "too much: "+line)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("it does not hold what %s says:\n%s", filepath.Base(list), strings.Join(wrong, "\n"))
	}
	if program != nil && a.target == (target{runtime.GOOS, runtime.GOARCH}) {
		return checkVersion(program, src)
	}
	return nil
}

// forDomains are the lines of what is in the package for those domains' users.
func (a *artefact) forDomains(domains []string) []string {
	dir := thunderbird[a.kind]
	if a.product != products[0].name || dir == "" || len(domains) == 0 {
		return nil
	}
	var lines []string
	if a.kind == "deb" { // which has a line for each folder
		lines = append(lines, "drwxr-xr-x root:root "+path.Dir(path.Dir(dir)), "drwxr-xr-x root:root "+path.Clean(dir))
	}
	for _, d := range domains {
		lines = append(lines, "-rw-r--r-- root:root "+dir+d+".xml")
	}
	return lines
}

// checkVersion starts a program as it came out of its package, and asks for its version.
func checkVersion(program []byte, src *source) (err error) {
	dir, err := os.MkdirTemp("", "mailproxy-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "program")
	if err := os.WriteFile(file, program, 0o700); err != nil {
		return err
	}
	out, err := command(context.Background(), dir, nil, file, "--version")
	if err != nil {
		return err
	}
	if !strings.Contains(string(out), src.version) {
		return fmt.Errorf("--version says %q, and should say %s", bytes.TrimSpace(out), src.version)
	}
	return nil
}

// checkSBOM checks that a list of parts names the program, Go and the modules.
func checkSBOM(data []byte, src *source) error {
	bom := new(cyclonedx.BOM)
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(data), cyclonedx.BOMFileFormatJSON).Decode(bom); err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	if bom.Metadata == nil || bom.Metadata.Component == nil || bom.Metadata.Component.Version != src.version || bom.Components == nil {
		return errors.New("it does not say of which version of the program it is, or names no parts")
	}
	for _, want := range []string{"std", "golang.org/x/crypto"} {
		if !slices.ContainsFunc(*bom.Components, func(c cyclonedx.Component) bool { return c.Name == want }) {
			return fmt.Errorf("it does not name %s", want)
		}
	}
	return nil
}

// readDeb lists a deb (deb(5)), and returns the program in it.
func readDeb(data []byte) ([]entry, []byte, error) {
	r := ar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err != nil {
			return nil, nil, fmt.Errorf("look for data.tar.gz: %w", err)
		}
		if strings.TrimSuffix(h.Name, "/") == "data.tar.gz" {
			z, err := gzip.NewReader(r)
			if err != nil {
				return nil, nil, err
			}
			return readTar(z)
		}
	}
}

func readTarGz(data []byte) ([]entry, []byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	return readTar(z)
}

func readTar(r io.Reader) (entries []entry, program []byte, err error) {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return entries, program, nil
		}
		if err != nil {
			return nil, nil, err
		}
		e := entry{"/" + strings.Trim(strings.TrimPrefix(h.Name, "."), "/"), h.FileInfo().Mode(), h.Uname + ":" + h.Gname, h.ModTime}
		entries = append(entries, e)
		if e.mode.IsRegular() && e.mode&0o111 != 0 {
			if program, err = io.ReadAll(t); err != nil {
				return nil, nil, err
			}
		}
	}
}

func readRPM(data []byte) ([]entry, error) {
	p, err := rpm.Read(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, f := range p.Files() {
		entries = append(entries, entry{f.Name(), f.Mode(), f.Owner() + ":" + f.Group(), f.ModTime()})
	}
	return entries, nil
}

func readZip(data []byte) (entries []entry, program []byte, err error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, nil, err
	}
	for _, f := range z.File {
		entries = append(entries, entry{"/" + f.Name, f.Mode(), "-", f.Modified})
	}
	return entries, nil, nil
}
