package archive

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/mailbox"
)

var day = time.Date(2026, 11, 22, 20, 17, 33, 0, time.FixedZone("", 3600))

// difficult are messages that a format could change.
var difficult = []string{
	"Subject: x\r\n\r\nbody\r\n",
	"",
	"\r\n",
	"\n",
	"\n\n\n",
	"no header, no line break",
	"Subject: bare line feeds\n\nbody\n",
	"Subject: mixed\r\n\r\none\r\ntwo\nthree\r\n",
	"Subject: no line break at the end\r\n\r\nbody",
	"Subject: a bare CR at the end\r\n\r\nbody\r",
	"Subject: CRs\r\n\r\na\rb\r\r\n",
	"Subject: blank lines at the end\r\n\r\nbody\r\n\r\n\r\n",
	"Subject: From lines\r\n\r\nFrom here on\r\n>From quoted\r\n>>From twice\r\n> From not\r\nFrom \r\n\r\nFrom MAILER-DAEMON Sun Nov 22 20:17:33 2026\r\n",
	"From someone Sun Nov 22 20:17:33 2026\r\nSubject: a line of an mbox in front\r\n\r\nx\r\n",
	"From x",
	"Subject: 8-bit \xff\xfe\r\n\r\n\x00\x80\xff\r\n",
	"Status: RO\r\nX-Status: F\r\nX-Keywords: theirs\r\nX-Mozilla-Status: 0009\r\nSubject: fields of flags\r\n\r\nx\r\n",
	"X-Mailproxy-Mbox: v=1; lines=crlf; end=open; fields=0; date=2026-11-22T20:17:33Z\r\nSubject: our own field\r\n\r\nx\r\n",
	"Subject: long line\r\n\r\n" + strings.Repeat("x", 200_000) + "\r\n",
}

func messages() []*Message {
	var list []*Message
	for i, body := range difficult {
		m := &Message{Folder: "INBOX", Date: day.Add(time.Duration(i) * time.Minute), UIDValidity: 7, UID: uint32(i + 1), Body: []byte(body)}
		switch i % 4 {
		case 1:
			m.Flags = []string{mailbox.FlagAnswered, mailbox.FlagDeleted, mailbox.FlagDraft, mailbox.FlagFlagged, mailbox.FlagSeen}
		case 2:
			m.Flags = []string{"$Forwarded", mailbox.FlagSeen, "todo"}
		case 3:
			m.Flags = []string{fmt.Sprintf("keyword%d", i)}
		}
		slices.Sort(m.Flags)
		list = append(list, m)
	}
	return list
}

// readAll reads a tree and returns its folders, and its messages by date.
func readAll(t *testing.T, root, into string) (folders []string, list []*Message, skipped []Skipped) {
	t.Helper()
	r := &Reader{Into: into}
	r.Folder = func(name string) error { folders = append(folders, name); return nil }
	r.Message = func(m *Message) error { list = append(list, m); return nil }
	if err := r.Read(root); err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(list, func(x, y *Message) int {
		return cmp.Or(x.Date.Compare(y.Date), strings.Compare(x.Folder, y.Folder))
	})
	slices.Sort(folders)
	return folders, list, r.Skipped()
}

// TestRoundTrip: what was written is read byte for byte.
func TestRoundTrip(t *testing.T) {
	for _, f := range []Format{Mbox, Maildir} {
		t.Run(string(f), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			w, err := NewWriter(dir, f)
			if err != nil {
				t.Fatal(err)
			}
			folders := []string{"INBOX", "Work", "work", "Work/2026", "Work/con", "Entwürfe", "a.mbox", "cur", "..", "empty"}
			for n, name := range folders {
				if err := w.Folder(name); err != nil {
					t.Fatal(err)
				}
				for i, m := range messages() {
					if name == "empty" || n > 2 && i > 0 {
						continue
					}
					m.Date = m.Date.Add(time.Duration(n) * 24 * time.Hour)
					if err := w.Add(m); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, list, skipped := readAll(t, dir, "")
			slices.Sort(folders)
			if !slices.Equal(got, folders) || len(skipped) > 0 || len(w.Skipped()) > 0 {
				t.Errorf("folders %q, want %q; skipped %v, %v", got, folders, skipped, w.Skipped())
			}
			if len(list) != 3*len(difficult)+6 {
				t.Fatalf("%d messages", len(list))
			}
			want := messages()
			for i, m := range list {
				if i >= 3*len(want) {
					i = (i - 3*len(want) + 3) * len(want)
				}
				wm := want[i%len(want)]
				if string(m.Body) != string(wm.Body) || !slices.Equal(m.Flags, wm.Flags) {
					t.Errorf("folder %s, message %d: %.100q with %q, want %.100q with %q", m.Folder, i, m.Body, m.Flags, wm.Body, wm.Flags)
				}
				if d := wm.Date.Add(time.Duration(i/len(want)) * 24 * time.Hour); !m.Date.Equal(d) {
					t.Errorf("message %d: date %v, want %v", i, m.Date, d)
				}
				if _, zone := m.Date.Zone(); f == Mbox && zone != 3600 {
					t.Errorf("message %d: zone %d", i, zone)
				}
			}
			if _, err := NewWriter(dir, f); err == nil || !strings.Contains(err.Error(), "is not empty") {
				t.Errorf("writing into it again: %v", err)
			}
			if got, _, _ := readAll(t, dir, "Old/2026"); !slices.Contains(got, "Old/2026/Work/2026") {
				t.Errorf("into a folder: %q", got)
			}
		})
	}
	if _, err := NewWriter(t.TempDir(), "zip"); err == nil {
		t.Error("a format that there is not was taken")
	}
}

// TestUnfinished: what an interrupted export leaves is not taken for a whole mbox.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(dir, Mbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Folder("INBOX"); err != nil {
		t.Fatal(err)
	}
	_, list, skipped := readAll(t, dir, "")
	if len(list) != 0 || !strings.Contains(fmt.Sprint(skipped), "INBOX.mbox.part: the export that wrote this file was not finished") {
		t.Errorf("%d messages, skipped %v", len(list), skipped)
	}
}

func TestMaildirKeywords(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(dir, Maildir)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Folder("INBOX"); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if err := w.Add(&Message{Date: day, UID: uint32(i + 1), Flags: []string{fmt.Sprintf("k%02d", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s := w.Skipped(); len(s) != 4 || s[0].String() != `folder "INBOX", UID 27: the keyword "k26" is left out: a Maildir has 26 at most` {
		t.Errorf("skipped %v", s)
	}
}

// TestForeignMaildir reads what other programs write.
func TestForeignMaildir(t *testing.T) {
	dir := t.TempDir()
	write := func(name, body string) {
		t.Helper()
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(file, []byte(body), day); err != nil {
			t.Fatal(err)
		}
	}
	write("cur/1.a.host:2,FS", "Subject: one\n\nline\n")
	write("cur/2.b.host;2,PRa", "Subject: two\r\n\r\nline\r\n")
	write("cur/3.c.host:2,x", "Subject: three\n\n")
	write("new/4.d.host", "Subject: four\n\nno end")
	write("cur/.hidden", "x")
	write("tmp/5.e.host", "half")
	write("dovecot-keywords", "0 later\nnonsense\n1 bad]word\n")
	write("dovecot-uidlist", "3 V1 N1\n")
	write(".Work.2026/cur/6.f.host:2,", "Subject: six\n\n")
	if err := os.Symlink("1.a.host:2,FS", filepath.Join(dir, "cur", "7.g.host:2,")); err != nil {
		t.Fatal(err)
	}
	folders, list, skipped := readAll(t, dir, "")
	if !slices.Equal(folders, []string{"INBOX", "Work/2026"}) {
		t.Errorf("folders %q", folders)
	}
	var got []string
	for _, m := range list {
		got = append(got, fmt.Sprintf("%s %q %v", m.Folder, m.Body, m.Flags))
	}
	want := []string{
		`INBOX "Subject: one\r\n\r\nline\r\n" [\Flagged \Seen]`,
		`INBOX "Subject: two\r\n\r\nline\r\n" [$Forwarded \Answered later]`,
		`INBOX "Subject: three\r\n\r\n" []`,
		`INBOX "Subject: four\r\n\r\nno end" []`,
		`Work/2026 "Subject: six\r\n\r\n" []`,
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("messages:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	text := fmt.Sprint(skipped)
	for _, want := range []string{"dovecot-keywords: line 2 is not a number", `the keyword in line 3, "bad]word", cannot be kept`, "3.c.host:2,x: the flag 'x' is left out", "7.g.host:2,: this is no file"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
}

func TestReadErrors(t *testing.T) {
	r := &Reader{Folder: func(string) error { return nil }, Message: func(*Message) error { return nil }}
	if err := r.Read(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is not there: %v", err)
	}
	dir := t.TempDir()
	if err := r.Read(dir); err != nil || !strings.Contains(fmt.Sprint(r.Skipped()), "neither an mbox nor a Maildir") {
		t.Errorf("an empty directory: %v, %v", err, r.Skipped())
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a*b.mbox"), []byte("From x Sun Nov 22 20:17:33 2026\n\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, skipped := readAll(t, dir, "")
	text := fmt.Sprint(skipped)
	for _, want := range []string{"notes.txt: line 1 is not the beginning of an mbox", "a*b.mbox: no folder can have the name"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	stop := errors.New("stop")
	r = &Reader{Folder: func(string) error { return stop }}
	if err := r.Read(filepath.Join(dir, "a*b.mbox")); err != nil { // it has no folder
		t.Error(err)
	}
	r.Into = "x"
	if err := r.Read(filepath.Join(dir, "a*b.mbox")); !errors.Is(err, stop) {
		t.Errorf("Folder's error: %v", err)
	}
}

func TestNames(t *testing.T) {
	n := newNames()
	for _, tt := range []struct{ folder, path string }{
		{"INBOX", "INBOX"},
		{"Work/2026 plan.x", "Work/2026 plan.x"},
		{"work", "%77ork"},
		{"WORK", "%57ORK"},
		{"wORK", "%77%4FRK"},
		{"WORK/a", "%57ORK/a"},
		{"CON", "%43ON"},
		{"com1.txt/nul", "%63om1.txt/%6Eul"},
		{"Entwürfe", "Entwürfe"},
		{"Entwu\u0308rfe", "Entwu%CC%88rfe"},
		{`<>:"\|?`, "%3C%3E%3A%22%5C%7C%3F"},
		{"..", "%2E%2E"},
		{"end. ", "end.%20"},
		{".hidden", "%2Ehidden"},
		{"x.mbox", "x%2Embox"},
		{"100%", "100%25"},
		{"new", "%6Eew"},
		{"\U0001F4E7", "%F0%9F%93%A7"},
	} {
		if got := n.path(tt.folder); got != tt.path {
			t.Errorf("path of %q is %q, want %q", tt.folder, got, tt.path)
		}
		if again := n.path(tt.folder); again != tt.path {
			t.Errorf("path of %q is %q the second time", tt.folder, again)
		}
		if back := folderOf(tt.path, false); back != tt.folder {
			t.Errorf("folder of %q is %q, want %q", tt.path, back, tt.folder)
		}
	}
	a, b := n.path(strings.Repeat("ä", 250)+"1"), n.path(strings.Repeat("ä", 250)+"2")
	if a == b || len(a) > maxLevel || len(b) > maxLevel {
		t.Errorf("long names: %q, %q", a, b)
	}
	if got := folderOf("Local Folders.sbd/a%zz%4", false); got != "Local Folders/a%zz%4" {
		t.Errorf("a name of another program: %q", got)
	}
}
