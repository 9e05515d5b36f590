package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"mailproxy/proxy/mailbox"
)

// host is where other programs put the name of a computer in the names of files. Ours
// says who wrote the file, and how its lines end.
const host = "mailproxy"

// keywordsFile gives letters to keywords, as Dovecot does.
const keywordsFile = "dovecot-keywords"

// maxKeywords is how many letters there are.
const maxKeywords = 26

// letters of the flags (https://cr.yp.to/proto/maildir.html), in their order.
var letters = []struct {
	letter byte
	flag   string
}{{'D', mailbox.FlagDraft}, {'F', mailbox.FlagFlagged}, {'R', mailbox.FlagAnswered}, {'S', mailbox.FlagSeen}, {'T', mailbox.FlagDeleted}}

// separator comes before the flags in the name of a file. Windows has no colon.
func separator() string {
	if runtime.GOOS == "windows" {
		return ";"
	}
	return ":"
}

// A maildirWriter writes one Maildir for each folder.
type maildirWriter struct {
	dir      string
	names    *names
	path     string   // of the folder; "" before the first
	keywords []string // of the folder
	folder   string
	skipped  []Skipped
}

// Folder implements Writer.
func (w *maildirWriter) Folder(name string) error {
	if err := w.Close(); err != nil {
		return err
	}
	w.folder, w.keywords = name, nil
	w.path = filepath.Join(w.dir, filepath.FromSlash(w.names.path(name)))
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(w.path, sub), 0o700); err != nil {
			return fmt.Errorf("make Maildir: %w", err)
		}
	}
	return nil
}

// Add implements Writer. The file's time is the message's date.
func (w *maildirWriter) Add(m *Message) error {
	mode, body := lines(m.Body)
	base := fmt.Sprintf("%d.V%dU%d.%s-%s", m.Date.Unix(), m.UIDValidity, m.UID, host, mode)
	file := filepath.Join(w.path, "tmp", base)
	if err := writeFile(file, body, m.Date); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if err := os.Rename(file, filepath.Join(w.path, "cur", base+separator()+"2,"+w.letters(m))); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

func writeFile(file string, body []byte, date time.Time) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Chtimes(file, date, date)
}

func (w *maildirWriter) letters(m *Message) string {
	var s []byte
	for _, l := range letters {
		if slices.Contains(m.Flags, l.flag) {
			s = append(s, l.letter)
		}
	}
	for _, f := range m.Flags {
		if strings.HasPrefix(f, `\`) {
			continue
		}
		i := slices.Index(w.keywords, f)
		if i < 0 && len(w.keywords) == maxKeywords {
			w.skipped = append(w.skipped, Skipped{Folder: w.folder, UID: m.UID, Text: fmt.Sprintf("the keyword %q is left out: a Maildir has %d at most", f, maxKeywords)})
			continue
		}
		if i < 0 {
			i = len(w.keywords)
			w.keywords = append(w.keywords, f)
		}
		s = append(s, 'a'+byte(i))
	}
	slices.Sort(s)
	return string(s)
}

// Close implements Writer.
func (w *maildirWriter) Close() error {
	if w.path == "" || len(w.keywords) == 0 {
		return nil
	}
	var b strings.Builder
	for i, k := range w.keywords {
		fmt.Fprintf(&b, "%d %s\n", i, k)
	}
	w.keywords = nil
	if err := os.WriteFile(filepath.Join(w.path, keywordsFile), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write keywords: %w", err)
	}
	return nil
}

// Skipped implements Writer.
func (w *maildirWriter) Skipped() []Skipped { return w.skipped }

// isMaildir reports whether dir is a Maildir.
func isMaildir(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "cur"))
	return err == nil && info.IsDir()
}

// ReadMaildir reads a Maildir, changes nothing in it, and calls fn for each message,
// which has no folder yet. An error of fn ends it.
func ReadMaildir(dir string, fn func(*Message) error) (skipped []Skipped, err error) {
	skip := func(file string, format string, args ...any) {
		skipped = append(skipped, Skipped{File: file, Text: fmt.Sprintf(format, args...)})
	}
	keywords, err := readKeywords(dir, skip)
	if err != nil {
		return skipped, err
	}
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if errors.Is(err, fs.ErrNotExist) && sub == "new" {
			continue
		}
		if err != nil {
			return skipped, fmt.Errorf("read Maildir: %w", err)
		}
		for _, e := range entries {
			file := filepath.Join(dir, sub, e.Name())
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			m, err := readMessage(file, e)
			if err != nil {
				skip(file, "%v", err)
				continue
			}
			m.Flags = fileFlags(e.Name(), keywords, func(letter rune) {
				skip(file, "the flag %q is left out: it means nothing here", letter)
			})
			if err := fn(m); err != nil {
				return skipped, err
			}
		}
	}
	return skipped, nil
}

func readMessage(file string, e fs.DirEntry) (*Message, error) {
	info, err := e.Info()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("this is no file")
	case info.Size() > MaxMessage:
		return nil, fmt.Errorf("the message has more than %d MiB", MaxMessage>>20)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(f, MaxMessage+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(body) > MaxMessage {
		return nil, errors.New("the message grew while it was read")
	}
	base, _ := cutFlags(e.Name())
	switch {
	case strings.HasSuffix(base, "."+host+"-"+linesCRLF):
		body = unlines(linesCRLF, body)
	case !strings.HasSuffix(base, "."+host+"-"+linesRaw):
		body = foreign(body)
	}
	return &Message{Date: info.ModTime().Truncate(time.Second), Body: body}, nil
}

// cutFlags takes the flags off a file's name, after any of the separators in use.
func cutFlags(name string) (base, flags string) {
	for _, sep := range []string{":2,", ";2,", "!2,"} {
		if i := strings.LastIndex(name, sep); i >= 0 {
			return name[:i], name[i+len(sep):]
		}
	}
	return name, ""
}

// fileFlags returns the flags that a file's name has, and calls unknown for letters
// that mean none. P, for a message that was passed on, is $Forwarded in IMAP.
func fileFlags(name string, keywords []string, unknown func(rune)) []string {
	_, flags := cutFlags(name)
	var list []string
next:
	for _, r := range flags {
		for _, l := range letters {
			if r == rune(l.letter) {
				list = append(list, l.flag)
				continue next
			}
		}
		switch i := int(r) - 'a'; {
		case r == 'P':
			list = append(list, "$Forwarded")
		case r == ',': // others append more
			break next
		case i >= 0 && i < len(keywords) && keywords[i] != "":
			list = append(list, keywords[i])
		default:
			unknown(r)
		}
	}
	good, _ := cleanFlags(list)
	return good
}

func readKeywords(dir string, skip func(string, string, ...any)) ([]string, error) {
	file := filepath.Join(dir, keywordsFile)
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keywords: %w", err)
	}
	defer f.Close()
	keywords := make([]string, maxKeywords)
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		var i int
		var word string
		if c, err := fmt.Sscanf(in.Text(), "%d %s", &i, &word); err != nil || c != 2 || i < 0 || i >= maxKeywords {
			skip(file, "line %d is not a number below %d and a keyword", n, maxKeywords)
			continue
		}
		if good, _ := cleanFlags([]string{word}); len(good) == 0 {
			skip(file, "the keyword in line %d, %q, cannot be kept", n, word)
			continue
		}
		keywords[i] = word
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read keywords: %w", err)
	}
	return keywords, nil
}
