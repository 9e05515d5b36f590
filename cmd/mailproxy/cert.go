package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"mailproxy/internal/command"
	"mailproxy/proxy"
	"mailproxy/proxy/cert"
	"mailproxy/proxy/cert/truststore"
)

type certCmd struct {
	Show      certShowCmd      `cmd:"" help:"Show the authority that mail programs are told to trust: fingerprint, dates, files."`
	Export    certExportCmd    `cmd:"" help:"Write the authority's certificate to a file, or to the output."`
	Install   certInstallCmd   `cmd:"" help:"Have Thunderbird, Firefox or the system trust the authority."`
	Uninstall certUninstallCmd `cmd:"" help:"Take that back."`
}

// certificates reads those of the daemon that the configuration is for.
func (f configFlag) certificates() (*cert.Info, error) {
	cfg, err := proxy.LoadConfig(f.Config)
	if err != nil {
		return nil, err
	}
	info, err := cert.Read(filepath.Join(cfg.Dir, proxy.CertDir))
	if errors.Is(err, cert.ErrNone) {
		return nil, fmt.Errorf("%w: mailproxy run --config %s", err, f.Config)
	}
	return info, err
}

type certShowCmd struct {
	configFlag
	command.JSONFlag
}

// Run shows the certificates.
func (c *certShowCmd) Run() error {
	i, err := c.certificates()
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(i)
	}
	fmt.Printf("%s, made on this computer; it can vouch for %s only\n", i.Name, strings.Join(i.Leaf.Names, ", "))
	fmt.Printf("  SHA-256  %s\n  valid    %s to %s\n  file     %s\n", i.Fingerprint, day(i.From), day(i.Until), i.File)
	fmt.Printf("certificate of the listeners\n")
	fmt.Printf("  SHA-256  %s\n  valid    %s to %s; renewed from %s on, which mail programs do not notice\n  file     %s\n",
		i.Leaf.Fingerprint, day(i.Leaf.From), day(i.Leaf.Until), day(i.Leaf.RenewedFrom), i.Leaf.File)
	return nil
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

type certExportCmd struct {
	configFlag
	Out   string `help:"File to write; without it, to the output." type:"path" short:"o" placeholder:"FILE"`
	DER   bool   `help:"In DER, which some programs want, instead of PEM." name:"der"`
	Force bool   `help:"Replace a file that holds something else."`
}

// Run exports the authority's certificate.
func (c *certExportCmd) Run() error {
	i, err := c.certificates()
	if err != nil {
		return err
	}
	b := i.PEM()
	if c.DER {
		b = i.DER()
	}
	if c.Out == "" {
		if c.DER && term.IsTerminal(int(os.Stdout.Fd())) {
			return errors.New("DER is not for a terminal: name a file with --out")
		}
		if _, err := os.Stdout.Write(b); err != nil {
			return fmt.Errorf("export certificate: %w", err)
		}
		return nil
	}
	if err := writeNew(c.Out, b, 0o644, c.Force); err != nil {
		return fmt.Errorf("export certificate: %w", err)
	}
	return nil
}

type certPlaces struct {
	configFlag
	Places []string `arg:"" optional:"" name:"place" help:"Where: thunderbird, firefox, nss (Evolution, Chromium), system. Without one, wherever it can be done by you."`
	DryRun bool     `help:"Only say what would be done."`
	command.JSONFlag

	changesOnly bool // nothing is said of places that are as wished
}

type certInstallCmd struct{ certPlaces }

// Run has places trust the authority.
func (c *certInstallCmd) Run(ctx context.Context) error { return c.change(ctx, true) }

type certUninstallCmd struct{ certPlaces }

// Run has places trust it no more.
func (c *certUninstallCmd) Run(ctx context.Context) error { return c.change(ctx, false) }

// errNotTrusted is the answer when something is left to do by hand.
var errNotTrusted = errors.New("not everything was done; what to type is above")

// errNoPlace is the answer when there is nothing that could trust the authority.
var errNoPlace = errors.New("nothing was found here to take it back from")

func (c *certPlaces) change(ctx context.Context, install bool) error {
	results, err := c.apply(ctx, install)
	if err == nil && c.JSON {
		err = printJSON(results)
	}
	if err == nil && slices.ContainsFunc(results, func(r truststore.Result) bool { return r.Err != nil }) {
		err = errNotTrusted
	}
	return err
}

// apply changes places, and says so unless it is to answer as JSON.
func (c *certPlaces) apply(ctx context.Context, install bool) ([]truststore.Result, error) {
	var kinds []truststore.Kind
	for _, name := range c.Places {
		k := truststore.Kind(strings.ToLower(name))
		if !slices.Contains(truststore.Kinds, k) {
			return nil, fmt.Errorf("there is no place %q; there are %s", name, joinKinds(truststore.Kinds))
		}
		kinds = append(kinds, k)
	}
	i, err := c.certificates()
	if err != nil {
		return nil, err
	}
	computer, err := truststore.This()
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(i.File)
	if err != nil {
		return nil, err
	}
	a := truststore.Authority{Name: i.Name, File: file, DER: i.DER()}
	results := []truststore.Result{}
	if words := truststore.FirstStart(computer); install && words != "" && slices.Contains(kinds, truststore.Thunderbird) {
		if err := c.firstStart(ctx, computer, words); err != nil {
			return nil, err
		}
		if c.DryRun {
			results = append(results, truststore.Result{Kind: truststore.Thunderbird, Type: []string{words}})
		}
	}
	places := truststore.Places(computer, kinds...)
	if len(places)+len(results) == 0 {
		looked := kinds
		if len(looked) == 0 {
			looked = truststore.Kinds
		}
		if !install {
			return nil, fmt.Errorf("%w (looked for %s)", errNoPlace, joinKinds(looked))
		}
		return nil, fmt.Errorf("nothing was found here to install it in (looked for %s); start the mail program once, or import %s by hand: %s",
			joinKinds(looked), file, byHand)
	}
	for _, p := range places {
		if !c.JSON && !c.changesOnly {
			sayPlan(p, a, install, c.DryRun)
		}
		if c.DryRun {
			results = append(results, truststore.Result{Kind: p.Kind, Path: p.Path, Type: p.Words(a, install)})
			continue
		}
		var r truststore.Result
		if install {
			r = p.Install(ctx, a)
		} else {
			r = p.Uninstall(ctx, a)
		}
		results = append(results, r)
		if r.Already && c.changesOnly {
			continue
		}
		if !c.JSON && c.changesOnly {
			sayPlan(p, a, install, false)
		}
		if !c.JSON {
			sayResult(r, file, install)
		}
	}
	return results, nil
}

// firstStart has a Thunderbird that was never started make its profile, out of sight.
func (c *certPlaces) firstStart(ctx context.Context, computer truststore.Computer, words string) error {
	if !c.JSON {
		verb := map[bool]string{true: "would first make", false: "makes"}[c.DryRun]
		fmt.Printf("thunderbird was never started here. It %s its profile, out of sight:\n    %s\n", verb, words)
	}
	if c.DryRun {
		return nil
	}
	if err := truststore.StartFirst(ctx, computer); err != nil {
		return fmt.Errorf("%w; start Thunderbird yourself, quit it, and type this again", err)
	}
	if !c.JSON {
		fmt.Println("  done")
	}
	return nil
}

// byHand is the way in Thunderbird's own menus.
const byHand = "in Thunderbird, Settings, Privacy & Security, Certificates, Manage Certificates, Authorities, Import, and trust it for websites"

func joinKinds(all []truststore.Kind) string {
	names := make([]string, len(all))
	for i, k := range all {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

func sayPlan(p truststore.Place, a truststore.Authority, install, only bool) {
	verb := map[bool]string{true: "will trust", false: "will no longer trust"}[install]
	if only {
		verb = map[bool]string{true: "would trust", false: "would no longer trust"}[install]
	}
	fmt.Printf("%s %s %s %q:\n", p.Kind, p.Path, verb, a.Name)
	for _, w := range p.Words(a, install) {
		fmt.Println("   ", w)
	}
}

func sayResult(r truststore.Result, file string, install bool) {
	switch {
	case r.Err != nil:
		fmt.Printf("  not done: %s\n  to do it, type the above", r.Problem)
		if install {
			fmt.Printf("; or import %s by hand: %s", file, byHand)
		}
		fmt.Println()
	case r.Already:
		fmt.Println("  it was so already")
	case r.Note != "":
		fmt.Println("  done;", r.Note)
	default:
		fmt.Println("  done")
	}
}
