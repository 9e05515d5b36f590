package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mailproxy/internal/command"
	"mailproxy/internal/durable"
	"mailproxy/proxy"
	"mailproxy/proxy/storekey"
	"mailproxy/proxy/transfer"
)

// exportPassphraseEnv names a file with the passphrase of an export. That of the store
// is another, and may be needed at the same time.
const exportPassphraseEnv = "MAILPROXY_EXPORT_PASSPHRASE_FILE"

// gatewayFile is where a data directory keeps which gateway was chosen.
const gatewayFile = "gateway"

type exportCmd struct {
	configFlag
	File        string `arg:"" optional:"" help:"File to write; there must be none yet." type:"path"`
	WithoutMail bool   `help:"Leave the mail that is here on this computer. Without it, mail moves too."`
	Undo        bool   `help:"Take back accounts that were exported and never imported."`
	command.JSONFlag
}

// Help is shown below the options.
func (*exportCmd) Help() string {
	return "All accounts of this computer go into the file, with keys, contacts, mail and what is on its way, encrypted with a passphrase. They are used on one computer at a time: mailproxy is stopped here, and does not start again with them."
}

// Validate is called by kong.
func (e *exportCmd) Validate() error {
	if (e.File == "") != e.Undo {
		return errors.New("give the file to write, or --undo alone")
	}
	return nil
}

// Run exports all accounts, or takes an export back.
func (e *exportCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(e.Config)
	if err != nil {
		return err
	}
	key := func() ([]byte, error) {
		key, err := storekey.Open(cfg.Dir, keySources(ctx))
		return key, keyStatus(err)
	}
	if e.Undo {
		return e.undo(ctx, cfg, key)
	}
	meter := newMeter(os.Stderr)
	m := proxy.Move{
		Dir: cfg.Dir, Key: key, File: e.File, WithoutMail: e.WithoutMail,
		Passphrase: func() (string, error) { return newExportPassphrase(ctx) },
		Progress:   func(n int64) { meter.show(proxy.MailProgress{Bytes: n}) },
	}
	if m.Config, err = cfg.Portable(); err != nil {
		return err
	}
	if m.Document, err = os.ReadFile(cfg.Network.Document); err != nil {
		return fmt.Errorf("read network document: %w", err)
	}
	chosen, err := os.ReadFile(filepath.Join(cfg.Dir, gatewayFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read which gateway was chosen: %w", err)
	}
	m.Gateway = string(chosen)
	done, err := m.Export(ctx)
	meter.clear()
	if err != nil {
		return err
	}
	if e.JSON {
		return printJSON(done)
	}
	if done.Stopped {
		fmt.Println("The mailproxy that ran here is stopped.")
	}
	fmt.Printf("%s: all is in %s, %.1f MB\n", strings.Join(done.Addresses, ", "), done.File, float64(done.Bytes)/1e6)
	if done.WithoutMail {
		fmt.Println("The mail that is here stays here; \"mailproxy mailbox export\" writes it into files.")
	}
	fmt.Printf("Copy the file to the new computer, and run there:\n\n  mailproxy import %s\n\n", filepath.Base(done.File))
	fmt.Println("Mail that comes meanwhile waits at the provider. This computer no longer takes part; if the")
	fmt.Println("file is not imported anywhere, \"mailproxy export --undo\" takes that back.")
	return nil
}

func (e *exportCmd) undo(ctx context.Context, cfg proxy.Config, key func() ([]byte, error)) error {
	list, err := proxy.UndoExport(ctx, cfg.Dir, key)
	if err != nil {
		return err
	}
	if e.JSON {
		return printJSON(struct {
			Addresses []string `json:"addresses"`
		}{list})
	}
	fmt.Printf("%s: used on this computer again. Start mailproxy with %s.\n", strings.Join(list, ", "), proxy.HowToStart())
	fmt.Println("Destroy the file; whoever imports it is refused by the provider.")
	return nil
}

type importCmd struct {
	configFlag
	File    string `arg:"" help:"File that \"mailproxy export\" wrote on the old computer." type:"path"`
	Service bool   `help:"Have the daemon run, now and whenever you log in; with --no-service, start it by yourself." default:"true" negatable:""`
	command.JSONFlag

	imported imported
}

// imported is what import did.
type imported struct {
	proxy.Moving
	Config string   `json:"config"`
	Dir    string   `json:"dir"`
	Did    []string `json:"did,omitempty"`
}

// did says what was done.
func (i *importCmd) did(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	i.imported.Did = append(i.imported.Did, text)
	if !i.JSON {
		fmt.Println("-", text)
	}
}

// Help is shown below the options.
func (*importCmd) Help() string {
	return "A configuration file that is not there yet is made as it was on the old computer. There must be no accounts here; several computers cannot use one account."
}

// Run imports all accounts of a file.
func (i *importCmd) Run(ctx context.Context) error {
	cfg := proxy.DefaultConfig()
	usual, err := i.usual()
	if err != nil {
		return err
	}
	_, err = os.Stat(i.Config)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case !fresh:
		cfg, err = proxy.LoadConfig(i.Config)
	case usual: // where join puts it
		cfg.Dir, err = proxy.DefaultDataDir()
	default:
		cfg.Dir, err = filepath.Join(filepath.Dir(i.Config), cfg.Dir), nil
	}
	if err != nil {
		return err
	}
	meter := newMeter(os.Stderr)
	m := proxy.Move{
		Dir: cfg.Dir, File: i.File,
		Key: func() ([]byte, error) {
			key, err := storekey.Open(cfg.Dir, keySources(ctx))
			return key, keyStatus(err)
		},
		Passphrase: func() (string, error) { return exportPassphrase(ctx, "Passphrase of the export: ") },
		Progress:   func(n int64) { meter.show(proxy.MailProgress{Bytes: n}) },
		Configure: func(h transfer.Header) error {
			if fresh {
				if err := i.writeConfig(cfg.Dir, h); err != nil {
					return err
				}
			}
			return keepGateway(cfg.Dir, h.Gateway)
		},
	}
	done, err := m.Import(ctx)
	meter.clear()
	if errors.Is(err, transfer.ErrPassphrase) {
		return keyError{err, exitWrongPassphrase}
	}
	if err != nil {
		return err
	}
	i.imported.Moving, i.imported.Config, i.imported.Dir = done, i.Config, cfg.Dir
	if !i.JSON {
		i.say(fresh)
	}
	started, err := i.start(ctx, cfg.Dir, usual)
	if i.JSON {
		return errors.Join(err, printJSON(i.imported))
	}
	when := "type"
	if !started {
		when = "type, once mailproxy runs"
		fmt.Printf("\nStart it:\n\n  mailproxy run%s\n", named(i.Config))
	}
	fmt.Printf("\nThe certificate is new: so that mail programs trust it, %s:\n\n  mailproxy cert install%s\n\n", when, named(i.Config))
	fmt.Printf("What else they have to be told, \"mailproxy account settings%[1]s\" says, and \"mailproxy account autoconfig%[1]s\" tells Thunderbird.\n"+
		"Passwords are as before; where one is lost, \"mailproxy account password ADDRESS%[1]s\" makes another.\n", named(i.Config))
	if done.WithoutMail {
		fmt.Println("The mail from before is on the old computer.")
	}
	fmt.Println("How the store is encrypted here is this computer's own: see \"mailproxy store key --help\". Destroy the file.")
	return err
}

// say says what the import did.
func (i *importCmd) say(fresh bool) {
	if i.imported.Stopped {
		fmt.Println("The mailproxy that ran here without accounts is stopped.")
	}
	if fresh {
		fmt.Printf("The configuration is in %s, as it was on the old computer. Mail and keys are in %s.\n", i.Config, i.imported.Dir)
	}
	fmt.Printf("%s: imported; this is the computer that uses them now.\n", strings.Join(i.imported.Addresses, ", "))
}

// start has the daemon run, as join does, where it can: nobody types a passphrase for a
// service.
func (i *importCmd) start(ctx context.Context, dir string, usual bool) (started bool, err error) {
	sealed, err := storekey.Inspect(dir)
	if err != nil || !i.Service || !usual || sealed.Way == storekey.Passphrase {
		return false, err
	}
	if _, err := startService(ctx, dir, proxy.Control(dir), i.did); err != nil {
		return false, fmt.Errorf("the accounts are imported, and are not to be imported again, but mailproxy does not run yet: %w", err)
	}
	return true, nil
}

// writeConfig makes the configuration of the old computer here, for that data directory,
// with the network document beside it.
func (i *importCmd) writeConfig(dir string, h transfer.Header) error {
	file := i.Config
	if len(h.Config) == 0 {
		return errors.New("the export has no configuration; make one first")
	}
	cfg, err := proxy.ParseConfig(file, h.Config)
	if err != nil { // such as a setting of a newer program
		return fmt.Errorf("the configuration in the export: %w", err)
	}
	if cfg.Dir = dir; filepath.Dir(dir) == filepath.Dir(file) {
		cfg.Dir = filepath.Base(dir) // the two can be moved together
	}
	cfg.Network.Document = proxy.PortableDocument
	if err := choosePorts(&cfg.Listen, i.did); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make directory of the configuration: %w", err)
	}
	document := filepath.Join(filepath.Dir(file), proxy.PortableDocument)
	have, err := os.ReadFile(document)
	switch {
	case err == nil && !bytes.Equal(have, h.Document):
		return fmt.Errorf("there is another network document, %s; make a configuration that names it, or take it away", document)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read network document: %w", err)
	case err != nil:
		if err := durable.WriteFile(document, h.Document, 0o600); err != nil {
			return err
		}
	}
	return cfg.Write(file)
}

// named is what a command line says of a configuration file, if it has to.
func named(file string) string {
	if usual, err := proxy.DefaultConfigFile(); err == nil && usual == file {
		return ""
	}
	return " --config " + file
}

// keepGateway goes on with the gateway of the old computer, unless one was chosen here.
func keepGateway(dir, name string) error {
	file := filepath.Join(dir, gatewayFile)
	if _, err := os.Stat(file); name == "" || err == nil {
		return nil
	}
	if err := durable.WriteFile(file, []byte(name), 0o600); err != nil {
		return fmt.Errorf("keep gateway: %w", err)
	}
	return nil
}

// exportPassphrase asks for the passphrase of an export, or reads it from a file.
func exportPassphrase(ctx context.Context, question string) (string, error) {
	if file := os.Getenv(exportPassphraseEnv); file != "" {
		return readPassphrase(file)
	}
	if err := terminal(exportPassphraseEnv + " names"); err != nil {
		return "", keyStatus(err)
	}
	return ask(ctx, question)
}

// newExportPassphrase asks for one twice.
func newExportPassphrase(ctx context.Context) (string, error) {
	asked := os.Getenv(exportPassphraseEnv) == ""
	first, err := exportPassphrase(ctx, fmt.Sprintf("A passphrase for the file, at least %d characters: ", storekey.MinPassphrase))
	if err != nil {
		return "", err
	}
	if len([]rune(first)) < storekey.MinPassphrase {
		return "", fmt.Errorf("the passphrase has fewer than %d characters; whoever finds the file can try short ones", storekey.MinPassphrase)
	}
	if asked {
		second, err := exportPassphrase(ctx, "The same once more: ")
		if err != nil {
			return "", err
		}
		if first != second {
			return "", errors.New("the two passphrases differ; nothing was changed")
		}
	}
	return first, nil
}
