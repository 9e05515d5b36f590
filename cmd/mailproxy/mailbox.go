package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"mailproxy/internal/command"
	"mailproxy/proxy"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/mailbox/archive"
	"mailproxy/proxy/storekey"
)

type mailboxCmd struct {
	Check  mailboxCheckCmd  `cmd:"" help:"Read all mail and say what is not as it must be. Nothing is changed."`
	Repair mailboxRepairCmd `cmd:"" help:"Mend what check finds. No mail is dropped: what belongs nowhere goes to the folder Recovered."`
	Export mailboxExportCmd `cmd:"" help:"Write mail into files that other programs read: mbox or Maildir."`
	Import mailboxImportCmd `cmd:"" help:"Take mail from mbox files and Maildirs. It can be repeated: what a folder holds already is left out."`
}

type mailboxFlags struct {
	configFlag
	command.JSONFlag
}

// useTool has what works on the mail do something, through the daemon or without one
// by itself, and prints what came of it, by text if not as JSON. What it returns beside
// an error is what was done until then.
func useTool[T any](ctx context.Context, f *mailboxFlags, do func(*proxy.MailTool) (T, error), text func(T)) (done T, err error) {
	cfg, err := proxy.LoadConfig(f.Config)
	if err != nil {
		return done, err
	}
	t := mailTool(ctx, cfg)
	meter := newMeter(os.Stderr)
	t.Progress = meter.show
	done, err = do(t)
	meter.clear()
	if err != nil {
		return done, err
	}
	return done, f.Say(done, func() { text(done) })
}

func mailTool(ctx context.Context, cfg proxy.Config) *proxy.MailTool {
	return proxy.NewMailTool(cfg.Dir, func() ([]byte, error) {
		key, err := storekey.Open(cfg.Dir, keySources(ctx))
		return key, keyStatus(err)
	})
}

// A meter shows progress on a terminal, and now and then elsewhere.
type meter struct {
	w        io.Writer
	terminal bool
	began    time.Time
	last     time.Time
	width    int // of what stands there
}

// How often progress is shown.
const (
	meterEvery = 200 * time.Millisecond
	meterLog   = 10 * time.Second
)

func newMeter(f *os.File) *meter {
	info, err := f.Stat()
	now := time.Now()
	return &meter{w: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0, began: now, last: now}
}

func (m *meter) show(p proxy.MailProgress) {
	now, every := time.Now(), meterLog
	if m.terminal {
		every = meterEvery
	}
	if now.Sub(m.last) < every {
		return
	}
	m.last = now
	text := amount(p, now.Sub(m.began))
	if !m.terminal {
		fmt.Fprintln(m.w, text)
		return
	}
	fmt.Fprintf(m.w, "\r%-*s", m.width, text)
	m.width = len(text)
}

// amount says how far something is.
func amount(p proxy.MailProgress, since time.Duration) string {
	var parts []string
	switch {
	case p.Of > 0:
		parts = append(parts, fmt.Sprintf("%d of %d messages", p.Messages, p.Of))
	case p.Messages > 0:
		parts = append(parts, fmt.Sprintf("%d messages", p.Messages))
	}
	size := fmt.Sprintf("%.1f", float64(p.Bytes)/1e6)
	if p.OfBytes > 0 {
		size += fmt.Sprintf(" of %.1f", float64(p.OfBytes)/1e6)
	}
	parts = append(parts, size+" MB", since.Round(time.Second).String())
	return strings.Join(parts, ", ")
}

// clear takes what stands there away.
func (m *meter) clear() {
	if m.terminal && m.width > 0 {
		fmt.Fprintf(m.w, "\r%*s\r", m.width, "")
	}
}

type mailboxCheckCmd struct{ mailboxFlags }

// Run checks the mail. It fails if anything is wrong.
func (c *mailboxCheckCmd) Run(ctx context.Context) error {
	r, err := useTool(ctx, &c.mailboxFlags, func(t *proxy.MailTool) (*mailbox.Report, error) { return t.Check(ctx) }, printReport)
	if err == nil && !r.Clean() {
		err = fmt.Errorf("%s wrong; \"mailproxy mailbox repair\" mends what can be mended", thingsAre(len(r.Problems)+r.More))
	}
	return err
}

func printReport(r *mailbox.Report) {
	for _, p := range r.Problems {
		fmt.Println(p)
	}
	if r.More > 0 {
		fmt.Printf("and %d more\n", r.More)
	}
	fmt.Printf("%d account%s, %d folder%s, %d message%s, %.1f MB", r.Accounts, plural(r.Accounts), r.Folders, plural(r.Folders),
		r.Messages, plural(r.Messages), float64(r.Bytes)/1e6)
	if r.Leftovers > 0 {
		fmt.Printf("; parts of %d messages that never arrived whole are removed at the next start", r.Leftovers)
	}
	if r.Clean() {
		fmt.Print(": all is well")
	}
	fmt.Println()
}

type mailboxRepairCmd struct{ mailboxFlags }

// Run mends the mail. It fails if something stays wrong.
func (c *mailboxRepairCmd) Run(ctx context.Context) error {
	r, err := useTool(ctx, &c.mailboxFlags, func(t *proxy.MailTool) (*mailbox.Repaired, error) { return t.Repair(ctx) }, printRepaired)
	if err != nil {
		return err
	}
	if n := len(r.Report.Problems) + r.Report.More; n > 0 {
		return fmt.Errorf("%s still wrong, and cannot be mended; keep a copy of the directory, and export what can be read", thingsAre(n))
	}
	return nil
}

func printRepaired(r *mailbox.Repaired) {
	for _, did := range r.Done {
		fmt.Println(did)
	}
	if len(r.Done) == 0 {
		fmt.Println("there was nothing that could be mended")
	}
	printReport(r.Report)
}

// thingsAre counts what is wrong.
func thingsAre(n int) string {
	if n == 1 {
		return "1 thing is"
	}
	return fmt.Sprintf("%d things are", n)
}

type mailboxExportCmd struct {
	mailboxFlags
	Dir     string   `arg:"" help:"Directory to write into; it is made, or must be empty." type:"path"`
	Account string   `help:"The account, if there are several." placeholder:"ADDRESS"`
	Folder  []string `help:"Only this folder; may be repeated." placeholder:"NAME" sep:"none"`
	Format  string   `help:"What to write: mbox, one file for each folder, or maildir, one directory for each." enum:"mbox,maildir" default:"mbox"`
}

// Run exports mail. It fails if not all of it could be written.
func (c *mailboxExportCmd) Run(ctx context.Context) error {
	in := proxy.ExportMail{Account: c.Account, Folders: c.Folder, Dir: c.Dir, Format: archive.Format(c.Format)}
	done, err := useTool(ctx, &c.mailboxFlags, func(t *proxy.MailTool) (proxy.ExportedMail, error) { return t.Export(ctx, in) }, printExported)
	return skippedError(err, done.Skipped, "written")
}

func printExported(done proxy.ExportedMail) {
	printSkipped(done.Skipped)
	fmt.Printf("%d messages of %d folders, %.1f MB, are in %s\n", done.Messages, done.Folders, float64(done.Bytes)/1e6, done.Dir)
	fmt.Println("These files are not encrypted.")
}

type mailboxImportCmd struct {
	mailboxFlags
	Paths   []string `arg:"" name:"path" help:"mbox file, Maildir, or directory with any number of them." type:"path"`
	Account string   `help:"The account, if there are several." placeholder:"ADDRESS"`
	Into    string   `help:"Folder for the mail of a single file or Maildir, and the one below which the folders of a directory go." placeholder:"NAME"`
}

// Run imports mail. It fails if not all of it could be taken.
func (c *mailboxImportCmd) Run(ctx context.Context) error {
	in := proxy.ImportMail{Account: c.Account, Paths: c.Paths, Into: c.Into}
	failed := true // until there is something to say
	done, err := useTool(ctx, &c.mailboxFlags, func(t *proxy.MailTool) (proxy.ImportedMail, error) {
		done, err := t.Import(ctx, in)
		failed = err != nil
		return done, err
	}, printImported)
	if failed && !c.JSON {
		printSkipped(done.Skipped)
	}
	return skippedError(err, done.Skipped, "taken")
}

func printImported(done proxy.ImportedMail) {
	printSkipped(done.Skipped)
	fmt.Printf("%d messages are added to %s", done.Added, done.Account)
	if done.Known > 0 {
		fmt.Printf("; %d were there already and are left out", done.Known)
	}
	fmt.Println()
}

func printSkipped(list []archive.Skipped) {
	for _, s := range list {
		fmt.Println(s)
	}
}

func skippedError(err error, list []archive.Skipped, done string) error {
	if err == nil && len(list) > 0 {
		err = fmt.Errorf("not everything is %s as it is; see the %d notes", done, len(list))
	}
	return err
}
