package imap

import (
	"bytes"
	"html"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // decodes bodies in old charsets
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"

	"mailproxy/proxy/mailbox"
)

// fold makes texts comparable without regard to case or to how an accent is
// composed.
func fold(s string) string { return strings.ToLower(norm.NFC.String(s)) }

// foldBytes appends what fold makes of text to dst.
func foldBytes(dst, text []byte) []byte {
	from := len(dst)
	dst = append(dst, text...)
	all := byte(0)
	for i, c := range dst[from:] {
		all |= c
		if 'A' <= c && c <= 'Z' {
			dst[from+i] = c | 0x20
		}
	}
	if all >= utf8.RuneSelf {
		return append(dst[:from], fold(string(text))...)
	}
	return dst
}

// Bounds on what a search has of a message in memory.
const (
	// maxTexts is how many bytes of text, as they lie in the message, are kept folded
	// while the message is looked at. Of a message with more, pieces of pieceSize are
	// read anew for each string that is searched for.
	maxTexts  = 256 << 10
	pieceSize = 64 << 10
)

// texts are the folded texts of one message after the other, each read when it is
// first asked for.
type texts struct {
	c      *mailbox.Content
	fields []mailbox.Field
	header bool     // fields were read
	body   [][]byte // the texts, in room
	bodies bool     // body was read
	room   []byte
}

// of makes t those of another message. What was found of the one before is gone.
func (t *texts) of(c *mailbox.Content) { *t = texts{c: c, body: t.body[:0], room: t.room[:0]} }

// inField reports whether a field of that name, or any for "", contains want. An
// empty want asks only whether there is such a field.
func (t *texts) inField(name, want string) (bool, error) {
	switch name {
	case "From", "To", "Cc", "Bcc", "Subject":
		// The usual searches are answered from the envelope alone.
		e, err := t.c.Envelope()
		if err != nil {
			return false, err
		}
		if e.Clipped {
			break
		}
		text, ok := e.Text[name]
		if name == "Subject" {
			if text = e.Subject; text == "" && want == "" {
				break // there may be an empty one
			}
			ok = text != ""
		}
		return ok && strings.Contains(fold(text), want), nil
	}
	if !t.header {
		h, err := t.c.Header()
		if err != nil {
			return false, err
		}
		t.fields, t.header = mailbox.Fields(h), true
	}
	for _, f := range t.fields {
		if name == "" && strings.Contains(fold(f.Name+": "+f.Text()), want) ||
			strings.EqualFold(name, f.Name) && strings.Contains(fold(f.Text()), want) {
			return true, nil
		}
	}
	return false, nil
}

// inBody reports whether a text part, or the header of a message inside,
// contains want.
func (t *texts) inBody(want string) (bool, error) {
	if !t.bodies {
		s, err := t.c.Structure()
		if err != nil {
			return false, err
		}
		size := int64(0)
		for i := range s.Parts {
			size += searched(s, i)
		}
		if size > maxTexts {
			return t.inPieces(s, []byte(want), pieceSize)
		}
		for i := range s.Parts {
			if _, err := t.each(s, i, maxTexts, t.keep); err != nil {
				return false, err
			}
		}
		t.bodies = true
	}
	return slices.ContainsFunc(t.body, func(text []byte) bool { return bytes.Contains(text, []byte(want)) }), nil
}

func (t *texts) keep(text []byte, more bool) (enough bool) {
	if n := len(t.body); more {
		t.body[n-1] = append(slices.Clip(t.body[n-1]), text...)
	} else {
		t.body = append(t.body, text)
	}
	return false
}

// inPieces is inBody for a message of which not all is kept.
func (t *texts) inPieces(s *mailbox.Structure, want []byte, size int) (found bool, err error) {
	var window []byte
	look := func(text []byte, more bool) bool {
		if more {
			// The end of the piece before: what is searched for may begin there.
			text = append(window[max(0, len(window)-len(want)+1):], text...)
		}
		window = append(window[:0], text...)
		t.room = t.room[:0]
		return bytes.Contains(window, want)
	}
	for i := range s.Parts {
		if found, err = t.each(s, i, size, look); found || err != nil {
			break
		}
	}
	return found, err
}

// inner reports whether part i is that of a message inside, whose header is searched.
func inner(s *mailbox.Structure, i int) bool {
	parent := s.Parts[i].Parent
	return parent >= 0 && s.Parts[parent].IsMessage()
}

// searched is how many bytes of part i are searched.
func searched(s *mailbox.Structure, i int) (n int64) {
	p := &s.Parts[i]
	if inner(s, i) {
		n = p.Body - p.Start
	}
	if p.Type == "text" {
		n += p.End - p.Body
	}
	return n
}

// each calls fn with the folded texts of part i until it says that it is enough. A
// text comes in pieces of about size bytes; more says that this one goes on where the
// one before ended. They lie in t.room.
func (t *texts) each(s *mailbox.Structure, i, size int, fn func(text []byte, more bool) (enough bool)) (bool, error) {
	p := &s.Parts[i]
	say := func(text []byte, more bool) bool {
		from := len(t.room)
		t.room = foldBytes(t.room, text)
		return fn(t.room[from:], more)
	}
	if inner(s, i) {
		h, err := t.c.Bytes(p.Start, p.Body)
		if err != nil {
			return false, err
		}
		for _, f := range mailbox.Fields(h) {
			if say([]byte(f.Name+": "+f.Text()), false) {
				return true, nil
			}
		}
	}
	if p.Type != "text" {
		return false, nil
	}
	if transferIsPlain(p) && p.End-p.Body <= int64(size) {
		raw, err := t.c.Bytes(p.Body, p.End)
		if err != nil {
			return false, err
		}
		if isUTF8(p, raw) {
			return say(readable(p, raw), false), nil
		}
	}
	in := &original{r: t.c.Reader(p.Body, p.End)}
	some, enough, err := pieces(decoded(p, in), p, size, say)
	if err != nil && in.err == nil && !some {
		// Not a byte of it can be decoded: it is searched as it is.
		in.r = t.c.Reader(p.Body, p.End)
		_, enough, err = pieces(in, p, size, say)
	}
	if err != nil && in.err == nil {
		err = nil // it was searched as far as it can be
	}
	return enough, err
}

// pieces reads r to its end, and hands on what can be read of it.
func pieces(r io.Reader, p *mailbox.Part, size int, say func(text []byte, more bool) bool) (some, enough bool, err error) {
	buf := make([]byte, 0, min(int64(size), p.End-p.Body+bytes.MinRead))
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return true, say(readable(p, buf), some), nil
		}
		if err != nil {
			if len(buf) > 0 {
				enough = say(readable(p, buf), some)
				some = true
			}
			return some, enough, err
		}
		cut := wholeWords(buf)
		if say(readable(p, buf[:cut]), some) {
			return true, true, nil
		}
		some = true
		buf = append(buf[:0], buf[cut:]...)
	}
}

// wholeWords returns how many bytes of b are whole words or, where there is no end of
// one, whole characters.
func wholeWords(b []byte) int {
	if i := bytes.LastIndexAny(b, " \n"); i >= 0 {
		return i + 1
	}
	for n := 1; n < utf8.UTFMax && n < len(b); n++ {
		if utf8.RuneStart(b[len(b)-n]) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return len(b) - n
			}
			break
		}
	}
	return len(b)
}

// A original remembers the error of what it reads, which is not one of decoding it.
type original struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *original) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// transferIsPlain reports whether a part's bytes are its text, in some charset.
func transferIsPlain(p *mailbox.Part) bool {
	switch p.Encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// isUTF8 reports whether a part's text is UTF-8, or means the same in it. There are
// charsets in which ASCII does not stand for itself.
func isUTF8(p *mailbox.Part, text []byte) bool {
	charset := strings.ToLower(p.Params["charset"])
	switch charset {
	case "", "us-ascii", "utf-8":
		return true
	}
	if !strings.HasPrefix(charset, "iso-8859-") && !strings.HasPrefix(charset, "windows-125") {
		return false
	}
	return !slices.ContainsFunc(text, func(c byte) bool { return c >= utf8.RuneSelf })
}

// decoded removes a text part's transfer encoding and charset, those that are known.
func decoded(p *mailbox.Part, r io.Reader) io.Reader {
	var h message.Header
	h.SetContentType("text/plain", map[string]string{"charset": p.Params["charset"]})
	h.Set("Content-Transfer-Encoding", p.Encoding)
	e, _ := message.New(h, r) // it has a body in any case
	return e.Body
}

// readable makes UTF-8 of what is none: 8-bit characters that are not declared are
// taken for those of Windows. HTML is searched as it is written and as it is read.
func readable(p *mailbox.Part, text []byte) []byte {
	if !utf8.Valid(text) {
		if western, err := charmap.Windows1252.NewDecoder().Bytes(text); err == nil {
			text = western
		}
		text = bytes.ToValidUTF8(text, []byte("\ufffd"))
	}
	if p.Subtype == "html" && bytes.IndexByte(text, '&') >= 0 {
		text = slices.Concat(text, []byte("\n"), []byte(html.UnescapeString(string(text))))
	}
	return text
}
