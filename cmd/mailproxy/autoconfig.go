package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"mailproxy/internal/command"
	"mailproxy/internal/durable"
	"mailproxy/internal/mailclient"
	"mailproxy/proxy"
)

type accountAutoconfigCmd struct {
	configFlag
	Domains      []string `arg:"" optional:"" name:"domain" help:"What is after the @ of addresses; without one, all providers of the network, which does not tell which is yours."`
	Out          string   `help:"Write DOMAIN.xml into this directory, and not where Thunderbird looks; it is made." type:"path" short:"o" placeholder:"DIR"`
	Remove       bool     `help:"Take the files away again."`
	DefaultPorts bool     `help:"Read no configuration, and tell of the ports that a daemon has which nobody configured: for packages. Needs a domain."`
	command.JSONFlag
}

// An autoconfigResult says what became of one file.
type autoconfigResult struct {
	File    string `json:"file"`
	Changed bool   `json:"changed"`
	Problem string `json:"problem,omitempty"` // why it is not as it should be

	err error
}

// errNotInstalled is the answer when something is left to do.
var errNotInstalled = errors.New("not everything was done")

// Run installs the files by which Thunderbird needs no more than address and password.
func (c *accountAutoconfigCmd) Run() error {
	domains, servers, err := c.what()
	if err != nil {
		return err
	}
	dirs := []string{c.Out}
	if c.Out == "" {
		if dirs = mailclient.Thunderbirds(runtime.GOOS, systemRoot()); len(dirs) == 0 {
			return errors.New("no Thunderbird was found that can be told: it is looked for where packages install it, and a snap, a Flatpak or an app cannot be changed. " +
				"Use \"Manual configuration\" in its account set-up, with what mailproxy account settings says")
		}
	} else if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("write autoconfig files: %w", err)
	}
	results := []autoconfigResult{}
	var problems error
	for _, dir := range dirs {
		for _, domain := range domains {
			r := autoconfigResult{File: filepath.Join(dir, domain+".xml")}
			if c.Remove {
				r.Changed, r.err = removeAutoconfig(r.File)
			} else {
				r.Changed, r.err = writeAutoconfig(r.File, domain, servers)
			}
			switch {
			case errors.Is(r.err, fs.ErrPermission):
				r.Problem = "it takes the administrator's rights"
			case r.err != nil:
				r.Problem = r.err.Error()
			}
			results, problems = append(results, r), errors.Join(problems, r.err)
		}
	}
	if c.JSON {
		if err := printJSON(results); err != nil {
			return err
		}
	} else {
		c.say(results, domains)
	}
	if problems != nil {
		return errNotInstalled
	}
	return nil
}

// what returns for which domains there are to be files, and what these tell.
func (c *accountAutoconfigCmd) what() ([]string, []mailclient.Server, error) {
	var domains []string
	for _, d := range c.Domains {
		d, err := mailclient.CheckDomain(d)
		if err != nil {
			return nil, nil, err
		}
		domains = append(domains, d)
	}
	if c.DefaultPorts {
		if len(domains) == 0 {
			return nil, nil, errors.New("name the domains: --default-ports reads no configuration, which would name the network's providers")
		}
		return domains, mailclient.Defaults(), nil
	}
	cfg, err := proxy.LoadConfig(c.Config)
	if err != nil {
		return nil, nil, err
	}
	if len(domains) == 0 {
		doc, err := loadNetwork(cfg)
		if err != nil {
			return nil, nil, err
		}
		domains = providers(doc)
	}
	// Of the configuration, not of the daemon: the file is for later starts as well.
	servers, err := mailclient.Servers(cfg.Listen.Listeners())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: give it a port under [listen] in %s, and start the daemon again", err, c.Config)
	}
	return domains, servers, nil
}

// systemRoot is where the system's programs lie.
func systemRoot() string {
	if runtime.GOOS == "windows" {
		return os.Getenv("SystemDrive") + string(filepath.Separator)
	}
	return string(filepath.Separator)
}

// say prints what was done, and how to do what was not.
func (c *accountAutoconfigCmd) say(results []autoconfigResult, domains []string) {
	done := map[bool]string{true: "written", false: "is as it should be"}
	if c.Remove {
		done = map[bool]string{true: "removed", false: "is not there"}
	}
	admin := false
	for _, r := range results {
		if r.err == nil {
			fmt.Printf("%s: %s\n", r.File, done[r.Changed])
			continue
		}
		fmt.Printf("%s: not done: %s\n", r.File, r.Problem)
		admin = admin || errors.Is(r.err, fs.ErrPermission)
	}
	if !admin {
		return
	}
	again := []string{"mailproxy", "account", "autoconfig"}
	if c.DefaultPorts {
		again = append(again, "--default-ports")
	} else {
		again = append(again, "--config", "'"+c.Config+"'")
	}
	if c.Remove {
		again = append(again, "--remove")
	}
	fmt.Printf("\nThese files are the system's. As administrator, type:\n\n  %s\n", asAdministrator(append(again, domains...)))
}

// asAdministrator returns a command as the administrator types it.
func asAdministrator(words []string) string {
	if runtime.GOOS != "windows" {
		words = append([]string{"sudo"}, words...)
	}
	return strings.Join(words, " ")
}

// autoconfigCommand is what to type so that Thunderbird finds the daemon with that
// configuration.
func autoconfigCommand(config string) string {
	return asAdministrator([]string{"mailproxy", "account", "autoconfig", "--config", "'" + config + "'"})
}

// tellsThunderbird reports whether a Thunderbird is here that can be told where the servers
// are, and whether each has been told: by a package, or by this command.
func tellsThunderbird(cfg proxy.Config, domain string) (can, told bool) {
	servers, err := mailclient.Servers(cfg.Listen.Listeners())
	if err != nil {
		return false, false
	}
	want, err := mailclient.Autoconfig(domain, servers)
	if err != nil {
		return false, false
	}
	told = true
	for _, dir := range mailclient.Thunderbirds(runtime.GOOS, systemRoot()) {
		can = true
		have, err := os.ReadFile(filepath.Join(dir, domain+".xml"))
		told = told && err == nil && bytes.Equal(have, want)
	}
	return can, can && told
}

// toldDomains are the providers of the network whose servers a Thunderbird here has been
// told of, by a package or by this command.
func toldDomains(cfg proxy.Config) []string {
	doc, err := loadNetwork(cfg)
	if err != nil {
		return nil
	}
	var told []string
	for _, domain := range providers(doc) {
		for _, dir := range mailclient.Thunderbirds(runtime.GOOS, systemRoot()) {
			if b, err := ourAutoconfig(filepath.Join(dir, domain+".xml")); err == nil && b != nil && !slices.Contains(told, domain) {
				told = append(told, domain)
			}
		}
	}
	return told
}

// writeAutoconfig writes a file, unless somebody else made what is there.
func writeAutoconfig(file, domain string, servers []mailclient.Server) (changed bool, err error) {
	b, err := mailclient.Autoconfig(domain, servers)
	if err != nil {
		return false, err
	}
	have, err := ourAutoconfig(file)
	if err != nil || bytes.Equal(have, b) {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return false, err
	}
	return true, durable.WriteFile(file, b, 0o644)
}

func removeAutoconfig(file string) (changed bool, err error) {
	if have, err := ourAutoconfig(file); err != nil || have == nil {
		return false, err
	}
	return true, os.Remove(file)
}

// ourAutoconfig reads a file, nil if there is none.
func ourAutoconfig(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !mailclient.Ours(b):
		return nil, errors.New("it is of somebody else's making, and stays")
	}
	return b, nil
}
