package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// build makes all packages that are asked for. cache is as for goEnv.
func build(ctx context.Context, src *source, o options, cache string) (made []artefact, err error) {
	work, err := os.MkdirTemp("", "mailproxy-packages-")
	if err != nil {
		return nil, fmt.Errorf("make a working folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	more, err := generate(ctx, src, o, filepath.Join(work, "generated"), cache)
	if err != nil {
		return nil, err
	}
	for _, t := range o.targets {
		list := products
		if t.os != "linux" {
			list = products[:1] // nodes run on servers
		}
		var programs []string
		for _, p := range list {
			programs = append(programs, p.program)
		}
		fmt.Fprintf(os.Stderr, "building %v for %s\n", programs, t)
		dir := filepath.Join(work, t.os+"-"+t.arch)
		if err := compile(ctx, src, t, dir, cache, programs...); err != nil {
			return nil, err
		}
		for i := range list {
			a, err := assemble(ctx, src, &list[i], t, dir, more)
			if err != nil {
				return nil, err
			}
			made = append(made, a...)
		}
	}
	return made, nil
}

// assemble makes the packages of one program that was compiled into dir, with what
// generate made.
func assemble(ctx context.Context, src *source, p *product, t target, dir string, more generated) ([]artefact, error) {
	program := filepath.Join(dir, t.binary(p.program))
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.name, err)
	}
	notices, err := notices(ctx, src, t, p.program)
	if err != nil {
		return nil, err
	}
	parts, err := sbom(program, src)
	if err != nil {
		return nil, err
	}
	made := []artefact{{name: p.base(src, t) + ".cdx.json", data: parts, kind: "sbom"}}
	if t.os == "linux" {
		for _, kind := range []string{"deb", "rpm"} {
			files, err := p.linuxFiles(src, kind, binary, notices, more)
			if err != nil {
				return nil, err
			}
			a, err := pack(src, p, t, kind, files, filepath.Join(dir, p.name+"."+kind))
			if err != nil {
				return nil, err
			}
			made = append(made, a)
		}
	} else {
		a, err := archive(src, p, t, binary, notices)
		if err != nil {
			return nil, err
		}
		made = append(made, a)
	}
	for i := range made {
		made[i].product, made[i].target = p.name, t
		if made[i].kind != "sbom" {
			made[i].size = int64(len(binary))
		}
	}
	return made, nil
}

// linuxFiles are all files of a deb or an rpm, in the order of their paths.
func (p *product) linuxFiles(src *source, kind string, binary []byte, notices string, generated generated) ([]file, error) {
	files, err := p.shared(src)
	if err != nil {
		return nil, err
	}
	more := p.debianFiles
	if kind == "rpm" {
		more = p.rpmFiles
	}
	own, err := more(src, notices)
	if err != nil {
		return nil, err
	}
	made, err := generated.files(p, kind)
	if err != nil {
		return nil, err
	}
	files = append(append(files, own...), made...)
	files = append(files, file{path: "/usr/bin/" + p.program, mode: 0o755, data: binary})
	slices.SortFunc(files, func(x, y file) int { return bytes.Compare([]byte(x.path), []byte(y.path)) })
	return files, nil
}

// verify builds everything a second time: from a clone at another place, and with no
// package compiled before. All bytes must be the same.
func verify(ctx context.Context, src *source, o options, first []artefact) (err error) {
	work, err := os.MkdirTemp("", "mailproxy-verify-")
	if err != nil {
		return fmt.Errorf("make a working folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	clone := filepath.Join(work, "another", "place")
	if _, err := git(ctx, src.root, "clone", "--quiet", "--no-hardlinks", src.root, clone); err != nil {
		return err
	}
	if _, err := git(ctx, clone, "checkout", "--quiet", "--detach", src.commit); err != nil {
		return err
	}
	again, err := readSource(ctx, clone)
	if err != nil {
		return err
	}
	again.maintainer = src.maintainer
	fmt.Fprintln(os.Stderr, "building all of it a second time, from a clone and with nothing compiled before")
	second, err := build(ctx, again, o, filepath.Join(work, "cache"))
	if err != nil {
		return err
	}
	if err := same(first, second); err != nil {
		return err
	}
	fmt.Printf("reproducible: %d files are the same to the byte when built twice, by %s\n", len(first), runtime.Version())
	return nil
}

// same compares what two builds made.
func same(first, second []artefact) error {
	if len(first) != len(second) {
		return fmt.Errorf("not reproducible: one build made %d files, the other %d", len(first), len(second))
	}
	for i, a := range first {
		b := second[i]
		switch {
		case a.name != b.name:
			return fmt.Errorf("not reproducible: one build made %s, the other %s", a.name, b.name)
		case !bytes.Equal(a.data, b.data):
			return fmt.Errorf("not reproducible: two builds of %s differ, from byte %d on (%d and %d bytes)", a.name, differ(a.data, b.data), len(a.data), len(b.data))
		}
	}
	return nil
}

// differ returns where x and y differ first.
func differ(x, y []byte) int {
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return i
		}
	}
	return min(len(x), len(y))
}
