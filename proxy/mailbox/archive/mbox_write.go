package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailproxy/proxy/mailbox"
)

// The endings of files.
const (
	mboxEnding        = ".mbox"
	partEnding        = ".part" // of one that is not finished
	thunderbirdEnding = ".sbd"  // of Thunderbird's directories of subfolders
)

// markField is the first field of each message in an mbox that we wrote. It says how
// to get the message back as it was.
const markField = "X-Mailproxy-Mbox"

// An mboxWriter writes one mbox for each folder.
type mboxWriter struct {
	dir   string
	names *names
	file  *os.File // nil before the first folder
	w     *bufio.Writer
	path  string // of the finished file
}

// NewWriter returns a writer into dir, which must be empty or not be there.
func NewWriter(dir string, f Format) (Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	switch there, err := os.ReadDir(dir); {
	case err != nil:
		return nil, fmt.Errorf("look into directory: %w", err)
	case len(there) > 0:
		return nil, fmt.Errorf("%s is not empty; name a directory that is new", dir)
	}
	switch f {
	case Mbox:
		return &mboxWriter{dir: dir, names: newNames()}, nil
	case Maildir:
		return &maildirWriter{dir: dir, names: newNames()}, nil
	}
	return nil, fmt.Errorf("%q is no format; it is mbox or maildir", f)
}

// Folder implements Writer.
func (w *mboxWriter) Folder(name string) error {
	if err := w.Close(); err != nil {
		return err
	}
	w.path = filepath.Join(w.dir, filepath.FromSlash(w.names.path(name))+mboxEnding)
	if err := os.MkdirAll(filepath.Dir(w.path), 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	f, err := os.OpenFile(w.path+partEnding, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make mbox: %w", err)
	}
	w.file, w.w = f, bufio.NewWriterSize(f, 1<<16)
	return nil
}

// Add implements Writer. The line of a message begins with the sender that RFC 4155
// has for one who is not known: the envelope's is not kept.
func (w *mboxWriter) Add(m *Message) error {
	mode, body := lines(m.Body)
	end := "closed"
	if len(body) > 0 && body[len(body)-1] != '\n' {
		end = "open" // the line feed that follows is not the message's
	}
	fields := statusFields(m.Flags)
	fmt.Fprintf(w.w, "From MAILER-DAEMON %s\n", m.Date.UTC().Format(time.ANSIC))
	fmt.Fprintf(w.w, "%s: v=1; lines=%s; end=%s; fields=%d; date=%s\n", markField, mode, end, len(fields), m.Date.Format(time.RFC3339))
	for _, f := range fields {
		fmt.Fprintf(w.w, "%s\n", f)
	}
	for len(body) > 0 {
		n := bytes.IndexByte(body, '\n') + 1
		if n == 0 {
			n = len(body)
		}
		if quoted(body[:n]) {
			w.w.WriteByte('>')
		}
		w.w.Write(body[:n])
		body = body[n:]
	}
	if end == "open" {
		w.w.WriteByte('\n')
	}
	if err := w.w.WriteByte('\n'); err != nil { // it keeps the first error of all these
		return fmt.Errorf("write mbox: %w", err)
	}
	return nil
}

// quoted reports whether a line gets another > before it: "From ", or such a line that
// was quoted before.
func quoted(line []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) }

// Close implements Writer.
func (w *mboxWriter) Close() error {
	if w.file == nil {
		return nil
	}
	f := w.file
	w.file = nil
	if err := errors.Join(w.w.Flush(), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write mbox: %w", err)
	}
	if err := os.Rename(w.path+partEnding, w.path); err != nil {
		return fmt.Errorf("finish mbox: %w", err)
	}
	return nil
}

// Skipped implements Writer: an mbox takes everything.
func (w *mboxWriter) Skipped() []Skipped { return nil }

// statusFields are those in which mail programs keep flags in an mbox.
func statusFields(flags []string) []string {
	status, x := "O", ""
	var keywords []string
	for _, f := range flags {
		switch f {
		case mailbox.FlagSeen:
			status = "RO"
		case mailbox.FlagAnswered:
			x += "A"
		case mailbox.FlagFlagged:
			x += "F"
		case mailbox.FlagDraft:
			x += "T"
		case mailbox.FlagDeleted:
			x += "D"
		default:
			keywords = append(keywords, f)
		}
	}
	fields := []string{"Status: " + status}
	if x != "" {
		fields = append(fields, "X-Status: "+x)
	}
	for chunk := range slices.Chunk(keywords, 8) { // of at most 100 characters each
		fields = append(fields, "X-Keywords: "+strings.Join(chunk, " "))
	}
	return fields
}
