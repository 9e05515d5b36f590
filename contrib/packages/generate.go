package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// generated is what the programs write of themselves, for their packages.
type generated struct {
	texts      map[string][]byte // manuals and completions, by the command line that writes them
	autoconfig map[string][]byte // for Thunderbird, by domain
}

// thunderbird is where the distributions' Thunderbird looks for such files. Debian's looks
// in /usr/lib, but there isp is a link of its package to this folder, which a folder of ours
// would be in the way of.
var thunderbird = map[string]string{"deb": "/usr/share/thunderbird/isp/", "rpm": "/usr/lib64/thunderbird/isp/"}

// helps are the folders of completions, by the shell; each system has its own for zsh.
var helps = map[string]map[string]string{
	"deb": {"bash": "/usr/share/bash-completion/completions/", "zsh": "/usr/share/zsh/vendor-completions/_", "fish": "/usr/share/fish/vendor_completions.d/"},
	"rpm": {"bash": "/usr/share/bash-completion/completions/", "zsh": "/usr/share/zsh/site-functions/_", "fish": "/usr/share/fish/vendor_completions.d/"},
}

// generate has the programs write what their packages carry. For that they are built for
// the system that this runs on.
func generate(ctx context.Context, src *source, o options, dir, cache string) (generated, error) {
	g := generated{texts: map[string][]byte{}, autoconfig: map[string][]byte{}}
	if !slices.ContainsFunc(o.targets, func(t target) bool { return t.os == "linux" }) {
		return g, nil // archives have none of it
	}
	host := target{runtime.GOOS, runtime.GOARCH}
	var programs []string
	for _, p := range products {
		programs = append(programs, p.program)
	}
	if err := compile(ctx, src, host, dir, cache, programs...); err != nil {
		return g, err
	}
	for _, p := range programs {
		for _, args := range [][]string{{"man"}, {"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}} {
			text, err := command(ctx, dir, nil, filepath.Join(dir, host.binary(p)), args...)
			if err != nil {
				return g, err
			}
			if len(text) == 0 {
				return g, fmt.Errorf("%s %s writes nothing", p, strings.Join(args, " "))
			}
			g.texts[p+" "+strings.Join(args, " ")] = text
		}
	}
	program := filepath.Join(dir, host.binary(products[0].program))
	for _, domain := range o.domains {
		if _, err := command(ctx, dir, nil, program, "account", "autoconfig", domain, "--default-ports", "--out", filepath.Join(dir, "isp")); err != nil {
			return g, err
		}
		text, err := os.ReadFile(filepath.Join(dir, "isp", domain+".xml"))
		if err != nil {
			return g, fmt.Errorf("autoconfig of %s (give domains in small letters): %w", domain, err)
		}
		g.autoconfig[domain] = text
	}
	return g, nil
}

// files are those that go into a product's deb or rpm.
func (g generated) files(p *product, kind string) ([]file, error) {
	manual, err := gzipped(g.texts[p.program+" man"])
	if err != nil {
		return nil, err
	}
	files := []file{{path: "/usr/share/man/man1/" + p.program + ".1.gz", mode: 0o644, data: manual}}
	for shell, at := range helps[kind] {
		name := at + p.program
		if shell == "fish" {
			name += ".fish"
		}
		files = append(files, file{path: name, mode: 0o644, data: g.texts[p.program+" completion "+shell]})
	}
	if p.program != products[0].program {
		return files, nil
	}
	for domain, text := range g.autoconfig {
		files = append(files, file{path: thunderbird[kind] + domain + ".xml", mode: 0o644, data: text})
	}
	return files, nil
}
