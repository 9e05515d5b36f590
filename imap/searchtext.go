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

// texts are the folded texts of one message, each read when it is first asked
// for.
type texts struct {
	c      *mailbox.Content
	fields []mailbox.Field
	header bool // fields were read
	body   []string
	bodies bool // body was read
}

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
		for i := range s.Parts {
			p := &s.Parts[i]
			switch {
			case p.Parent >= 0 && s.Parts[p.Parent].IsMessage():
				h, err := t.c.Bytes(p.Start, p.Body)
				if err != nil {
					return false, err
				}
				for _, f := range mailbox.Fields(h) {
					t.body = append(t.body, fold(f.Name+": "+f.Text()))
				}
			}
			if p.Type == "text" {
				raw, err := t.c.Bytes(p.Body, p.End)
				if err != nil {
					return false, err
				}
				t.body = append(t.body, fold(decodePart(p, raw)))
			}
		}
		t.bodies = true
	}
	return slices.ContainsFunc(t.body, func(text string) bool { return strings.Contains(text, want) }), nil
}

// decodeTransfer removes a content transfer encoding (RFC 2045 section 6).
func decodeTransfer(encoding string, raw []byte) ([]byte, error) {
	r, err := transferReader(encoding, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// decodePart returns a text part in UTF-8. What cannot be decoded is searched as
// far as it can, or as it is; 8-bit characters that are not declared, and no
// UTF-8, are taken for those of Windows. HTML is searched as it is written and as
// it is read.
func decodePart(p *mailbox.Part, raw []byte) string {
	data, err := decodeTransfer(p.Encoding, raw)
	if err != nil && len(data) == 0 {
		data = raw
	}
	var h message.Header
	h.SetContentType("text/plain", map[string]string{"charset": p.Params["charset"]})
	if e, err := message.New(h, bytes.NewReader(data)); err == nil {
		if text, err := io.ReadAll(e.Body); err == nil {
			data = text
		}
	}
	if !utf8.Valid(data) {
		if western, err := charmap.Windows1252.NewDecoder().Bytes(data); err == nil {
			data = western
		}
	}
	text := strings.ToValidUTF8(string(data), "\ufffd")
	if p.Subtype == "html" && strings.Contains(text, "&") {
		text += "\n" + html.UnescapeString(text)
	}
	return text
}
