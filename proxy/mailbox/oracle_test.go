package mailbox

import "bytes"

// What follows is the tree as it is defined, read from a message that is all in
// memory: a multipart is cut at its delimiters, and each span is looked at by
// itself. The parser, which sees each byte once, is compared with it.

type oracle struct {
	raw   []byte
	parts []Part
}

// oracleStructure reads the tree of raw.
func oracleStructure(raw []byte) *Structure {
	p := &oracle{raw: raw}
	p.entity(0, len(raw), -1, 0, "text/plain")
	s := &Structure{Format: FormatVersion, Size: int64(len(raw)), Parts: p.parts}
	if n := p.parts[0].Body; n <= maxHeader {
		s.Header = raw[:n:n]
	}
	return s
}

// headerEnd returns where the body begins: after the first blank line, at the
// end if there is none, at once if the first line is no header field.
func headerEnd(b []byte) int {
	for at := 0; at < len(b); {
		n := bytes.IndexByte(b[at:], '\n') + 1
		if n == 0 {
			n = len(b) - at
		}
		line := bytes.TrimRight(b[at:at+n], "\r\n")
		if len(line) == 0 {
			return at + n
		}
		if i := bytes.IndexByte(line, ':'); at == 0 && !bytes.HasPrefix(line, []byte("From ")) &&
			(i <= 0 || !validFieldName(bytes.TrimRight(line[:i], " \t"))) {
			return 0
		}
		at += n
	}
	return len(b)
}

// entity parses raw[start:end] as header and body, and returns its index.
func (p *oracle) entity(start, end, parent, depth int, defaultType string) int {
	body := start + headerEnd(p.raw[start:end])
	most := maxParsed
	if parent >= 0 {
		most = maxPartHeader
	}
	fields := parsedFields(p.raw[start:min(body, start+most)])
	part := parsePart(fields, defaultType)
	part.Parent, part.Start, part.Body, part.End = parent, int64(start), int64(body), int64(end)
	part.Lines = int64(bytes.Count(p.raw[body:end], []byte("\n")))
	i := len(p.parts)
	p.parts = append(p.parts, part)
	if !part.IsMultipart() && !part.IsMessage() {
		return i
	}
	if depth >= maxDepth || len(p.parts) >= maxParts {
		p.opaque(i)
		return i
	}
	if part.IsMessage() {
		inner := p.entity(body, end, i, depth+1, "text/plain")
		envelope := parseEnvelope(parsedFields(p.raw[body:min(int(p.parts[inner].Body), body+maxPartHeader)]))
		envelope.Text = nil // only the message's own is searched by it
		p.parts[i].Envelope = &envelope
		return i
	}
	childType := "text/plain"
	if part.Subtype == "digest" {
		childType = "message/rfc822" // RFC 2046 section 5.1.5
	}
	spans := splitMultipart(p.raw, body, end, part.Params["boundary"])
	if len(spans) == 0 {
		// A multipart without parts: its body is shown as text.
		p.parts = append(p.parts, Part{
			Parent: i, Type: "text", Subtype: "plain", Lines: part.Lines,
			Start: int64(body), Body: int64(body), End: int64(end),
		})
		return i
	}
	for _, span := range spans {
		if len(p.parts) >= maxParts {
			// What is left is one opaque part.
			p.parts = append(p.parts, Part{
				Parent: i, Type: "application", Subtype: "octet-stream",
				Start: int64(span[0]), Body: int64(span[0]), End: int64(spans[len(spans)-1][1]),
			})
			break
		}
		p.entity(span[0], span[1], i, depth+1, childType)
	}
	return i
}

// opaque makes part i a leaf.
func (p *oracle) opaque(i int) {
	p.parts[i].Type, p.parts[i].Subtype, p.parts[i].Params = "application", "octet-stream", nil
}

// splitMultipart returns the spans of the parts in raw[start:end] (RFC 2046
// section 5.1.1). The line break before a delimiter belongs to the delimiter. A
// missing closing delimiter is supplied by the end. After maxParts parts, the
// last one returned holds all that is left.
func splitMultipart(raw []byte, start, end int, boundary string) [][2]int {
	if boundary == "" {
		return nil
	}
	delim := []byte("--" + boundary)
	var spans [][2]int
	open := -1 // where the current part began
	for at := start; at < end; {
		n := bytes.IndexByte(raw[at:end], '\n') + 1
		if n == 0 {
			n = end - at
		}
		rest, ok := bytes.CutPrefix(raw[at:at+n], delim)
		if ok {
			rest, closing := bytes.CutPrefix(rest, []byte("--"))
			if len(bytes.TrimRight(rest, " \t\r\n")) == 0 || closing {
				if open >= 0 {
					spans = append(spans, [2]int{open, max(open, beforeBreak(raw, open, at))})
				}
				open = at + n
				if closing {
					return spans
				}
				if len(spans) >= maxParts {
					break // entity makes what is left one part
				}
			}
		}
		at += n
	}
	if open >= 0 && open < end {
		spans = append(spans, [2]int{open, end})
	}
	return spans
}

// beforeBreak returns at less the line break that precedes it.
func beforeBreak(raw []byte, from, at int) int {
	if at > from && raw[at-1] == '\n' {
		at--
		if at > from && raw[at-1] == '\r' {
			at--
		}
	}
	return at
}

// oracleWireSize is what raw measures when each of its lines ends in CRLF, as POP3
// sends and counts it (RFC 1939 section 11).
func oracleWireSize(raw []byte) int64 {
	n := int64(len(raw))
	for at := 0; ; {
		i := bytes.IndexByte(raw[at:], '\n')
		if i < 0 {
			break
		}
		if at+i == 0 || raw[at+i-1] != '\r' {
			n++
		}
		at += i + 1
	}
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		n += 2
	}
	return n
}
