package mailbox

import (
	"bytes"
	"math"
	"mime"
	netmail "net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // decodes header fields in old charsets
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"
	"golang.org/x/text/encoding/charmap"
)

// Bounds on what is kept of a header, so that no mail makes a record that cannot
// be written or read back. What lies beyond is still in the message itself.
const (
	maxAddresses = 256       // of one field
	maxMsgIDs    = 64        // of In-Reply-To
	maxText      = 4 << 10   // bytes of one decoded field
	maxHeader    = 64 << 10  // bytes of the header kept in the index
	maxFields    = 1000      // of one header that are parsed
	maxValue     = 16 << 10  // bytes of Content-Type and Content-Disposition that are parsed
	maxParams    = 32        // of Content-Type and Content-Disposition
	maxRecord    = 512 << 10 // bytes of a Structure or an Envelope
)

// An Address is one mailbox of an address field (RFC 5322 section 3.4), decoded
// to UTF-8. A group of addresses begins with one that has its name as Mailbox and
// no Host, and ends with one that is empty (RFC 9051 section 7.5.2).
type Address struct {
	Name    string `cbor:"1,keyasint,omitempty"`
	Mailbox string `cbor:"2,keyasint,omitempty"`
	Host    string `cbor:"3,keyasint,omitempty"`
}

// An Envelope is what IMAP's ENVELOPE and a search of the common fields need,
// decoded to UTF-8. Fields that cannot be parsed are empty or hold their text in
// a Name.
type Envelope struct {
	HasDate   bool      `cbor:"1,keyasint,omitempty"`
	Date      int64     `cbor:"2,keyasint,omitempty"` // Unix seconds
	Zone      int       `cbor:"3,keyasint,omitempty"` // seconds east of UTC
	Subject   string    `cbor:"4,keyasint,omitempty"`
	From      []Address `cbor:"5,keyasint,omitempty"`
	Sender    []Address `cbor:"6,keyasint,omitempty"`
	ReplyTo   []Address `cbor:"7,keyasint,omitempty"`
	To        []Address `cbor:"8,keyasint,omitempty"`
	Cc        []Address `cbor:"9,keyasint,omitempty"`
	Bcc       []Address `cbor:"10,keyasint,omitempty"`
	InReplyTo []string  `cbor:"11,keyasint,omitempty"` // without angle brackets
	MessageID string    `cbor:"12,keyasint,omitempty"` // without angle brackets

	// Text holds the decoded text of the fields that are searched most (From,
	// To, Cc, Bcc; Subject is above), by canonical name. A field is missing where
	// the message has none, or where its text was too long to keep: Clipped says
	// that there is one of those.
	Text    map[string]string `cbor:"13,keyasint,omitempty"`
	Clipped bool              `cbor:"14,keyasint,omitempty"`
}

// Time returns the Date field in its own zone, or the zero time.
func (e *Envelope) Time() time.Time {
	if !e.HasDate {
		return time.Time{}
	}
	return time.Unix(e.Date, 0).In(time.FixedZone("", e.Zone))
}

// searched are the fields whose text an Envelope keeps.
var searched = []string{"From", "To", "Cc", "Bcc"}

// A Field is one header field: its name as written, and its value unfolded.
type Field struct {
	Name  string
	Value string
	// Raw is the field as it came, its line endings included.
	Raw []byte
}

// Text returns the value with RFC 2047 words decoded, as valid UTF-8.
func (f Field) Text() string { return decodeText(f.Value) }

// Fields splits a header into its fields, in order. Lines that are no field (an
// mbox "From " line, garbage) belong to none and are left out.
func Fields(header []byte) []Field { return split(header, math.MaxInt, nil) }

// parsed are the fields of which a Part and an Envelope are made, in lower case.
var parsed = map[string]bool{
	"content-type": true, "content-id": true, "content-description": true, "content-transfer-encoding": true,
	"content-location": true, "content-disposition": true, "content-language": true,
	"date": true, "subject": true, "from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true,
	"in-reply-to": true, "message-id": true,
}

// parsedFields returns those fields, maxFields of them at most. A stranger's header may
// have hundreds of thousands, and so may each of a message's parts: what is not read
// must cost no more than to look for the next line.
func parsedFields(header []byte) []Field {
	var lower [len("content-transfer-encoding")]byte
	return split(header, maxFields, func(name []byte) bool {
		if len(name) > len(lower) {
			return false
		}
		for i, c := range name {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			lower[i] = c
		}
		return parsed[string(lower[:len(name)])]
	})
}

// split returns the first fields of a header, those that want takes; nil takes all.
func split(header []byte, most int, want func(name []byte) bool) []Field {
	var fields []Field
	open := false // the last line seen belonged to the last of fields
	for len(header) > 0 {
		n := bytes.IndexByte(header, '\n') + 1
		if n == 0 {
			n = len(header)
		}
		line := header[:n]
		header = header[n:]
		if line[0] == ' ' || line[0] == '\t' {
			if open {
				f := &fields[len(fields)-1]
				f.Raw = f.Raw[:len(f.Raw)+n] // the lines lie side by side
			}
			continue
		}
		i := bytes.IndexByte(line, ':')
		name := bytes.TrimRight(line[:max(i, 0)], " \t")
		open = validFieldName(name) && (want == nil || want(name))
		if open && len(fields) == most {
			break
		}
		if open {
			fields = append(fields, Field{Name: string(name), Raw: line[:n:cap(line)]})
		}
	}
	for i := range fields {
		f := &fields[i]
		f.Raw = f.Raw[:len(f.Raw):len(f.Raw)]
		_, v, _ := bytes.Cut(f.Raw, []byte(":"))
		f.Value = unfold(v)
	}
	return fields
}

// validFieldName follows RFC 5322 section 3.6.8: printable ASCII, no colon.
func validFieldName(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return len(b) > 0
}

// unfold removes the line breaks of a folded value (RFC 5322 section 2.2.3).
func unfold(v []byte) string {
	v = bytes.ReplaceAll(v, []byte("\r\n"), nil)
	v = bytes.ReplaceAll(v, []byte("\n"), nil)
	v = bytes.ReplaceAll(v, []byte("\r"), []byte(" "))
	return string(bytes.TrimSpace(v))
}

var words = mime.WordDecoder{CharsetReader: message.CharsetReader}

// decodeText also takes 8-bit characters that nobody declared: for UTF-8 (RFC
// 6532) if they can be, else for the charset that old programs of the West used.
func decodeText(s string) string {
	if !utf8.ValidString(s) {
		if t, err := charmap.Windows1252.NewDecoder().String(s); err == nil {
			s = t
		}
	}
	if t, err := words.DecodeHeader(s); err == nil {
		s = t
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// clip shortens s to at most n bytes of whole characters.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// header gives the fields to go-message, which parses the values.
func goHeader(fields []Field) mail.Header {
	var h textproto.Header
	for i := len(fields) - 1; i >= 0; i-- { // Add puts a field on top
		h.Add(fields[i].Name, fields[i].Value)
	}
	return mail.Header{Header: message.Header{Header: h}}
}

// parseEnvelope never fails: what it does not understand it leaves out.
func parseEnvelope(fields []Field) Envelope {
	h := goHeader(fields)
	e := Envelope{
		Subject:   decodeText(h.Get("Subject")),
		From:      addresses(h, "From"),
		Sender:    addresses(h, "Sender"),
		ReplyTo:   addresses(h, "Reply-To"),
		To:        addresses(h, "To"),
		Cc:        addresses(h, "Cc"),
		Bcc:       addresses(h, "Bcc"),
		InReplyTo: msgIDs(h.Get("In-Reply-To"), maxMsgIDs),
	}
	if len(e.Subject) > maxText {
		e.Subject, e.Clipped = clip(e.Subject, maxText), true
	}
	if ids := msgIDs(h.Get("Message-ID"), 1); len(ids) > 0 {
		e.MessageID = ids[0]
	}
	// Years outside 1-9999 cannot be written as a date again.
	if t, err := netmail.ParseDate(h.Get("Date")); err == nil && t.Year() > 0 && t.Year() < 10000 {
		_, zone := t.Zone()
		e.HasDate, e.Date, e.Zone = true, t.Unix(), zone
	}
	for _, name := range searched {
		var parts []string
		n := 0
		for fs := h.FieldsByKey(name); fs.Next(); {
			parts = append(parts, decodeText(fs.Value()))
			n += len(parts[len(parts)-1])
		}
		switch {
		case n > maxText:
			e.Clipped = true
		case len(parts) > 0:
			if e.Text == nil {
				e.Text = make(map[string]string)
			}
			e.Text[name] = strings.Join(parts, "\n")
		}
	}
	return e
}

// msgIDs returns at most n message ids of a field, without angle brackets. It
// takes what lies between them as it is: ids in the wild follow no grammar, and
// all that is done with one is to compare it.
func msgIDs(v string, n int) []string {
	var ids []string
	for len(ids) < n {
		_, rest, ok := strings.Cut(v, "<")
		if !ok {
			break
		}
		id, after, ok := strings.Cut(rest, ">")
		if !ok {
			break
		}
		if id = NormalMessageID(id); id != "" {
			ids = append(ids, id)
		}
		v = after
	}
	if v = NormalMessageID(v); len(ids) == 0 && v != "" && !strings.ContainsAny(v, " \t<>") {
		ids = append(ids, v)
	}
	return ids
}

// NormalMessageID returns a Message-ID as the index compares it: without angle
// brackets and surrounding space, at most maxText bytes, valid UTF-8.
func NormalMessageID(id string) string {
	return clip(strings.Trim(strings.TrimSpace(id), "<>"), maxText)
}
