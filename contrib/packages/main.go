// Command packages builds what users and operators install: deb and rpm packages,
// archives for macOS and Windows, and a list of parts (SBOM) for each program.
//
// It is a module of its own, so that what packs the programs is no dependency of
// theirs. It compiles with the go command, reads nothing but the tree that it is
// given, and gives the same bytes for the same commit and the same Go. It signs
// nothing and publishes nothing. Nobody imports it; start it by contrib/packages/build.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// target is a system and a processor, by Go's names.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// targets are all that there are packages for.
var targets = []target{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"},
}

// options are what the command line says.
type options struct {
	root, out     string
	maintainer    string
	domains       []string // whose users' Thunderbird is told of the daemon
	targets       []target
	check, verify bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o := options{targets: targets}
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.StringVar(&o.root, "root", "../..", "the `tree` to build")
	flags.StringVar(&o.out, "out", "", "where the packages go (dist in the tree); what is there of earlier builds is removed")
	flags.StringVar(&o.maintainer, "maintainer", nobody, "`who` hands the packages out, as NAME <ADDRESS>")
	flags.Func("domain", "a provider's `domain`, for whose addresses Thunderbird shall find the daemon once the package is installed; several times for several", func(s string) error {
		o.domains = append(o.domains, s)
		return nil
	})
	flags.BoolVar(&o.check, "check", false, "check what the packages hold against contents/, and the programs' sizes")
	flags.BoolVar(&o.verify, "verify", false, "build a second time from a clone at another place, compiling all anew, and compare every byte")
	flags.Func("only", "build for these `systems` alone, such as linux/amd64,windows/amd64", func(s string) error {
		var err error
		o.targets, err = parseTargets(s)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no option", flags.Arg(0))
	}
	var err error
	if o.root, err = filepath.Abs(o.root); err != nil {
		return err
	}
	if o.out == "" {
		o.out = filepath.Join(o.root, "dist")
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return err
	}
	src, err := readSource(ctx, o.root)
	if err != nil {
		return err
	}
	src.maintainer = o.maintainer
	if src.modified {
		if o.verify {
			return errors.New("the tree has changes that are not committed, and a clone would not have them: commit first")
		}
		fmt.Fprintln(os.Stderr, "build: the tree has changes that are not committed; the version says so, by +modified")
	}
	made, err := build(ctx, src, o, "")
	if err != nil {
		return err
	}
	if err := publish(made, o.out); err != nil {
		return err
	}
	report(made, o.out)
	if o.check {
		if err := checkAll(made, src, o.domains); err != nil {
			return err
		}
	}
	if o.verify {
		return verify(ctx, src, o, made)
	}
	return nil
}

// parseTargets reads a list of targets.
func parseTargets(s string) ([]target, error) {
	var list []target
	for one := range strings.SplitSeq(s, ",") {
		i := slices.IndexFunc(targets, func(t target) bool { return t.String() == one })
		if i < 0 {
			return nil, fmt.Errorf("there are no packages for %q, only for %v", one, targets)
		}
		list = append(list, targets[i])
	}
	return list, nil
}

// artefact is a file for others: a package, an archive or a list of parts.
type artefact struct {
	name string
	data []byte
	size int64 // of the program in it, in bytes; 0 if it has none

	kind    string // deb, rpm, tar.gz, zip or sbom
	product string // name of the product in it
	target  target
}

// publish writes the artefacts and their sums to a folder, and takes away what an
// earlier build left there.
func publish(made []artefact, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder for packages: %w", err)
	}
	for _, pattern := range []string{"*.deb", "*.rpm", "*.tar.gz", "*.zip", "*.cdx.json", "SHA256SUMS"} {
		old, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, file := range old {
			if err := os.Remove(file); err != nil {
				return fmt.Errorf("remove an earlier package: %w", err)
			}
		}
	}
	var sums strings.Builder
	for _, a := range made {
		if err := os.WriteFile(filepath.Join(dir, a.name), a.data, 0o644); err != nil {
			return fmt.Errorf("write package: %w", err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(a.data), a.name)
	}
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o644); err != nil {
		return fmt.Errorf("write sums: %w", err)
	}
	return nil
}

// report prints what was made.
func report(made []artefact, dir string) {
	fmt.Println("in", dir)
	for _, a := range made {
		fmt.Printf("  %-58s %6.1f MB", a.name, float64(len(a.data))/1e6)
		if a.size > 0 {
			fmt.Printf("  (program %.1f MB)", float64(a.size)/1e6)
		}
		fmt.Println()
	}
}
