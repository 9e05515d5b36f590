package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// generated is what the user's daemon writes of itself, for its packages.
type generated struct {
	autoconfig map[string][]byte // for Thunderbird, by domain
}

// thunderbird is where the distributions' Thunderbird looks for such files.
var thunderbird = map[string]string{"deb": "/usr/lib/thunderbird/isp/", "rpm": "/usr/lib64/thunderbird/isp/"}

// generate has the daemon write what its packages carry. For that it is built for the
// system that this runs on.
func generate(ctx context.Context, src *source, o options, dir, cache string) (generated, error) {
	g := generated{autoconfig: map[string][]byte{}}
	if len(o.domains) == 0 {
		return g, nil
	}
	host := target{runtime.GOOS, runtime.GOARCH}
	if err := compile(ctx, src, host, dir, cache, products[0].program); err != nil {
		return g, err
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
func (g generated) files(p *product, kind string) []file {
	if p.program != products[0].program {
		return nil
	}
	var files []file
	for domain, text := range g.autoconfig {
		files = append(files, file{path: thunderbird[kind] + domain + ".xml", mode: 0o644, data: text})
	}
	return files
}
