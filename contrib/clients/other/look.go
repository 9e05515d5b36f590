package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// A message is one in a folder of the daemon.
type message struct {
	uid     goimap.UID
	flags   string // letters
	subject string
	size    int64
	raw     []byte // nil if it was not asked for
}

// fetch selects a folder and returns what is in it. One message is held in memory
// at a time more than is returned.
func (o *other) fetch(folder string, raw bool) ([]message, error) {
	in, err := o.c.Select(folder, nil).Wait()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	if in.NumMessages == 0 {
		return nil, nil
	}
	options := &goimap.FetchOptions{UID: true, Flags: true, Envelope: true, RFC822Size: true}
	whole := &goimap.FetchItemBodySection{Peek: true}
	if raw {
		options.BodySection = []*goimap.FetchItemBodySection{whole}
	}
	var all goimap.UIDSet // by number, one that another client removes meanwhile would be refused
	all.AddRange(1, 0)
	got, err := o.c.Fetch(all, options).Collect()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	list := make([]message, len(got))
	for i, m := range got {
		list[i] = message{uid: m.UID, flags: lettersOf(m.Flags), size: m.RFC822Size}
		if m.Envelope != nil {
			list[i].subject = m.Envelope.Subject
		}
		if raw {
			list[i].raw = m.FindBodySection(whole)
			if err := sizes(folder, m, list[i].raw); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// sizes checks that RFC822.SIZE is what there is (RFC 9051 section 6.4.5).
func sizes(folder string, m *imapclient.FetchMessageBuffer, raw []byte) error {
	if m.RFC822Size != int64(len(raw)) {
		return fmt.Errorf("%s: UID %d has %d bytes and says %d", folder, m.UID, len(raw), m.RFC822Size)
	}
	return nil
}

func (o *other) list(args []string) error {
	for _, folder := range args {
		list, err := o.fetch(folder, true)
		if err != nil {
			return err
		}
		for _, m := range list {
			fmt.Printf("%s %d %s %d %x %s\n", folder, m.uid, m.flags, m.size, sha256.Sum256(m.raw), m.subject)
		}
	}
	return nil
}

func (o *other) count(args []string) error {
	list, err := o.fetch(args[0], false)
	if err != nil {
		return err
	}
	n := 0
	for _, m := range list {
		if len(args) == 1 || strings.Contains(m.subject, args[1]) {
			n++
		}
	}
	fmt.Println(n)
	return nil
}

// whole compares folders with what they should hold, as FOLDER=FILE; FOLDER= with
// no file is an empty one.
func (o *other) whole(args []string) error {
	want, have := tally{}, tally{}
	folders := map[string]bool{}
	for _, a := range args {
		folder, file, ok := strings.Cut(a, "=")
		if !ok {
			return fmt.Errorf("%q is no FOLDER=FILE", a)
		}
		folders[folder] = true
		if file == "" {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		want.add(folder, raw, "", subject(raw))
	}
	for folder := range folders {
		list, err := o.fetch(folder, true)
		if err != nil {
			return err
		}
		for _, m := range list {
			have.add(folder, m.raw, "", m.subject)
		}
	}
	return want.same(have, "expected", "in the daemon")
}

// save writes what is in a folder into files.
func (o *other) save(args []string) error {
	list, err := o.fetch(args[0], true)
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := os.WriteFile(filepath.Join(args[1], fmt.Sprint(m.uid)), m.raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// tree compares folders with Maildirs of the same names, whose line ends are LF.
func (o *other) tree(args []string) error {
	daemon, disk := tally{}, tally{}
	for _, folder := range args[1:] {
		folder, dir, ok := strings.Cut(folder, "=")
		if !ok {
			dir = folder
		}
		list, err := o.fetch(folder, true)
		if err != nil {
			return err
		}
		for _, m := range list {
			daemon.add(folder, unix(m.raw), m.flags, m.subject)
		}
		if err := maildir(disk, folder, filepath.Join(args[0], dir)); err != nil {
			return err
		}
	}
	return daemon.same(disk, "in the daemon", "on disk")
}

func maildir(t tally, folder, dir string) error {
	for _, sub := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return err
		}
		for _, f := range files {
			raw, err := os.ReadFile(filepath.Join(dir, sub, f.Name()))
			if err != nil {
				return err
			}
			_, flags, _ := strings.Cut(f.Name(), ":2,")
			if flags == "" {
				flags = "-"
			}
			t.add(folder, unix(raw), flags, subject(raw))
		}
	}
	return nil
}

// A tally counts messages that are alike. mbsync puts a header field X-TUID into what
// it copies, and offlineimap3 ends a last line that has no end: both is left out.
type tally map[likeness]int

var tuid = regexp.MustCompile(`(?m)^X-TUID: .{12}\r?\n`)

type likeness struct {
	folder, flags, subject string
	size                   int
	sum                    [sha256.Size]byte
}

func (t tally) add(folder string, raw []byte, flags, subject string) {
	raw = tuid.ReplaceAllLiteral(raw, nil)
	raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
	t[likeness{folder, flags, subject, len(raw), sha256.Sum256(raw)}]++
}

// same returns an error that names what differs; a and b say what the sides are.
func (t tally) same(u tally, a, b string) error {
	var problems []error
	keys := maps.Clone(t)
	maps.Copy(keys, u)
	for l := range keys {
		if t[l] != u[l] {
			problems = append(problems, fmt.Errorf("%s in %s with flags %s and %d bytes is %d times %s and %d times %s",
				l.subject, l.folder, l.flags, l.size, t[l], a, u[l], b))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

// bodies looks for mails in the files beneath a directory. Programs put headers of
// their own above, and a last line end; the body must be the same.
func (o *other) bodies(args []string) error {
	found := map[string][][]byte{}
	err := filepath.WalkDir(args[0], func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") { // mbsync keeps notes there
			return err
		}
		raw, err := os.ReadFile(path)
		if err == nil {
			found[subject(raw)] = append(found[subject(raw)], raw)
		}
		return err
	})
	if err != nil {
		return err
	}
	var problems []error
	for _, file := range args[1:] {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		s := subject(raw)
		if copies := found[s]; len(copies) != 1 {
			problems = append(problems, fmt.Errorf("%s is there %d times", s, len(copies)))
		} else if !bytes.Equal(body(copies[0]), body(raw)) {
			problems = append(problems, fmt.Errorf("the body of %s differs", s))
		}
		delete(found, s)
	}
	for s, copies := range found {
		problems = append(problems, fmt.Errorf("%q is there %d times, and should not be", s, len(copies)))
	}
	return errors.Join(problems...)
}

// subject returns the subject of a mail of ours, which is never folded.
func subject(raw []byte) string {
	head, _, _ := bytes.Cut(unix(raw), []byte("\n\n"))
	for line := range bytes.SplitSeq(head, []byte("\n")) {
		if s, ok := bytes.CutPrefix(line, []byte("Subject: ")); ok {
			return string(s)
		}
	}
	return ""
}

func body(raw []byte) []byte {
	_, b, _ := bytes.Cut(unix(raw), []byte("\n\n"))
	return bytes.TrimSuffix(b, []byte("\n"))
}
