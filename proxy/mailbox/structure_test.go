package mailbox

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"mailproxy/internal/codec"
)

const nested = "From: =?iso-8859-1?Q?Andr=E9?= <andre@x.test>, \"B, C\" <b@y.test>\r\n" +
	"To: friends: c@z.test, d@z.test;\r\n" +
	"Subject: =?utf-8?B?w7xiZXI=?= the\r\n fence\r\n" +
	"Date: Fri, 20 Nov 2026 10:00:00 +0200 (EET)\r\n" +
	"Message-ID: <one@x.test>\r\n" +
	"In-Reply-To: <zero@x.test> <minus@x.test>\r\n" +
	"Content-Type: multipart/mixed; boundary=\"out er\"\r\n" +
	"\r\n" +
	"preamble\r\n" +
	"--out er\r\n" +
	"Content-Type: multipart/alternative; boundary=in\r\n" +
	"\r\n" +
	"--in\r\n" +
	"\r\n" +
	"plain text\r\n" +
	"--in  \r\n" +
	"Content-Type: TEXT/HTML; charset=\"utf-8\"\r\n" +
	"Content-Transfer-Encoding: Quoted-Printable\r\n" +
	"\r\n" +
	"<b>html</b>\r\n\r\n" +
	"--in--\r\n" +
	"--out er\r\n" +
	"Content-Type: message/rfc822\r\n" +
	"Content-Disposition: attachment; filename*=utf-8''%C3%BC.eml\r\n" +
	"\r\n" +
	"Subject: inner\r\n" +
	"\r\n" +
	"inner body\r\n" +
	"--out er--\r\n" +
	"epilogue\r\n"

func TestStructure(t *testing.T) {
	s := parseStructure([]byte(nested))
	var got []string
	for _, p := range s.Parts {
		got = append(got, fmt.Sprintf("%d %s/%s %q", p.Parent, p.Type, p.Subtype, nested[p.Body:p.End]))
	}
	want := []string{
		fmt.Sprintf("-1 multipart/mixed %q", nested[strings.Index(nested, "preamble"):]),
		fmt.Sprintf("0 multipart/alternative %q", nested[strings.Index(nested, "--in\r\n"):strings.Index(nested, "\r\n--out er\r\nContent-Type: message")]),
		`1 text/plain "plain text"`,
		`1 text/html "<b>html</b>\r\n"`,
		`0 message/rfc822 "Subject: inner\r\n\r\ninner body"`,
		`4 text/plain "inner body"`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parts:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if p := s.Parts[3]; p.Params["charset"] != "utf-8" || p.Encoding != "quoted-printable" || p.Lines != 1 {
		t.Errorf("html part %+v", p)
	}
	if p := s.Parts[4]; p.Disposition != "attachment" || p.DispParams["filename"] != "ü.eml" || p.Envelope.Subject != "inner" {
		t.Errorf("message part %+v", p)
	}
	for _, tc := range []struct {
		path []int
		part int // -1: there is none
	}{
		{nil, 0}, {[]int{1}, 1}, {[]int{1, 1}, 2}, {[]int{1, 2}, 3}, {[]int{2}, 4}, {[]int{2, 1}, 5},
		{[]int{3}, -1}, {[]int{0}, -1}, {[]int{1, 3}, -1}, {[]int{1, 1, 1}, -1}, {[]int{2, 2}, -1}, {[]int{2, 1, 1}, -1},
	} {
		i, ok := s.Find(tc.path)
		if ok != (tc.part >= 0) || ok && i != tc.part {
			t.Errorf("part %v is %d %v, want %d", tc.path, i, ok, tc.part)
		}
	}
	simple := parseStructure([]byte("Subject: x\r\n\r\nbody"))
	if i, ok := simple.Find([]int{1}); i != 0 || !ok {
		t.Error("a message that is no multipart has no part 1")
	}
	if _, ok := simple.Find([]int{1, 1}); ok {
		t.Error("a message that is no multipart has a part 1.1")
	}
}

func TestEnvelope(t *testing.T) {
	s := parseStructure([]byte(nested))
	e := parseEnvelope(Fields(s.Header))
	if e.Subject != "über the fence" || e.MessageID != "one@x.test" || len(e.InReplyTo) != 2 || e.InReplyTo[1] != "minus@x.test" {
		t.Errorf("envelope %+v", e)
	}
	if want := []Address{{"André", "andre", "x.test"}, {"B, C", "b", "y.test"}}; !reflect.DeepEqual(e.From, want) {
		t.Errorf("from %v", e.From)
	}
	if len(e.To) != 4 || e.To[0].Mailbox != "friends" || e.To[2].Mailbox != "d" {
		t.Errorf("to %v", e.To)
	}
	if got := e.Time().Format("2006-01-02 15:04 -0700"); got != "2026-11-20 10:00 +0200" {
		t.Errorf("date %s", got)
	}
	if !strings.Contains(e.Text["From"], "André <andre@x.test>") {
		t.Errorf("text %q", e.Text)
	}
}

// TestMalformedMail is what must be storable and readable whatever it is.
func TestMalformedMail(t *testing.T) {
	deep := ""
	for i := range 3 * maxDepth {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	tests := map[string]struct{ raw, subtype string }{
		"empty":               {"", "plain"},
		"no header":           {"just text\r\n\r\nmore", "plain"},
		"no body":             {"Subject: x", "plain"},
		"garbage in header":   {"Subject: x\r\n\x00\xff garbage\r\nTo: a@b\r\n\r\nbody", "plain"},
		"mbox":                {"From a@b Mon Jan 1 00:00:00 2026\r\nSubject: x\r\n\r\nbody", "plain"},
		"no boundary":         {"Content-Type: multipart/mixed\r\n\r\n--a\r\n\r\nx", "mixed"},
		"no parts":            {"Content-Type: multipart/mixed; boundary=a\r\n\r\nnothing", "mixed"},
		"unclosed":            {"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx", "mixed"},
		"bad type":            {"Content-Type: garbage;;;\r\n\r\nx", "plain"},
		"bad parameters":      {"Content-Type: multipart/mixed; boundary=\"a b\"; =x\r\n\r\n--a b\r\n\r\nx", "mixed"},
		"invalid utf-8":       {"Subject: \xff\xfe\r\nFrom: \xff <a@b>\r\nContent-Type: text/plain; name=\"\xff\"\r\n\r\nx", "plain"},
		"deep":                {deep, "mixed"},
		"many parts":          {"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + strings.Repeat("--a\r\n\r\n\r\n", 5*maxParts), "mixed"},
		"many addresses":      {"To: " + strings.Repeat("a@b.test, ", 100000) + "c@d\r\n\r\nx", "plain"},
		"long header":         {"X: " + strings.Repeat("y", 2*maxHeader) + "\r\nSubject: after\r\n\r\nx", "plain"},
		"long subject":        {"Subject: " + strings.Repeat("y", 2*maxText) + "\r\n\r\nx", "plain"},
		"many long filenames": {"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + strings.Repeat("--a\r\nContent-Description: "+strings.Repeat("n", maxText)+"\r\n\r\n\r\n", maxParts-2), "plain"},
	}
	w := newWorld(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			id := w.deliver(Inbox, tc.raw)
			f := w.folder(Inbox)
			m := must(f.Message(id.UID))(t)
			err := f.Content(m, func(c *Content) error {
				s, err := c.Structure()
				if err != nil {
					return err
				}
				if s.Parts[0].Subtype != tc.subtype {
					t.Errorf("subtype %s, want %s", s.Parts[0].Subtype, tc.subtype)
				}
				checkStructure(t, s, int64(len(tc.raw)))
				if _, err := c.Envelope(); err != nil {
					return err
				}
				h, err := c.Header()
				if !bytes.HasPrefix([]byte(tc.raw), h) {
					t.Error("the header is not the beginning of the message")
				}
				if name == "long header" && !bytes.HasSuffix(h, []byte("after\r\n\r\n")) {
					t.Error("a long header was cut")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if got := must(f.Bytes(m))(t); string(got) != tc.raw {
				t.Error("the bytes changed")
			}
		})
	}
}

// checkStructure checks what the IMAP front end relies on.
func checkStructure(t *testing.T, s *Structure, size int64) {
	t.Helper()
	if s.Size != size || len(s.Parts) == 0 || s.Parts[0].Parent != -1 {
		t.Fatalf("size %d, %d parts", s.Size, len(s.Parts))
	}
	for i, p := range s.Parts {
		if p.Start < 0 || p.Body < p.Start || p.End < p.Body || p.End > size {
			t.Errorf("part %d lies at %d, %d, %d of %d", i, p.Start, p.Body, p.End, size)
		}
		if i > 0 && (p.Parent < 0 || p.Parent >= i) {
			t.Errorf("part %d lies in %d", i, p.Parent)
		}
		if p.Type == "" || p.Subtype == "" {
			t.Errorf("part %d has no type", i)
		}
		if n := len(s.Children(i)); p.IsMultipart() && n == 0 || p.IsMessage() && n > 1 || !p.IsMultipart() && !p.IsMessage() && n > 0 {
			t.Errorf("part %d, %s/%s, has %d children", i, p.Type, p.Subtype, n)
		}
	}
}

func TestFieldsKeepTheirBytes(t *testing.T) {
	raw := "A: 1\r\nb : two\r\n\tlines\r\ngarbage\r\n more garbage\r\nC:\nD: 4"
	var got []string
	for _, f := range Fields([]byte(raw)) {
		got = append(got, fmt.Sprintf("%s=%s %q", f.Name, f.Value, f.Raw))
	}
	want := []string{`A=1 "A: 1\r\n"`, `b=two` + "\t" + `lines "b : two\r\n\tlines\r\n"`, `C= "C:\n"`, `D=4 "D: 4"`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("fields %q\nwant   %q", got, want)
	}
}

func TestWireSize(t *testing.T) {
	for raw, want := range map[string]int64{"": 0, "a": 3, "a\n": 3, "a\r\n": 3, "\n\n": 4, "a\r": 4, "a\nb\r\nc": 9} {
		p := newParser()
		p.Write([]byte(raw))
		if _, got := p.finish(); got != want || oracleWireSize([]byte(raw)) != want {
			t.Errorf("%q measures %d, want %d", raw, got, want)
		}
	}
}

// FuzzParse is everything that reads a mail at delivery. Whatever comes, the
// result can be kept and is consistent.
func FuzzParse(f *testing.F) {
	f.Add([]byte(nested))
	f.Add([]byte(""))
	f.Add([]byte("Content-TYpe:\xffBoundArY=")) // lower-casing made it longer
	f.Add([]byte("From x\nContent-Type: message/rfc822\n\nContent-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: y\n\n--a--"))
	f.Add([]byte("To: \xff, =?x?q?y?= <@>, (c) a@b\r\nMessage-ID: <<>>\r\nDate: Mon, 99 Foo 0000\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := parseStructure(raw)
		checkStructure(t, s, int64(len(raw)))
		e := parseEnvelope(Fields(raw[:s.Parts[0].Body]))
		for _, v := range []any{s, &e} {
			b, err := codec.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			back := reflect.New(reflect.TypeOf(v).Elem()).Interface()
			if err := codec.Unmarshal(b, back); err != nil {
				t.Fatal(err)
			}
		}
		checkStructure(t, s.opaque(), int64(len(raw)))
		compareParse(t, raw, 1, 7)
	})
}

// Parameters in any charset (RFC 2231 section 4).
func TestParams(t *testing.T) {
	for v, want := range map[string]string{
		`attachment; filename="plain.txt"`:                             "plain.txt",
		`attachment; filename*=utf-8''na%C3%AFve.txt`:                  "naïve.txt",
		`attachment; filename*=ISO-8859-1'fr'na%EFve%3A@=.txt; size=3`: "naïve:@=.txt",
		`attachment; filename*=koi8-r''%F0%D2.txt`:                     "Пр.txt",
		`attachment; filename*=x-none''%F0.txt; filename="plain.txt"`:  "plain.txt",
		`attachment; filename*0*=utf-8''na%C3; filename*1*=%AFve.txt`:  "naïve.txt",
		`attachment; filename="=?iso-8859-1?q?na=EFve.txt?="`:          "naïve.txt",
		"attachment; filename=\"na\xefve.txt\"":                        "naïve.txt",
		`attachment; filename*=koi8-r''`:                               "",
	} {
		if _, params := parseParams(v); params["filename"] != want {
			t.Errorf("%s: %q, want %q", v, params["filename"], want)
		}
	}
}

// parseStructure reads the tree of a message in memory.
func parseStructure(raw []byte) *Structure {
	p := newParser()
	_, _ = p.Write(raw) // never fails
	s, _ := p.finish()
	return s
}
