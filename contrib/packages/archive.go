package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// archive makes what users of a system without packages unpack: one folder with the
// program, its documents and the licences.
func archive(src *source, p *product, t target, binary []byte, notices string) (artefact, error) {
	files, err := p.documents(src)
	if err != nil {
		return artefact{}, err
	}
	licence, err := os.ReadFile(filepath.Join(src.root, "LICENSE"))
	if err != nil {
		return artefact{}, fmt.Errorf("archive %s: %w", p.name, err)
	}
	files = append(files,
		file{path: t.binary(p.program), mode: 0o755, data: binary},
		file{path: "LICENSE", mode: 0o644, data: licence},
		file{path: "NOTICE.txt", mode: 0o644, data: []byte(notices)})
	slices.SortFunc(files, func(x, y file) int { return strings.Compare(x.path, y.path) })
	folder := p.name + "-" + src.version + "/"
	for i := range files {
		files[i].path = folder + files[i].path
	}
	a := artefact{name: p.base(src, t) + ".tar.gz", kind: "tar.gz"}
	write := writeTar
	if t.os == "windows" {
		a.name, a.kind, write = p.base(src, t)+".zip", "zip", writeZip
	}
	if a.data, err = write(src, files); err != nil {
		return artefact{}, fmt.Errorf("make %s: %w", a.name, err)
	}
	return a, nil
}

// writeTar writes a compressed tar, whose files are root's and as old as the commit.
func writeTar(src *source, files []file) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.path, Mode: int64(f.mode), Size: int64(len(f.data)), ModTime: src.time,
			Uname: "root", Gname: "root", Format: tar.FormatPAX,
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// writeZip writes a zip, whose files are as old as the commit.
func writeZip(src *source, files []file) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.path, Method: zip.Deflate, Modified: src.time}
		h.SetMode(f.mode)
		to, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := to.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
