package main

import (
	"bufio"
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

	"mailproxy/internal/control"
	"mailproxy/internal/durable"
	"mailproxy/internal/store"
	"mailproxy/proxy"
	"mailproxy/proxy/mailbox/archive"
	"mailproxy/proxy/service"
	"mailproxy/proxy/storekey"
)

type leaveCmd struct {
	configFlag
	Yes      bool   `help:"Do not ask."`
	Mail     string `help:"Write all mail into this directory first, as mbox files." type:"path" placeholder:"DIR"`
	HereOnly bool   `help:"Take everything off this computer, and leave the accounts at their provider as they are: for a provider that is gone. Nobody will read what arrives there."`
}

// leaving says what was done.
func leaving(format string, args ...any) { fmt.Printf("- "+format+"\n", args...) }

// errNotLeft is the answer of who does not say yes.
var errNotLeft = errors.New("nothing was done; to confirm, type leave, or use --yes")

// Run undoes join. What an earlier run did is not done again.
func (l *leaveCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(l.Config)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Println("There is nothing to leave: this computer has no configuration", l.Config)
		return nil
	}
	if err != nil {
		return err
	}
	c := proxy.Control(cfg.Dir)
	status, err := c.Status(ctx)
	running := err == nil
	switch {
	case err != nil && !errors.Is(err, control.ErrNotRunning):
		return err
	case !running && l.Mail != "":
		return fmt.Errorf("start the daemon first, which writes the mail: mailproxy run --config %s", l.Config)
	case !running && !l.HereOnly && anyStore(cfg):
		return fmt.Errorf("the accounts are deleted at their providers through the network, for which the daemon has to run: mailproxy run --config %s. Or give --here-only, and they stay there", l.Config)
	}
	if err := l.confirm(cfg, status); err != nil {
		return err
	}
	for _, a := range status.Accounts {
		if l.Mail == "" {
			break
		}
		if a.AliasOf != "" {
			continue // its mail is that account's
		}
		in := proxy.ExportMail{Account: a.Address, Dir: filepath.Join(l.Mail, a.Address), Format: archive.Mbox}
		var flags mailboxFlags
		flags.Config = l.Config
		done, err := useTool(ctx, &flags, func(t *proxy.MailTool) (proxy.ExportedMail, error) { return t.Export(ctx, in) }, printExported)
		if err := skippedError(err, done.Skipped, "written"); err != nil {
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
			return fmt.Errorf("%w; try again later, or give --here-only to leave the account there", err)
		}
		leaving("deleted %s at its provider", a.Address)
	}
	return l.clear(ctx, cfg, c, running)
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
var ours = []string{storekey.StoreDir, "tls", "gateway", "network.used", "network.earlier", lookedFile, logFile, "control.sock"}

// clearDir removes the daemon's files from its directory, and the directory if nothing
// else is in it.
func clearDir(dir string) error {
	temporary, err := filepath.Glob(filepath.Join(dir, durable.TempPrefix+"*"))
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	for _, name := range ours {
		temporary = append(temporary, filepath.Join(dir, name))
	}
	for _, path := range temporary {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	switch rest, err := os.ReadDir(dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("remove %s: %w", dir, err)
	case len(rest) > 0:
		leaving("removed mail and keys from %s; other files are there, and stay", dir)
	default:
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		leaving("removed mail and keys: %s", dir)
	}
	return nil
}

// confirm says what will be lost, and asks.
func (l *leaveCmd) confirm(cfg proxy.Config, status proxy.Status) error {
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
	fmt.Fprintf(&b, "All mail and keys in %s are removed", cfg.Dir)
	if l.Mail != "" {
		fmt.Fprintf(&b, ", after the mail was written to %s, not encrypted", l.Mail)
	} else {
		b.WriteString(" (--mail DIR writes the mail elsewhere first)")
	}
	fmt.Fprintf(os.Stderr, "%s.\n\nType leave to confirm: ", b.String())
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // no line confirms nothing
	fmt.Fprintln(os.Stderr)
	if strings.TrimSpace(line) != "leave" {
		return errNotLeft
	}
	return nil
}

// clear takes everything off this computer.
func (l *leaveCmd) clear(ctx context.Context, cfg proxy.Config, c *proxy.Controller, running bool) error {
	// While there is still the certificate to look for.
	if _, err := l.certificates(); err == nil {
		if err := (&certUninstallCmd{certPlaces{configFlag: l.configFlag}}).Run(ctx); err != nil {
			fmt.Println(err) // what to do by hand is said
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
			leaving("%s", text)
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
		leaving("the daemon has stopped")
	}
	if err := waitForStore(ctx, filepath.Join(cfg.Dir, storekey.StoreDir)); err != nil {
		return err
	}
	if err := storekey.Erase(cfg.Dir, keySources(ctx)); err != nil {
		return err
	}
	if err := clearDir(cfg.Dir); err != nil {
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
		leaving("removed %s", path)
	}
	fmt.Println("\nIn your mail program, remove the account as well.")
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
