package archive

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/mailbox"
)

func TestForeignMbox(t *testing.T) {
	in := strings.Join([]string{
		"garbage before",
		"From ann@x.test Sun Nov 22 20:17:33 2026",
		"Status: RO",
		"X-Status: AF",
		"X-Keywords: todo bad]word later",
		"Subject: one",
		" folded",
		"",
		"body",
		">From quoted",
		"From here on it is text",
		"",
		"From the blank line on too",
		"From x Sun Nov 22 20:17:33 2026",
		"",
		"From - Sun Nov  1 08:00:00 2026 +0200",
		"X-Mozilla-Status: 0003",
		"X-Mozilla-Status2: 00000000",
		"Subject: two",
		"",
		"no blank line before the end",
		"",
		"From x Sun Nov 22 20:17 2026",
		"X-Mozilla-Status: 0009",
		"Subject: deleted",
		"",
		"",
		"From y Sun, 22 Nov 2026",
		"",
		"From z Sun Nov 22 20:17:33 CET 2026",
		"Subject: last\r",
		"\r",
		"has CRLF\r",
		"",
	}, "\n")
	var list []*Message
	skipped, err := ReadMbox(strings.NewReader(in), "box", func(m *Message) error { list = append(list, m); return nil })
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		Body, Date string
		Flags      []string
	}
	var got []seen
	for _, m := range list {
		got = append(got, seen{string(m.Body), m.Date.Format(time.RFC3339), m.Flags})
	}
	want := []seen{
		{"Subject: one\r\n folded\r\n\r\nbody\r\nFrom quoted\r\nFrom here on it is text\r\n\r\nFrom the blank line on too\r\nFrom x Sun Nov 22 20:17:33 2026\r\n", "2026-11-22T20:17:33Z",
			[]string{mailbox.FlagAnswered, mailbox.FlagFlagged, mailbox.FlagSeen, "later", "todo"}},
		{"Subject: two\r\n\r\nno blank line before the end\r\n", "2026-11-01T08:00:00+02:00", []string{mailbox.FlagAnswered, mailbox.FlagSeen}},
		{"Subject: last\r\n\r\nhas CRLF\r\n", "2026-11-22T20:17:33Z", nil},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	text := ""
	for _, s := range skipped {
		text += s.String() + "\n"
	}
	for _, want := range []string{
		"box, line 1: this is not the beginning of a message",
		`box, line 2: the message that begins here has keywords that cannot be kept: ["bad]word"]`,
		"box, line 13: this line begins with \"From \" and has no date",
		"box, line 14: this line begins like a message, but none is before it that is blank",
		"box, line 23: the message that begins here was deleted in Thunderbird",
		"box, line 28: this line begins with \"From \" and has no date",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// TestChangedByOthers: a program that changes flags in our mbox moves the fields.
func TestChangedByOthers(t *testing.T) {
	in := "From MAILER-DAEMON Sun Nov 22 20:17:33 2026\nX-Mailproxy-Mbox: v=1; lines=crlf; end=closed; fields=1; date=2026-11-22T20:17:33Z\nSubject: x\nStatus: RO\n\nbody\n\n"
	var list []*Message
	if _, err := ReadMbox(strings.NewReader(in), "box", func(m *Message) error { list = append(list, m); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || string(list[0].Body) != "Subject: x\r\n\r\nbody\r\n" || !slices.Equal(list[0].Flags, []string{mailbox.FlagSeen}) {
		t.Errorf("%+v", list)
	}
}

// TestMboxTooLarge: a message that is too large is named, and the next one is read.
func TestMboxTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("takes memory")
	}
	line := bytes.Repeat([]byte("x"), 1<<20)
	line[len(line)-1] = '\n'
	var in bytes.Buffer
	in.WriteString("From x Sun Nov 22 20:17:33 2026\nSubject: large\n\n")
	for range MaxMessage>>20 + 1 {
		in.Write(line)
	}
	in.WriteString("\nFrom x Sun Nov 22 20:17:33 2026\nSubject: small\n\n")
	n := 0
	skipped, err := ReadMbox(&in, "box", func(m *Message) error { n += len(m.Body); return nil })
	if err != nil || n != len("Subject: small\r\n") || len(skipped) != 1 || !strings.Contains(skipped[0].String(), "box, line 1: the message that begins here has more than 100 MiB") {
		t.Errorf("%d bytes, %v, %v", n, skipped, err)
	}
}

// FuzzMbox: any file is read without a panic, and any message comes back.
func FuzzMbox(f *testing.F) {
	for _, m := range difficult {
		f.Add([]byte(m))
	}
	f.Add([]byte("From x Sun Nov 22 20:17:33 2026\nX-Mailproxy-Mbox: v=1; lines=raw; end=open; fields=1; date=2026-11-22T20:17:33Z\nStatus: R\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ReadMbox(bytes.NewReader(b), "x", func(*Message) error { return nil }); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		w, err := NewWriter(dir, Mbox)
		if err != nil {
			t.Fatal(err)
		}
		err = w.Folder("x")
		for _, body := range [][]byte{b, []byte("x"), b} {
			err = errors.Join(err, w.Add(&Message{Date: day, Body: body}))
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		_, list, skipped := readAll(t, dir, "")
		if len(list) != 3 || !bytes.Equal(list[0].Body, b) || !bytes.Equal(list[2].Body, b) || len(skipped) > 0 {
			t.Fatalf("%d messages of %q, skipped %v", len(list), b, skipped)
		}
	})
}
