package mailbox

import (
	"fmt"
	"io"
	"mime"
	"net/url"
	"regexp"
	"strings"

	"github.com/emersion/go-message"
)

// Bounds on the MIME tree. A part beyond them is kept as an opaque leaf.
const (
	maxDepth = 24
	maxParts = 512
)

// A Structure is the MIME tree of a message (RFC 2045, RFC 2046) with the place
// of each part in it, so that a part is read without reading the rest. It is
// parsed once, at delivery, and never fails: a message that is no MIME, or
// malformed, is one part of text.
type Structure struct {
	Format uint8 `cbor:"1,keyasint"`
	Size   int64 `cbor:"2,keyasint"` // bytes of the message
	// Parts in the order of their headers; Parts[0] is the message.
	Parts []Part `cbor:"3,keyasint"`
	// Header is the message's header with its blank line, if it has at most
	// maxHeader bytes.
	Header []byte `cbor:"4,keyasint,omitempty"`
}

// A Part is one node of the tree. Offsets are bytes from the message's first.
type Part struct {
	Parent      int               `cbor:"1,keyasint"` // index of the part it lies in; -1 for the message
	Type        string            `cbor:"2,keyasint"` // lower case, "text"
	Subtype     string            `cbor:"3,keyasint"` // lower case, "plain"
	Params      map[string]string `cbor:"4,keyasint,omitempty"`
	ID          string            `cbor:"5,keyasint,omitempty"`
	Description string            `cbor:"6,keyasint,omitempty"`
	Encoding    string            `cbor:"7,keyasint,omitempty"` // lower case; empty is 7bit
	Disposition string            `cbor:"8,keyasint,omitempty"`
	DispParams  map[string]string `cbor:"9,keyasint,omitempty"`
	Language    []string          `cbor:"10,keyasint,omitempty"`
	Location    string            `cbor:"11,keyasint,omitempty"`
	Start       int64             `cbor:"12,keyasint"` // of the header
	Body        int64             `cbor:"13,keyasint"` // of the body, after the blank line
	End         int64             `cbor:"14,keyasint"` // of the body
	Lines       int64             `cbor:"15,keyasint,omitempty"`
	// Envelope is that of the message inside a message/rfc822 part.
	Envelope *Envelope `cbor:"16,keyasint,omitempty"`
}

// IsMultipart reports whether the part's body consists of parts.
func (p *Part) IsMultipart() bool { return p.Type == "multipart" }

// IsMessage reports whether the part's body is a message, whose own part is then
// the part's only child.
func (p *Part) IsMessage() bool {
	return p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global")
}

// Children returns the indices of the parts directly below part i.
func (s *Structure) Children(i int) []int {
	var c []int
	for j := i + 1; j < len(s.Parts); j++ {
		if s.Parts[j].Parent == i {
			c = append(c, j)
		}
	}
	return c
}

// Find returns the index of the part that an IMAP section number names (RFC 9051
// section 6.4.5.1); the empty path names the message.
func (s *Structure) Find(path []int) (i int, ok bool) {
	if len(s.Parts) == 0 {
		return 0, false
	}
	self := false // the last number was the 1 of a part that is not multipart
	for depth, n := range path {
		if depth > 0 && s.Parts[i].IsMessage() {
			c := s.Children(i)
			if len(c) == 0 {
				return 0, false
			}
			i, self = c[0], false
		}
		if s.Parts[i].IsMultipart() {
			c := s.Children(i)
			if n < 1 || n > len(c) {
				return 0, false
			}
			i = c[n-1]
			// A leaf has been named in full; only a message or a multipart goes on.
			self = !s.Parts[i].IsMultipart()
			continue
		}
		if n != 1 || self {
			return 0, false
		}
		self = true
	}
	return i, true
}

// parsePart reads what the MIME fields of a header say of its part.
func parsePart(fields []Field, defaultType string) Part {
	var p Part
	get := func(name string) string {
		for _, f := range fields {
			if strings.EqualFold(f.Name, name) {
				return f.Value
			}
		}
		return ""
	}
	mediaType, params := mediaType(get("Content-Type"))
	if mediaType == "" {
		mediaType, params = defaultType, nil
	}
	p.Type, p.Subtype, _ = strings.Cut(mediaType, "/")
	p.Params = params
	p.ID = clip(get("Content-ID"), maxText)
	p.Description = clip(get("Content-Description"), maxText)
	p.Encoding = strings.ToLower(clip(get("Content-Transfer-Encoding"), 64))
	p.Location = clip(get("Content-Location"), maxText)
	if v := get("Content-Disposition"); v != "" {
		p.Disposition, p.DispParams = parseParams(v)
	}
	for _, l := range strings.Split(get("Content-Language"), ",") {
		if l = clip(strings.TrimSpace(l), 64); l != "" && len(p.Language) < maxParams {
			p.Language = append(p.Language, l)
		}
	}
	return p
}

// mediaType returns a type of the form a/b, or an empty one.
func mediaType(v string) (string, map[string]string) {
	t, params := parseParams(v)
	major, minor, ok := strings.Cut(t, "/")
	if !ok || !isToken(major) || !isToken(minor) {
		return "", nil
	}
	return t, params
}

// parseParams reads a value with parameters (RFC 2045 section 5.1, RFC 2231). Of
// a malformed one it keeps the value, and the boundary if there is one: without
// that the whole message would be unreadable. What lies beyond maxValue is not read.
func parseParams(v string) (string, map[string]string) {
	v = v[:min(len(v), maxValue)]
	t, params, err := mime.ParseMediaType(recodeParams(v))
	if err != nil {
		t, _, _ = strings.Cut(v, ";")
		t = strings.ToLower(strings.TrimSpace(t))
		params = nil
		if at := boundaryParam.FindStringIndex(v); at != nil {
			b := v[at[1]:]
			if q, ok := strings.CutPrefix(b, `"`); ok {
				b, _, _ = strings.Cut(q, `"`)
			} else {
				b, _, _ = strings.Cut(b, ";")
			}
			if b = strings.TrimSpace(b); b != "" {
				params = map[string]string{"boundary": b}
			}
		}
	}
	clean := make(map[string]string, min(len(params), maxParams))
	for name, val := range params {
		if len(clean) < maxParams || name == "boundary" {
			if name != "boundary" {
				val = decodeText(val) // RFC 2047 words here are wrong, and common
			}
			clean[clip(name, 64)] = clip(val, maxText)
		}
	}
	if len(clean) == 0 {
		clean = nil
	}
	return clip(t, 128), clean
}

// recodeParams puts parameters of RFC 2231 into UTF-8, since the standard library
// drops those in another charset. One that is cut into several is left as it is.
func recodeParams(v string) string {
	if !strings.Contains(v, "*=") {
		return v
	}
	return encodedParam.ReplaceAllStringFunc(v, func(p string) string {
		m := encodedParam.FindStringSubmatch(p)
		raw, err := url.PathUnescape(m[3])
		if err != nil || strings.EqualFold(m[2], "utf-8") {
			return p
		}
		r, err := message.CharsetReader(m[2], strings.NewReader(raw))
		if err != nil {
			return p
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return p
		}
		return fmt.Sprintf("%s*=utf-8''%%%s", m[1], strings.ReplaceAll(fmt.Sprintf("% X", text), " ", "%"))
	})
}

var encodedParam = regexp.MustCompile(`([A-Za-z0-9_-]+)\*=([A-Za-z0-9_.:-]+)'[A-Za-z0-9-]*'([^;\s"]*)`)

var boundaryParam = regexp.MustCompile(`(?i)\bboundary\s*=\s*`)

// isToken follows RFC 2045 section 5.1.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
