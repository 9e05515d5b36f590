package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// noticeFile matches the names under which projects keep licences and notices.
var noticeFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents|unlicense)([-._].*)?$`)

// licenceFile matches those of them without which a module has no licence.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([-._].*)?$`)

// listed is what "go list" says of a package that is linked into a program.
type listed struct {
	Dir        string
	Standard   bool
	EmbedFiles []string
	Module     *struct {
		Path, Version, Dir string
		Main               bool
		Replace            *struct{ Path, Version string }
	}
}

// notices returns the licences of all code that is in a program and is not ours, as a
// text: those in the folders of the packages that are linked into it, of the
// folders above up to their module's, and of what they embed. A module without a licence is
// an error: it must not be given to others.
func notices(ctx context.Context, src *source, t target, program string) (string, error) {
	out, err := command(ctx, src.root, goEnv(t, src, ""), "go", "list", "-deps", "-json=Dir,Standard,EmbedFiles,Module", "./cmd/"+program)
	if err != nil {
		return "", fmt.Errorf("list what %s consists of: %w", program, err)
	}
	goroot, err := command(ctx, src.root, nil, "go", "env", "GOROOT")
	if err != nil {
		return "", err
	}
	of := map[string][]string{} // who, by text
	std, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"))
	if errors.Is(err, os.ErrNotExist) { // where a distribution's package has put it elsewhere
		return "", fmt.Errorf("this installation of Go has no file LICENSE, which packages must carry: build with Go's own release: %w", err)
	}
	if err != nil {
		return "", err
	}
	of[normal(std)] = []string{"Go's standard library"}
	licensed, seen := map[string]bool{}, map[string]bool{}
	var modules []string
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return "", fmt.Errorf("read go list: %w", err)
		}
		if p.Standard || p.Module == nil {
			continue
		}
		who := p.Module.Path
		if p.Module.Version != "" {
			who += " " + p.Module.Version
		}
		if r := p.Module.Replace; r != nil {
			who = r.Path + " " + r.Version
		}
		if !p.Module.Main && !slices.Contains(modules, who) {
			modules = append(modules, who)
		}
		for _, dir := range foldersOf(p) {
			if p.Module.Main && dir == p.Module.Dir || seen[dir] { // our own licence is no notice
				continue
			}
			seen[dir] = true
			files, err := os.ReadDir(dir)
			if err != nil {
				return "", fmt.Errorf("look for licences: %w", err)
			}
			for _, f := range files {
				if !f.Type().IsRegular() || !noticeFile.MatchString(f.Name()) || strings.HasSuffix(f.Name(), ".go") {
					continue
				}
				text, err := os.ReadFile(filepath.Join(dir, f.Name()))
				if err != nil {
					return "", fmt.Errorf("read licence: %w", err)
				}
				rel, err := filepath.Rel(p.Module.Dir, dir)
				if err != nil {
					return "", err
				}
				name := who
				if rel != "." {
					name += ", " + filepath.ToSlash(rel)
				}
				if key := normal(text); !slices.Contains(of[key], name) {
					of[key] = append(of[key], name)
				}
				if licenceFile.MatchString(f.Name()) {
					licensed[who] = true
				}
			}
		}
	}
	for _, who := range modules {
		if !licensed[who] {
			return "", fmt.Errorf("module %s has no licence file, and may not be given to others without one", who)
		}
	}
	return noticeText(program, of), nil
}

// foldersOf returns the folders that may have notices about a package.
func foldersOf(p listed) []string {
	var dirs []string
	add := func(dir string) {
		for strings.HasPrefix(dir, p.Module.Dir) {
			if !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
			if dir == p.Module.Dir {
				return
			}
			dir = filepath.Dir(dir)
		}
	}
	add(p.Dir)
	for _, f := range p.EmbedFiles {
		add(filepath.Dir(filepath.Join(p.Dir, f)))
	}
	return dirs
}

// normal makes texts equal that differ in line ends and outer space only.
func normal(text []byte) string {
	return strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
}

// noticeText writes each text once, after those who stand under it.
func noticeText(program string, of map[string][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is made of parts that others wrote. These are their licences and notices.\n", program)
	for _, names := range of {
		slices.Sort(names)
	}
	texts := slices.SortedFunc(maps.Keys(of), func(x, y string) int { return strings.Compare(of[x][0]+x, of[y][0]+y) })
	for _, text := range texts {
		fmt.Fprintf(&b, "\n%s\n", strings.Repeat("-", 78))
		for _, name := range of[text] {
			fmt.Fprintf(&b, "%s\n", name)
		}
		fmt.Fprintf(&b, "\n%s\n", text)
	}
	return b.String()
}
