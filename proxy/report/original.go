package report

import (
	"bufio"
	"bytes"
	"regexp"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"
)

// An original is what a report says about the message that it is about. Fields
// that the message lacks, or that cannot be read, are empty.
type original struct {
	messageID string // with angle brackets
	subject   string // one clean line
	date      time.Time
	header    []byte // with CRLF line endings, without the empty line
}

// messageIDForm is narrower than RFC 5322: what goes into our header must be
// printable and without spaces, and no longer than a line.
var messageIDForm = regexp.MustCompile(`^<[!-;=?-~]{1,400}>$`)

func parseOriginal(msg []byte) original {
	var o original
	o.header = headerOf(msg)
	h, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(append(o.header[:len(o.header):len(o.header)], "\r\n"...))))
	if err != nil {
		return o // a malformed header is still returned as it is
	}
	m := mail.Header{Header: message.Header{Header: h}}
	if id := m.Get("Message-Id"); messageIDForm.MatchString(id) {
		o.messageID = id
	}
	subject, err := m.Subject()
	if err != nil {
		subject = m.Get("Subject") // an unknown charset: show it as it came
	}
	o.subject = limit(clean(subject), 300)
	if d, err := m.Date(); err == nil {
		o.date = d
	}
	return o
}

// headerOf returns the lines of msg before its first empty line with CRLF endings,
// as many as fit into maxHeader. Control characters become "?", and what is not
// UTF-8 the replacement character.
func headerOf(msg []byte) []byte {
	var out []byte
	for line := range bytes.Lines(msg[:min(len(msg), 2*maxHeader)]) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 || len(out)+len(line)+2 > maxHeader {
			break
		}
		line = bytes.Map(func(c rune) rune {
			if c < ' ' && c != '\t' || c == 0x7f {
				return '?'
			}
			return c
		}, line)
		out = append(append(out, line...), "\r\n"...)
	}
	return out
}

// returned is the part with the original, or with its header.
func (r *Report) returned(o original) part {
	if r.Whole && len(r.Original) <= MaxWhole {
		p := part{mediaType: "message/rfc822", description: "Your message", body: r.Original}
		if !isASCII(o.header) {
			p.mediaType = "message/global" // RFC 6533 section 3, RFC 6532
		}
		// No other encoding may be used for these types (RFC 2046 section 5.2.1).
		switch {
		case bytes.IndexByte(r.Original, 0) >= 0 || longestLine(r.Original) > 998 || bareEndings(r.Original):
			p.encoding = "binary"
		case !isASCII(r.Original):
			p.encoding = "8bit"
		default:
			p.encoding = "7bit"
		}
		return p
	}
	p := part{mediaType: "text/rfc822-headers", encoding: "7bit", description: "The header of your message", body: o.header}
	if !isASCII(o.header) {
		p.mediaType, p.encoding = "message/global-headers", "8bit"
	}
	if longestLine(o.header) > 998 {
		p.encoding = "quoted-printable"
	}
	return p
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c > 0x7f {
			return false
		}
	}
	return true
}

func longestLine(b []byte) int {
	longest := 0
	for line := range bytes.Lines(b) {
		longest = max(longest, len(bytes.TrimRight(line, "\r\n")))
	}
	return longest
}

// bareEndings reports whether CR or LF stands alone somewhere.
func bareEndings(b []byte) bool {
	pairs := bytes.Count(b, []byte("\r\n"))
	return bytes.Count(b, []byte("\r")) != pairs || bytes.Count(b, []byte("\n")) != pairs
}
