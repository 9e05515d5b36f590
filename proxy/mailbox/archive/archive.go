// Package archive reads and writes the files in which other programs keep mail: mbox
// (RFC 4155, with the reversible quoting that is called mboxrd) and Maildir, one for
// each folder, in a tree of directories like that of the folders.
//
// What it wrote, it reads back byte for byte, with flags and dates. What others wrote
// it reads as mail: line endings become CRLF, and the fields in which mail programs
// keep flags are taken out of the header. What cannot be read is skipped and named.
//
// It knows no store and no daemon: proxy puts these together, and may import it, as
// may cmd/mailproxy. The libraries for both formats do not fit here: that for mbox
// quotes "From " lines so that they cannot be told from quoted ones, and numbers no
// lines; that for Maildir puts this computer's name into file names, and moves the
// messages of the Maildir that it reads.
package archive

import (
	"bytes"
	"fmt"
	"time"
)

// MaxMessage is the largest message that is read from a file, in bytes.
const MaxMessage = 100 << 20

// Format is one of the two formats.
type Format string

// The formats.
const (
	Mbox    Format = "mbox"
	Maildir Format = "maildir"
)

// A Message is a message with what a mailbox knows of it.
type Message struct {
	Folder           string
	Flags            []string // as mailbox.CleanFlags returns them
	Date             time.Time
	UIDValidity, UID uint32 // of the message that is written; 0 in one that was read
	Body             []byte
}

// A Skipped is something that was not read, or not as it is, or not written.
type Skipped struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"` // of an mbox, from 1; 0 for the whole file
	Folder string `json:"folder,omitempty"`
	UID    uint32 `json:"uid,omitempty"`
	Text   string `json:"text"` // a sentence without its full stop
}

// String says where, and what.
func (s Skipped) String() string {
	where := s.File
	switch {
	case s.Line > 0:
		where = fmt.Sprintf("%s, line %d", s.File, s.Line)
	case s.Folder != "" && s.UID > 0:
		where = fmt.Sprintf("folder %q, UID %d", s.Folder, s.UID)
	case s.Folder != "":
		where = fmt.Sprintf("folder %q", s.Folder)
	}
	if where == "" {
		return s.Text
	}
	return where + ": " + s.Text
}

// A Writer writes folders into a directory of its own.
type Writer interface {
	// Folder begins a folder, which may stay empty.
	Folder(name string) error
	// Add writes a message into the folder that was begun last; its Folder does not
	// matter.
	Add(m *Message) error
	// Close ends the last folder. Without it, that folder is left unfinished, which
	// can be seen by its name.
	Close() error
	// Skipped returns what could not be written as it is.
	Skipped() []Skipped
}

// Line endings of a message, as they are written. Programs that read these files
// expect bare line feeds; a message whose lines all end in CRLF gets them, and a mark
// that says so.
const (
	linesCRLF = "crlf" // LF in the file stands for CRLF
	linesRaw  = "raw"  // the file has the message's own bytes
)

// lines returns how the lines of a message are written, and the bytes.
func lines(body []byte) (mode string, out []byte) {
	if n := bytes.Count(body, []byte("\n")); n == 0 || n != bytes.Count(body, []byte("\r\n")) {
		return linesRaw, body
	}
	return linesCRLF, bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
}

// unlines is the way back.
func unlines(mode string, in []byte) []byte {
	if mode == linesCRLF {
		return bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n"))
	}
	return in
}

// foreign makes mail of what another program wrote: every line ends in CRLF.
func foreign(in []byte) []byte {
	return unlines(linesCRLF, bytes.ReplaceAll(in, []byte("\r\n"), []byte("\n")))
}
