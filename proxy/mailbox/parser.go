package mailbox

import "bytes"

// Bounds on what the parser holds of a message.
const (
	// maxLine is how many bytes a delimiter, and the name of a header field, may
	// have: a longer line is text. RFC 5322 section 2.1.1 allows 998.
	maxLine = 16 << 10
	// maxParsed is how many bytes of a message's header are looked at, and
	// maxPartHeader of that of a part of it, of which there may be maxParts.
	maxParsed     = 1 << 20
	maxPartHeader = 128 << 10
)

// A parser finds the MIME tree of a message that is written to it in pieces of any
// size, and its size on the wire. It holds no more of it than a header and a line.
// It never fails: what is no MIME, or malformed, is text.
//
// All parts that have not ended are in open. A line may be a delimiter of any of
// the multiparts among them, of which the outermost counts: it ends all within.
type parser struct {
	parts  []Part
	open   []entity
	header []byte // of the message, or as much of it as is kept

	at    int64  // where the current line begins
	lines int64  // line feeds before it
	brk   int64  // bytes of the line break before it
	line  []byte // what there is of the current line, while it was not taken
	long  bool   // the current line was taken, with more of it to come
	size  int64  // bytes of the current line
	last  byte   // of it

	bare int64 // line feeds without a CR before them
}

// An entity is a part that has not ended.
type entity struct {
	part        int
	defaultType string
	inHeader    bool
	first       bool   // the next line is the first of the header
	header      []byte // at most maxParsed or maxPartHeader bytes
	lines       int64  // line feeds before the body

	// Of a multipart:
	delimiter []byte // "--" and the boundary; nil if it has none, or has had its last
	childType string
	next      int64 // where the last delimiter ended; -1 before the first and after the last
	child     int   // the part that began there; 0 if none did yet
	children  int
	rest      int // the part that stands for all that are too many; 0 if there is none
}

func newParser() *parser {
	p := &parser{}
	p.push(-1, 0, "text/plain")
	return p
}

// push begins a part.
func (p *parser) push(parent int, start int64, defaultType string) {
	p.open = append(p.open, entity{part: len(p.parts), defaultType: defaultType, inHeader: true, first: true, next: -1})
	p.parts = append(p.parts, Part{Parent: parent, Start: start})
}

func (p *parser) top() *entity { return &p.open[len(p.open)-1] }

// Write implements io.Writer; it never fails.
func (p *parser) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		piece := b
		if !p.long {
			piece = b[:min(len(b), maxLine+1-len(p.line))]
		}
		i := bytes.IndexByte(piece, '\n')
		if i >= 0 {
			piece = piece[:i+1]
		}
		b = b[len(piece):]
		ended := i >= 0
		before := p.last
		if len(piece) > 1 {
			before = piece[len(piece)-2]
		}
		p.size += int64(len(piece))
		p.last = piece[len(piece)-1]
		switch {
		case p.long:
			p.keep(piece)
		case ended && len(p.line) == 0 && len(piece) <= maxLine:
			p.take(piece)
		default:
			p.line = append(p.line, piece...)
			if p.long = len(p.line) > maxLine; ended || p.long {
				p.take(p.line)
			}
		}
		if ended {
			p.brk = 2
			if before != '\r' {
				p.brk = 1
				p.bare++
			}
			p.lines++
			p.endLine()
		}
	}
	return n, nil
}

func (p *parser) endLine() {
	p.at += p.size
	p.size, p.long, p.line, p.last = 0, false, p.line[:0], 0
}

// take looks at a line, or at the beginning of a long one.
func (p *parser) take(line []byte) {
	if !p.long && p.delimited(line) {
		return
	}
	if e := p.top(); e.next >= 0 && e.child == 0 {
		p.begin(len(p.open)-1, e.next)
	}
	for p.top().inHeader {
		e := p.top()
		if !p.long && len(bytes.TrimRight(line, "\r\n")) == 0 {
			p.keep(line)
			p.endHeader(p.at+int64(len(line)), p.lines+1)
			return
		}
		if !e.first || isFieldLine(line) {
			e.first = false
			p.keep(line)
			return
		}
		// The line is no header field, so that it is of the body; which may be a
		// message, of whose header it could be the first.
		p.endHeader(p.at, p.lines)
	}
}

// isFieldLine reports whether line can be the first of a header: a field, or what
// mbox files have there.
func isFieldLine(line []byte) bool {
	if bytes.HasPrefix(line, []byte("From ")) {
		return true
	}
	i := bytes.IndexByte(bytes.TrimRight(line, "\r\n"), ':')
	return i > 0 && validFieldName(bytes.TrimRight(line[:i], " \t"))
}

// keep adds to the header that is being read, if there is one.
func (p *parser) keep(b []byte) {
	if e := p.top(); e.inHeader {
		most := maxParsed
		if e.part > 0 {
			most = maxPartHeader
		}
		e.header = append(e.header, b[:min(len(b), most-len(e.header))]...)
	}
}

// delimited deals with a line that is a delimiter (RFC 2046 section 5.1.1). The line
// break before it belongs to it.
func (p *parser) delimited(line []byte) bool {
	if len(line) < 2 || line[0] != '-' || line[1] != '-' {
		return false
	}
	for i := range p.open {
		e := &p.open[i]
		rest, ok := bytes.CutPrefix(line, e.delimiter)
		if !ok || e.delimiter == nil {
			continue
		}
		rest, closing := bytes.CutPrefix(rest, []byte("--"))
		if !closing && len(bytes.TrimRight(rest, " \t\r\n")) > 0 {
			continue
		}
		if e.next >= 0 {
			if e.child == 0 {
				p.begin(i, e.next) // of no bytes
				e = &p.open[i]
			}
			end, lines := p.at, p.lines
			if end > e.next {
				end -= p.brk
				lines--
			}
			p.close(i+1, end, lines)
			e = &p.open[i]
			if e.rest > 0 {
				p.parts[e.rest].End = end
			}
		}
		e.next, e.child = p.at+int64(len(line)), 0
		if closing {
			e.next, e.delimiter = -1, nil
		}
		return true
	}
	return false
}

// begin begins a part of the multipart open[i]. What is too much is all one part.
func (p *parser) begin(i int, at int64) {
	e := &p.open[i]
	e.child = len(p.parts)
	switch {
	case e.rest > 0:
	case len(p.parts) >= maxParts:
		e.rest = len(p.parts)
		e.children++
		p.parts = append(p.parts, Part{Parent: e.part, Type: "application", Subtype: "octet-stream", Start: at, Body: at, End: at})
	default:
		e.children++
		p.push(e.part, at, e.childType)
	}
}

// endHeader ends the header of the innermost part: its body begins at body, with
// so many line feeds before it.
func (p *parser) endHeader(body, lines int64) {
	e := p.top()
	fields := parsedFields(e.header)
	part := &p.parts[e.part]
	parent, start := part.Parent, part.Start
	*part = parsePart(fields, e.defaultType)
	part.Parent, part.Start, part.Body = parent, start, body
	if parent < 0 {
		p.header = e.header
	} else if p.parts[parent].IsMessage() {
		envelope := parseEnvelope(fields)
		envelope.Text = nil // only the message's own is searched by it
		p.parts[parent].Envelope = &envelope
	}
	e.inHeader, e.header, e.lines = false, nil, lines
	switch {
	case !part.IsMultipart() && !part.IsMessage():
	case len(p.open) > maxDepth || len(p.parts) >= maxParts:
		part.Type, part.Subtype, part.Params = "application", "octet-stream", nil
	case part.IsMessage():
		p.push(e.part, body, "text/plain")
	default:
		e.childType = "text/plain"
		if part.Subtype == "digest" {
			e.childType = "message/rfc822" // RFC 2046 section 5.1.5
		}
		if boundary := part.Params["boundary"]; boundary != "" {
			e.delimiter = []byte("--" + boundary)
		}
	}
}

// close ends open[depth] and all within it at end, with so many line feeds before.
func (p *parser) close(depth int, end, lines int64) {
	for len(p.open) > depth {
		e := p.top()
		if e.inHeader {
			p.endHeader(end, lines) // which may begin a message
			continue
		}
		part := &p.parts[e.part]
		// A blank line that belongs to the delimiter ended the header.
		part.Start, part.Body, part.End = min(part.Start, end), min(part.Body, end), end
		part.Lines = max(lines-e.lines, 0)
		if part.IsMultipart() {
			p.closeMultipart(e, end)
		}
		p.open = p.open[:len(p.open)-1]
	}
}

// closeMultipart ends a multipart that something around it ended.
func (p *parser) closeMultipart(e *entity, end int64) {
	switch {
	case e.next < 0 || e.child == 0:
	case e.next < end:
		if e.rest > 0 {
			p.parts[e.rest].End = end
		}
	case e.rest == 0:
		// After its last delimiter there is nothing.
		p.parts = p.parts[:e.child]
		e.children--
	}
	if e.children == 0 {
		// A multipart without parts: its body is shown as text.
		part := p.parts[e.part]
		p.parts = append(p.parts, Part{
			Parent: e.part, Type: "text", Subtype: "plain", Lines: part.Lines,
			Start: part.Body, Body: part.Body, End: part.End,
		})
	}
}

// finish ends the message. It returns the tree, and what the message measures when
// each of its lines ends in CRLF, as POP3 sends and counts it (RFC 1939 section 11).
func (p *parser) finish() (s *Structure, wireSize int64) {
	if len(p.line) > 0 && !p.long {
		p.take(p.line)
	}
	wireSize = p.at + p.size + p.bare
	if p.size > 0 {
		wireSize += 2
	}
	p.endLine()
	p.close(0, p.at, p.lines)
	s = &Structure{Format: FormatVersion, Size: p.at, Parts: p.parts}
	if n := p.parts[0].Body; n <= maxHeader {
		s.Header = p.header[:n:n]
	}
	return s, wireSize
}

// opaque returns s as it is kept where it would be too large to keep: one part.
func (s *Structure) opaque() *Structure {
	top := s.Parts[0]
	return &Structure{Format: s.Format, Size: s.Size, Header: s.Header, Parts: []Part{{
		Parent: -1, Type: "text", Subtype: "plain", Body: top.Body, End: top.End, Lines: top.Lines,
	}}}
}
