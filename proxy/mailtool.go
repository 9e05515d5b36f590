package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"mailproxy/internal/control"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/mailbox/archive"
	"mailproxy/proxy/storekey"
)

// A MailTool checks, repairs, exports and imports the mail of a data directory:
// through the daemon that runs with it or, without one, by opening the store itself.
type MailTool struct {
	dir     string
	control *Controller
	key     func() ([]byte, error)
	// Progress is told how far a command is, if it is not nil.
	Progress func(MailProgress)
}

// NewMailTool returns the tool for the data directory dir. It asks for the store's key
// when no daemon runs.
func NewMailTool(dir string, key func() ([]byte, error)) *MailTool {
	return &MailTool{dir: dir, control: Control(dir), key: key}
}

func (t *MailTool) progress(p MailProgress) {
	if t.Progress != nil {
		t.Progress(p)
	}
}

// use calls remote if a daemon answers, and else local with the store.
func (t *MailTool) use(ctx context.Context, remote func(*control.Client) error, local func(*store.Store) error) (err error) {
	if _, err := t.control.Status(ctx); !errors.Is(err, control.ErrNotRunning) {
		if err != nil {
			return err
		}
		return remote(t.control.client)
	}
	path := filepath.Join(t.dir, storekey.StoreDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no mail in %s, and no daemon runs with it", t.dir)
	}
	key, err := t.key()
	if err != nil {
		return err
	}
	st, err := store.Open(store.Options{Dir: path, Key: key, Reserve: reserve})
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("%w, and that answers no commands: if it is a mailproxy that is starting or stopping, try again", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return local(st)
}

// Check checks the mail; see mailbox.Check.
func (t *MailTool) Check(ctx context.Context) (*mailbox.Report, error) {
	var report *mailbox.Report
	err := t.stream(func(w io.Writer) error {
		return t.use(ctx, func(c *control.Client) error {
			return c.Fetch(ctx, pathMailCheck, w, &struct{}{})
		}, func(st *store.Store) error {
			return sendCheck(ctx, w, checkStore(st))
		})
	}, func(r *bufio.Reader) error {
		for report == nil {
			f, err := readFrame(r)
			if err != nil {
				return err
			}
			if f.Progress != nil {
				t.progress(*f.Progress)
			}
			report = f.Report
		}
		return nil
	})
	return report, err
}

// stream runs send and receive with a pipe between them. What send fails with, the
// receiver sees as well.
func (t *MailTool) stream(send func(io.Writer) error, receive func(*bufio.Reader) error) error {
	pr, pw := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := send(pw)
		pw.CloseWithError(err)
		sent <- err
	}()
	err := receive(bufio.NewReaderSize(pr, 64<<10))
	pr.CloseWithError(errReceiver)
	if sendErr := <-sent; sendErr != nil && !errors.Is(sendErr, errReceiver) {
		return sendErr
	}
	return err
}

// errReceiver ends a sender whose receiver has enough.
var errReceiver = errors.New("nobody reads on")

// Repair mends the mail; see mailbox.Repair.
func (t *MailTool) Repair(ctx context.Context) (*mailbox.Repaired, error) {
	done := new(mailbox.Repaired)
	err := t.use(ctx, func(c *control.Client) error {
		return c.Do(ctx, http.MethodPost, pathMailRepair, nil, done)
	}, func(st *store.Store) (err error) {
		done, err = mailbox.Repair(ctx, st, mailbox.Options{}, mailbox.CheckOptions{})
		return err
	})
	return done, err
}

// ExportMail says what to export, and where to.
type ExportMail struct {
	Account string   // "" for the only one
	Folders []string // all without any
	Dir     string   // must be empty or not be there
	Format  archive.Format
}

// ExportedMail is what came of an export.
type ExportedMail struct {
	Dir      string            `json:"dir"`
	Format   archive.Format    `json:"format"`
	Folders  int               `json:"folders"`
	Messages int               `json:"messages"`
	Bytes    int64             `json:"bytes"`
	Skipped  []archive.Skipped `json:"skipped"`
}

// Export writes mail into files. After an error, what was written so far is there;
// the folder that was being written can be told by its name.
func (t *MailTool) Export(ctx context.Context, in ExportMail) (ExportedMail, error) {
	done := ExportedMail{Dir: in.Dir, Format: in.Format, Skipped: []archive.Skipped{}}
	err := t.stream(func(w io.Writer) error {
		return t.use(ctx, func(c *control.Client) error {
			q := url.Values{"account": {in.Account}, "folder": in.Folders}
			return c.Fetch(ctx, pathMailExport+"?"+q.Encode(), w, &struct{}{})
		}, func(st *store.Store) error {
			mb, err := mailbox.Open(st, mailbox.Options{})
			if err != nil {
				return err
			}
			return sendExport(ctx, mb, in.Account, in.Folders, w)
		})
	}, func(r *bufio.Reader) error { return t.write(r, in, &done) })
	return done, err
}

// write writes what is sent into files.
func (t *MailTool) write(r *bufio.Reader, in ExportMail, done *ExportedMail) error {
	var w archive.Writer
	var all MailProgress
	folder := ""
	for {
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		if w == nil { // only now: an export that is refused makes no directory
			if w, err = archive.NewWriter(in.Dir, in.Format); err != nil {
				return err
			}
		}
		switch {
		case f.Progress != nil:
			all = *f.Progress
		case f.Folder != nil:
			folder = *f.Folder
			done.Folders++
			err = w.Folder(folder)
		case f.Message != nil:
			body, readErr := io.ReadAll(&bodyReader{r: r})
			if errors.Is(readErr, errBody) {
				done.Skipped = append(done.Skipped, archive.Skipped{Folder: folder, UID: f.Message.UID, Text: readErr.Error()})
				continue
			}
			if readErr != nil {
				return readErr
			}
			m := &archive.Message{Folder: folder, Flags: f.Message.Flags, Date: f.Message.Date, UIDValidity: f.Message.UIDValidity, UID: f.Message.UID, Body: body}
			err = w.Add(m)
			done.Messages++
			done.Bytes += int64(len(body))
			t.progress(MailProgress{Messages: done.Messages, Of: all.Of, Bytes: done.Bytes, OfBytes: all.OfBytes})
		case f.End:
			err = w.Close()
			done.Skipped = append(done.Skipped, w.Skipped()...)
			return err
		}
		if err != nil {
			return err
		}
	}
}

// ImportMail says what to import, and where to.
type ImportMail struct {
	Account string // "" for the only one
	Paths   []string
	// Into is the folder for what is not in a folder of its own, and the one below
	// which all others go; "" for none.
	Into string
}

// Import puts mail from files into folders. What is stored before an error stays; a
// repetition leaves it out.
func (t *MailTool) Import(ctx context.Context, in ImportMail) (done ImportedMail, err error) {
	if in.Into != "" {
		if in.Into, err = mailbox.FolderName(in.Into); err != nil {
			return done, err
		}
	}
	for _, p := range in.Paths { // before anything is stored
		if _, err := os.Stat(p); err != nil {
			return done, fmt.Errorf("import: %w", err)
		}
	}
	pr, pw := io.Pipe()
	var skipped []archive.Skipped
	read := make(chan error, 1)
	go func() {
		err := t.read(in, pw, &skipped)
		pw.CloseWithError(err)
		read <- err
	}()
	err = t.use(ctx, func(c *control.Client) error {
		return c.Send(ctx, pathMailImport+"?"+url.Values{"account": {in.Account}}.Encode(), pr, &done)
	}, func(st *store.Store) error {
		mb, err := mailbox.Open(st, mailbox.Options{})
		if err == nil {
			done, err = takeImport(ctx, mb, in.Account, pr)
		}
		return err
	})
	pr.CloseWithError(errReceiver)
	if readErr := <-read; readErr != nil && !errors.Is(readErr, errReceiver) {
		err = readErr
	}
	done.Skipped = append(skipped, done.Skipped...)
	if done.Skipped == nil {
		done.Skipped = []archive.Skipped{}
	}
	return done, err
}

// read sends what is in files.
func (t *MailTool) read(in ImportMail, to io.Writer, skipped *[]archive.Skipped) error {
	w := bufio.NewWriterSize(to, 256<<10)
	var p MailProgress
	for _, path := range in.Paths {
		r := &archive.Reader{Into: in.Into}
		r.Folder = func(name string) error { return writeFrame(w, mailFrame{Folder: &name}) }
		r.Message = func(m *archive.Message) error {
			err := writeFrame(w, mailFrame{Message: &mailMessage{Flags: m.Flags, Date: m.Date}})
			if err == nil {
				err = writeBody(w, bytes.NewReader(m.Body))
			}
			p.Messages++
			p.Bytes += int64(len(m.Body))
			t.progress(p)
			return err
		}
		err := r.Read(path)
		*skipped = append(*skipped, r.Skipped()...)
		if err != nil {
			return err
		}
	}
	if err := writeFrame(w, mailFrame{End: true}); err != nil {
		return err
	}
	return w.Flush()
}
