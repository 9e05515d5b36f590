package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/control"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/mailbox/archive"
)

// This file is the side of the mail commands that has the store: the daemon's, or the
// command's own when no daemon runs.

const (
	pathMailCheck  = "/v1/mail/check"
	pathMailRepair = "/v1/mail/repair"
	pathMailExport = "/v1/mail/export"
	pathMailImport = "/v1/mail/import"
)

// progressEvery is how often progress is told.
const progressEvery = 200 * time.Millisecond

// serveMail adds the mail commands to the control API.
func (d *Daemon) serveMail(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathMailCheck, func(w http.ResponseWriter, r *http.Request) {
		control.Stream(w, d.log, func(w io.Writer) (any, error) {
			return struct{}{}, sendCheck(r.Context(), w, d.mail.Check)
		})
	})
	mux.HandleFunc("POST "+pathMailRepair, func(w http.ResponseWriter, r *http.Request) {
		done, err := d.mail.Repair(r.Context(), mailbox.CheckOptions{})
		if err == nil {
			done.Report, err = d.mail.Check(r.Context(), mailbox.CheckOptions{}) // memory as well
		}
		d.answer(w, done, err)
	})
	mux.HandleFunc("GET "+pathMailExport, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		control.Stream(w, d.log, func(w io.Writer) (any, error) {
			return struct{}{}, sendExport(r.Context(), d.mail, q.Get("account"), q["folder"], w)
		})
	})
	mux.HandleFunc("POST "+pathMailImport, func(w http.ResponseWriter, r *http.Request) {
		done, err := takeImport(r.Context(), d.mail, r.URL.Query().Get("account"), r.Body)
		if err != nil {
			// A client that still sends would not read why.
			_, _ = io.Copy(io.Discard, r.Body)
		}
		d.answer(w, done, err)
	})
}

// sendCheck sends progress, and then the report.
func sendCheck(ctx context.Context, w io.Writer, check func(context.Context, mailbox.CheckOptions) (*mailbox.Report, error)) error {
	var last time.Time
	var sending error
	report, err := check(ctx, mailbox.CheckOptions{Progress: func(done, total int64) {
		if now := time.Now(); sending == nil && now.Sub(last) >= progressEvery {
			last = now
			sending = writeFrame(w, mailFrame{Progress: &MailProgress{Bytes: done, OfBytes: total}})
		}
	}})
	if err == nil {
		err = sending
	}
	if err != nil {
		return err
	}
	// The frame has a bound; what is beyond it is counted.
	if most := maxFrame / 2000; len(report.Problems) > most {
		report.More += len(report.Problems) - most
		report.Problems = report.Problems[:most]
	}
	return writeFrame(w, mailFrame{Report: report})
}

// mailAccount returns the account of an address; "" stands for the only one.
func mailAccount(mb *mailbox.Store, addr string) (*mailbox.Account, error) {
	if addr == "" {
		switch names := mb.Accounts(); len(names) {
		case 0:
			return nil, errors.New("there is no account yet; add one first")
		case 1:
			addr = names[0]
		default:
			return nil, fmt.Errorf("there are several accounts; say which one with --account: %s", strings.Join(names, ", "))
		}
	}
	if canonical, err := address.Canonical(addr); err == nil {
		addr = canonical
	}
	a, err := mb.Account(addr)
	if errors.Is(err, mailbox.ErrNoAccount) {
		return nil, fmt.Errorf("there is no account %s here; there is %s", addr, strings.Join(mb.Accounts(), ", "))
	}
	return a, err
}

// sendExport sends folders with their messages; all of them without names.
func sendExport(ctx context.Context, mb *mailbox.Store, addr string, names []string, w io.Writer) error {
	a, err := mailAccount(mb, addr)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		for _, info := range a.Folders() {
			if !info.Missing {
				names = append(names, info.Name)
			}
		}
	}
	var folders []*mailbox.Folder
	var all MailProgress
	for _, name := range names {
		f, err := a.Folder(name)
		if err != nil {
			return fmt.Errorf("export folder %q: %w", name, err)
		}
		s, err := f.Status()
		if err != nil {
			return fmt.Errorf("export folder %q: %w", name, err)
		}
		folders = append(folders, f)
		all.Of += int(s.Messages)
		all.OfBytes += s.Size
	}
	out := bufio.NewWriterSize(w, 256<<10)
	if err := writeFrame(out, mailFrame{Progress: &all}); err != nil {
		return err
	}
	for i, f := range folders {
		if err := writeFrame(out, mailFrame{Folder: &names[i]}); err != nil {
			return err
		}
		list, err := f.Messages()
		if err != nil {
			return fmt.Errorf("export folder %q: %w", names[i], err)
		}
		for _, m := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := sendMessage(out, f, m); err != nil {
				return err
			}
		}
	}
	if err := writeFrame(out, mailFrame{End: true}); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	return nil
}

// sendMessage sends one message. One that was expunged meanwhile is left out, and one
// that cannot be read is sent with the reason in its place.
func sendMessage(w io.Writer, f *mailbox.Folder, m mailbox.Message) error {
	var sending error
	head := func() error {
		return writeFrame(w, mailFrame{Message: &mailMessage{UIDValidity: f.UIDValidity(), UID: m.UID, Flags: m.Flags, Date: m.Date()}})
	}
	began := false
	err := f.Content(m, func(c *mailbox.Content) error {
		began = true
		if sending = head(); sending == nil {
			sending = writeBody(w, c.Reader(0, m.Size))
		}
		return nil
	})
	switch {
	case sending != nil || errors.Is(err, mailbox.ErrNoMessage):
		return sending
	case err != nil && !began:
		if err := head(); err != nil {
			return err
		}
		return writeBody(w, &failing{err})
	}
	return nil
}

// failing is a reader of nothing but an error.
type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// ImportedMail is what came of an import.
type ImportedMail struct {
	Account string `json:"account"`
	Added   int    `json:"added"`
	// Known were there before, byte for byte, and were left out.
	Known   int               `json:"known"`
	Skipped []archive.Skipped `json:"skipped"`
}

// takeImport stores what a command sends. What is stored before an error stays.
func takeImport(ctx context.Context, mb *mailbox.Store, addr string, r io.Reader) (ImportedMail, error) {
	done := ImportedMail{Skipped: []archive.Skipped{}}
	a, err := mailAccount(mb, addr)
	if err != nil {
		return done, err
	}
	done.Account = a.Name()
	in, imp, folder := bufio.NewReaderSize(r, 64<<10), a.Import(), ""
	stopped := func(err error) error {
		return fmt.Errorf("the import stopped after %d messages, which stay: run it again, and those are left out: %w", done.Added, err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return done, stopped(err)
		}
		f, err := readFrame(in)
		if err != nil {
			return done, stopped(err)
		}
		switch {
		case f.End:
			return done, nil
		case f.Folder != nil:
			folder = *f.Folder
			if err := imp.Folder(folder); err != nil {
				return done, stopped(err)
			}
		case f.Message != nil:
			body := &bodyReader{r: in}
			added, err := imp.Add(folder, io.LimitReader(body, archive.MaxMessage+1), f.Message.Flags, f.Message.Date)
			switch {
			case errors.Is(err, errBody), errors.Is(err, mailbox.ErrFlag):
				done.Skipped = append(done.Skipped, archive.Skipped{Folder: folder, Text: err.Error()})
			case err != nil:
				return done, stopped(err)
			case added:
				done.Added++
			default:
				done.Known++
			}
			if err := body.drain(); err != nil {
				return done, stopped(err)
			}
		}
	}
}

// checkStore works on a store that nobody has opened as a mailbox, since that may be
// refused for what is to be found.
func checkStore(st *store.Store) func(context.Context, mailbox.CheckOptions) (*mailbox.Report, error) {
	return func(ctx context.Context, o mailbox.CheckOptions) (*mailbox.Report, error) {
		return mailbox.Check(ctx, st, o)
	}
}
