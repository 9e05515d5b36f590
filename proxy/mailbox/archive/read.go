package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mailproxy/proxy/mailbox"
)

// A source is a file or directory that is one folder.
type source struct {
	path   string
	folder string // relative to where the import goes
	format Format
	named  bool // by the user: it makes a folder only if it has a message
}

// A Reader reads files of both formats.
type Reader struct {
	// Into is the folder for what is not in a folder of its own, and the one below
	// which all others go; "" for none.
	Into string
	// Folder is called before the messages of each folder, which may have none unless
	// it is a file that was named itself.
	Folder func(name string) error
	// Message is called for each message.
	Message func(*Message) error

	skipped []Skipped
}

// Skipped returns what was not read, or not as it is.
func (r *Reader) Skipped() []Skipped { return r.skipped }

func (r *Reader) skip(file, format string, args ...any) {
	r.skipped = append(r.skipped, Skipped{File: file, Text: fmt.Sprintf(format, args...)})
}

// Read reads an mbox, a Maildir, or a directory with any number of them; below a
// Maildir there may be others, by directories or, where their names begin with a dot,
// by dots in these. An error of Folder or Message, or a path that is not there, ends
// it; all else is skipped.
func (r *Reader) Read(root string) error {
	sources, err := r.find(root)
	if err != nil {
		return err
	}
	if len(sources) == 0 {
		r.skip(root, "there is neither an mbox nor a Maildir here")
	}
	for _, s := range sources {
		if err := r.read(s); err != nil {
			return err
		}
	}
	return nil
}

// find lists what is in root, in the order of folders.
func (r *Reader) find(root string) ([]source, error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	if info.Mode().IsRegular() {
		name := folderLevel(strings.TrimSuffix(filepath.Base(root), mboxEnding))
		if r.Into != "" {
			name = ""
		}
		return []source{{root, name, Mbox, true}}, nil
	}
	var list []source
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			r.skip(file, "%v", err)
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && isMaildir(file):
			list = append(list, source{file, folderOf(rel, isMaildir(root)), Maildir, false})
			return nil
		case d.IsDir():
			if own := slices.Contains([]string{"cur", "new", "tmp"}, d.Name()); own && isMaildir(filepath.Dir(file)) {
				return fs.SkipDir
			}
			return nil
		case isMaildir(filepath.Dir(file)) || strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), ".msf"):
			return nil // what mail programs keep beside the mail
		case !d.Type().IsRegular():
			r.skip(file, "this is no file")
		case strings.HasSuffix(d.Name(), partEnding):
			r.skip(file, "the export that wrote this file was not finished")
		default:
			if ok, err := beginsLikeMbox(file); err != nil {
				r.skip(file, "%v", err)
			} else if ok {
				list = append(list, source{file, folderOf(strings.TrimSuffix(rel, mboxEnding), false), Mbox, false})
			} else {
				r.skip(file, "line 1 is not the beginning of an mbox, which is \"From \" and a date")
			}
		}
		return nil
	})
	return list, err
}

// folderOf returns the name of the folder that a path stands for. plusPlus is set
// below a Maildir that has others in directories such as ".Work.2026" (Maildir++).
func folderOf(rel string, plusPlus bool) string {
	if rel == "." {
		return ""
	}
	var levels []string
	for _, l := range strings.Split(filepath.ToSlash(rel), "/") {
		if rest, ok := strings.CutPrefix(l, "."); ok && plusPlus {
			levels = append(levels, strings.Split(rest, ".")...)
			continue
		}
		levels = append(levels, folderLevel(strings.TrimSuffix(l, thunderbirdEnding)))
	}
	return strings.Join(levels, mailbox.Delimiter)
}

// beginsLikeMbox reports whether a file is an mbox or empty.
func beginsLikeMbox(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	line, _ := cutLine(head[:n])
	_, ok := parseFrom(line)
	return ok || n == 0 && strings.HasSuffix(file, mboxEnding), nil
}

// read reads one folder.
func (r *Reader) read(s source) error {
	name := strings.Trim(r.Into+mailbox.Delimiter+s.folder, mailbox.Delimiter)
	if name == "" {
		name = mailbox.Inbox // a Maildir that was named itself
	}
	folder, err := mailbox.FolderName(name)
	if err != nil {
		r.skip(s.path, "no folder can have the name that this file asks for: %v", err)
		return nil
	}
	if !s.named {
		if err := r.Folder(folder); err != nil {
			return err
		}
	}
	first := s.named
	message := func(m *Message) error {
		if first {
			first = false
			if err := r.Folder(folder); err != nil {
				return err
			}
		}
		m.Folder = folder
		return r.Message(m)
	}
	var skipped []Skipped
	if s.format == Maildir {
		skipped, err = ReadMaildir(s.path, message)
	} else {
		skipped, err = r.readMbox(s.path, message)
	}
	r.skipped = append(r.skipped, skipped...)
	return err
}

func (r *Reader) readMbox(file string, fn func(*Message) error) ([]Skipped, error) {
	f, err := os.Open(file)
	if err != nil {
		return []Skipped{{File: file, Text: err.Error()}}, nil
	}
	defer f.Close()
	return ReadMbox(f, file, fn)
}
