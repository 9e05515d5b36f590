package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mailproxy/internal/command"
	"mailproxy/internal/control"
	"mailproxy/internal/durable"
	"mailproxy/internal/store"
	"mailproxy/proxy"
	"mailproxy/proxy/cert/truststore"
	"mailproxy/proxy/mailbox/archive"
	"mailproxy/proxy/service"
	"mailproxy/proxy/storekey"
)

type leaveCmd struct {
	configFlag
	Yes      bool   `help:"Do not ask."`
	Mail     string `help:"Write all mail into this directory first, as mbox files." type:"path" placeholder:"DIR"`
	HereOnly bool   `help:"Take everything off this computer, and leave the accounts at their provider as they are: after a move to another computer, which has them, or for a provider that is gone. Where no other computer has them, nobody will read what arrives."`
	command.JSONFlag

	left left
}

// left is what leave did.
type left struct {
	Config  string              `json:"config"`
	Deleted []string            `json:"deleted"`         // the addresses, at their providers
	Mail    []string            `json:"mail,omitempty"`  // directories that it was written to
	Trust   []truststore.Result `json:"trust,omitempty"` // of mail programs, which was taken back
	Did     []string            `json:"did"`
}

// did says what was done.
func (l *leaveCmd) did(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.left.Did = append(l.left.Did, text)
	if !l.JSON {
		fmt.Println("-", text)
	}
}

// tell says what was not done by leave.
func (l *leaveCmd) tell(text string) {
	if !l.JSON {
		fmt.Println(text)
	}
}

// Run undoes join. What an earlier run did is not done again.
func (l *leaveCmd) Run(ctx context.Context) error {
	l.left = left{Config: l.Config, Deleted: []string{}, Did: []string{}}
	err := l.leave(ctx)
	// What was done before it failed is not done by the next try.
	if l.JSON && (err == nil || len(l.left.Did) > 0) {
		err = errors.Join(err, printJSON(l.left))
	}
	return err
}

func (l *leaveCmd) leave(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(l.Config)
	if errors.Is(err, fs.ErrNotExist) {
		l.tell("There is nothing to leave: this computer has no configuration " + l.Config)
		return nil
	}
	if err != nil {
		return err
	}
	c := proxy.Control(cfg.Dir)
	status, err := c.Status(ctx)
	running := err == nil
	var moved *proxy.MovedError
	switch {
	case errors.As(err, &moved) && !l.HereOnly:
		return fmt.Errorf("mailproxy does not run with %s: %s, and stay there as they are. To take the rest off this computer: mailproxy leave --here-only%s", cfg.Dir, moved.Text(), named(l.Config))
	case moved != nil && l.Mail != "":
		return fmt.Errorf("no daemon runs with %s that could write the mail: %s. Write what is left of it first, mailproxy mailbox export DIR%s, and then leave without --mail", cfg.Dir, moved.Text(), named(l.Config))
	case err != nil && !errors.Is(err, control.ErrNotRunning):
		return err
	case !running && l.Mail != "":
		return fmt.Errorf("start the daemon first, which writes the mail: mailproxy run --config %s", l.Config)
	case !running && !l.HereOnly && anyStore(cfg):
		return fmt.Errorf("the accounts are deleted at their providers through the network, for which the daemon has to run: mailproxy run --config %s. Or give --here-only, and they stay there", l.Config)
	}
	if err := l.confirm(cfg, status, moved); err != nil {
		return err
	}
	if l.Mail != "" {
		if err := l.saveMail(ctx, cfg, status); err != nil {
			return fmt.Errorf("%w; nothing else was done", err)
		}
	}
	slices.SortStableFunc(status.Accounts, func(a, b proxy.AccountStatus) int {
		return strings.Compare(b.AliasOf, a.AliasOf) // aliases first: an account with any stays
	})
	for _, a := range status.Accounts {
		if l.HereOnly || a.Ending == proxy.Deleted.String() {
			continue
		}
		if err := c.End(ctx, proxy.EndAccount{Address: a.Address, Delete: true, Alias: a.AliasOf != ""}); err != nil {
			return fmt.Errorf("%w; or give --here-only, and it stays at its provider", err)
		}
		if !a.Registered { // also if only its waiting was seen: then it was there for moments
			l.did("gave up %s, which was not registered yet", a.Address)
			continue
		}
		l.left.Deleted = append(l.left.Deleted, a.Address)
		l.did("deleted %s at its provider", a.Address)
	}
	return l.clear(ctx, cfg, c, running)
}

// saveMail writes each account's mail into a directory of its own.
func (l *leaveCmd) saveMail(ctx context.Context, cfg proxy.Config, status proxy.Status) error {
	t := mailTool(ctx, cfg)
	for _, a := range status.Accounts {
		if a.AliasOf != "" {
			continue // its mail is that account's
		}
		meter := newMeter(os.Stderr)
		t.Progress = meter.show
		done, err := t.Export(ctx, proxy.ExportMail{Account: a.Address, Dir: filepath.Join(l.Mail, a.Address), Format: archive.Mbox})
		meter.clear()
		if err == nil && !l.JSON {
			printExported(done)
		}
		if err := skippedError(err, done.Skipped, "written"); err != nil {
			return err
		}
		l.left.Mail = append(l.left.Mail, filepath.Join(l.Mail, a.Address))
	}
	return nil
}

// waitForStore waits until no process has the store: a daemon that ends answers no more
// before it has closed it.
func waitForStore(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		pid, ok := store.Holder(dir)
		if !ok || !alive(pid) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d has the mail open: stop it, and leave once more", pid)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// alive says whether there is a process with that id, where the system tells.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

// anyStore says whether a daemon has kept anything.
func anyStore(cfg proxy.Config) bool {
	_, err := os.Stat(filepath.Join(cfg.Dir, storekey.StoreDir))
	return err == nil
}

// ours are the daemon's own files in its directory, but for the store's key, which is
// erased before.
var ours = []string{storekey.StoreDir, "tls", "gateway", "network.used", "network.earlier", "moved.json", lookedFile, logFile, logFile + oldLog, "control.sock"}

// clearDir removes the daemon's files from its directory, and the directory if nothing
// else is in it.
func (l *leaveCmd) clearDir(dir string) error {
	temporary, err := filepath.Glob(filepath.Join(dir, durable.TempPrefix+"*"))
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	for _, name := range ours {
		temporary = append(temporary, filepath.Join(dir, name))
	}
	kept := false
	for _, path := range temporary {
		if _, err := os.Lstat(path); err == nil {
			kept = true
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	switch rest, err := os.ReadDir(dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("remove %s: %w", dir, err)
	case len(rest) > 0 && !kept:
	case len(rest) > 0:
		l.did("removed mail and keys from %s; other files are there, and stay", dir)
	default:
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		if kept {
			l.did("removed mail and keys: %s", dir)
		} else { // the daemon never ran
			l.did("removed %s, which was empty", dir)
		}
	}
	removeOurs(filepath.Dir(dir))
	return nil
}

// removeOurs removes a directory that join made for us alone, if nothing is in it any
// more.
func removeOurs(dir string) {
	if filepath.Base(dir) == "mailproxy" {
		_ = os.Remove(dir) // it stays if there is anything in it
	}
}

// confirm says what will be lost, and asks.
func (l *leaveCmd) confirm(cfg proxy.Config, status proxy.Status, moved *proxy.MovedError) error {
	if l.Yes {
		return nil
	}
	var b strings.Builder
	aliases := false
	for _, a := range status.Accounts {
		if l.HereOnly {
			fmt.Fprintf(&b, "The keys of %s are erased here; what arrives there can never be read.\n", a.Address)
		} else {
			aliases = aliases || a.AliasOf != ""
			fmt.Fprintf(&b, "%s is deleted for good, with the mail that waits for it. Nobody can have the name again, and mail of yours that is still on its way out is not sent.\n", a.Address)
		}
	}
	if aliases {
		b.WriteString("Aliases go within the same minute as the account, by which a provider of both can connect them. If that matters, retire them first, and leave some days later: mailproxy alias retire ADDRESS.\n")
	}
	if moved != nil {
		fmt.Fprintf(&b, "The accounts were moved by the file %s. Be sure that it was imported: \"mailproxy export --undo\" cannot take them back after this.\n", moved.File)
	}
	fmt.Fprintf(&b, "All mail and keys in %s are removed", cfg.Dir)
	switch {
	case l.Mail != "":
		fmt.Fprintf(&b, ", after the mail was written to %s, not encrypted", l.Mail)
	case moved != nil:
		b.WriteString(" (\"mailproxy mailbox export\" writes mail that stayed here elsewhere first)")
	default:
		b.WriteString(" (--mail DIR writes the mail elsewhere first)")
	}
	b.WriteString(".")
	return confirm(l.JSON, b.String(), "leave", "leave", errNotLeft)
}

// clear takes everything off this computer.
func (l *leaveCmd) clear(ctx context.Context, cfg proxy.Config, c *proxy.Controller, running bool) error {
	// While there is still what names them, and the certificate to look for.
	told := toldDomains(cfg)
	if _, err := l.certificates(); err == nil {
		places := certPlaces{configFlag: l.configFlag, JSONFlag: l.JSONFlag, changesOnly: true}
		if l.left.Trust, err = places.apply(ctx, false); err != nil && !errors.Is(err, errNoPlace) {
			l.tell(err.Error()) // what to do by hand is said
		}
	}
	usual, err := l.usual()
	if err != nil {
		return err
	}
	if usual { // the system runs no other
		manager, err := service.Here(ctx)
		if err != nil {
			return err
		}
		done, err := manager.Remove(ctx)
		for _, text := range done {
			l.did("%s", text)
		}
		if err != nil {
			return err
		}
	}
	if running {
		if err := c.Stop(ctx); err != nil && !errors.Is(err, control.ErrNotRunning) {
			return fmt.Errorf("stop the daemon: %w", err)
		}
		if err := waitForEnd(ctx, c); err != nil {
			return err
		}
		l.did("the daemon has stopped")
	}
	if err := waitForStore(ctx, filepath.Join(cfg.Dir, storekey.StoreDir)); err != nil {
		return err
	}
	if err := storekey.Erase(cfg.Dir, keySources(ctx)); err != nil {
		return err
	}
	if err := l.clearDir(cfg.Dir); err != nil {
		return err
	}
	files := []string{l.Config} // last, since it names the others
	if filepath.Dir(cfg.Network.Document) == filepath.Dir(l.Config) {
		files = []string{cfg.Network.Document, l.Config} // the copy that join made
	}
	for _, path := range files {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", path, err)
		}
		l.did("removed %s", path)
	}
	removeOurs(filepath.Dir(l.Config))
	l.tell("\nIn your mail program, remove the account as well.")
	if len(told) > 0 {
		l.tell("Thunderbird still finds the servers of such addresses here. Unless a package brought that along, this ends it:\n\n  " +
			asAdministrator(append([]string{"mailproxy", "account", "autoconfig", "--remove", "--default-ports"}, told...)))
	}
	return nil
}

// waitForEnd waits until no daemon answers.
func waitForEnd(ctx context.Context, c *proxy.Controller) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		if _, err := c.Status(ctx); errors.Is(err, control.ErrNotRunning) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the daemon was told to stop, and runs on after %v; stop it and leave once more", startWait)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
