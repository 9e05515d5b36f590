package headers

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// A field is one header field, folding kept.
type field struct {
	name string // as written
	key  string // in lower case
	// lines are what follows the colon, one for each line, without line endings;
	// lines after the first begin with white space. None but the first is blank.
	lines []string
}

// value returns the field's value, unfolded (RFC 5322 section 2.2.3).
func (f *field) value() string { return strings.TrimSpace(strings.Join(f.lines, "")) }

// A flaw is a line of a header that belongs to no field.
type flaw struct {
	line   int // from 1
	reason string
}

// split takes a message apart. Where the header has a flaw, the fields before it
// are returned and rest begins with the line it is in; else rest is the body.
//
// A line ends with LF. What other programs might take for the end of a line or of
// the header is made harmless in fields: a CR alone, NUL, vertical tab and form
// feed become spaces, continuation lines of nothing but white space are dropped.
func split(msg []byte) (fields []field, rest []byte, bad *flaw) {
	rest = msg
	for n := 1; len(rest) > 0; n++ {
		line, after := cutLine(rest)
		switch {
		case line == "":
			return fields, after, nil
		case line[0] == ' ' || line[0] == '\t':
			if len(fields) == 0 {
				return fields, rest, &flaw{n, "begins with white space but continues no field"}
			}
			if strings.Trim(line, " \t") != "" {
				f := &fields[len(fields)-1]
				f.lines = append(f.lines, line)
			}
		case n == 1 && isMbox(line):
			// Left behind by a program that keeps mail in mbox files.
		default:
			f, reason := parseField(line)
			if reason != "" {
				return fields, rest, &flaw{n, reason}
			}
			fields = append(fields, f)
		}
		rest = after
	}
	return fields, nil, nil
}

// cutLine returns the first line of b, cleaned, and what follows it.
func cutLine(b []byte) (line string, rest []byte) {
	raw, rest, _ := bytes.Cut(b, []byte{'\n'})
	raw = bytes.TrimSuffix(raw, []byte{'\r'})
	if !bytes.ContainsAny(raw, "\r\x00\v\f") {
		return string(raw), rest
	}
	clean := bytes.Clone(raw)
	for i, c := range clean {
		if c == '\r' || c == 0 || c == '\v' || c == '\f' {
			clean[i] = ' '
		}
	}
	return string(clean), rest
}

func parseField(line string) (f field, reason string) {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return f, "has no colon"
	}
	name = strings.TrimRight(name, " \t") // RFC 5322 section 4.5 allows it to be read
	if name == "" {
		return f, "has no field name"
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' {
			return f, "has a field name with a character it may not have"
		}
	}
	return field{name: name, key: strings.ToLower(name), lines: []string{value}}, ""
}

// isMbox reports whether line is the separator of an mbox file (RFC 4155), and not
// a From field with white space before its colon.
func isMbox(line string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(line, ">"), "From ")
	return ok && !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ":")
}

// appendCRLF appends b to dst with every LF that follows no CR made CRLF.
func appendCRLF(dst, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return append(dst, b...)
		}
		dst = append(dst, b[:i]...)
		if i == 0 || b[i-1] != '\r' {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
		b = b[i+1:]
	}
}

// bufferSize is how much of a message is held while it passes, in bytes.
const bufferSize = 32 << 10

// readHeader reads the header of a message and the blank line behind it. Of one that
// is larger than MaxHeader it returns the whole lines before that, and in over what it
// has read beyond them; else over is nil.
func readHeader(r *bufio.Reader) (head, over []byte, err error) {
	for start := 0; ; {
		part, err := r.ReadSlice('\n')
		head = append(head, part...)
		switch {
		case len(head) > MaxHeader:
			return head[:start], head[start:], nil
		case errors.Is(err, io.EOF):
			return head, nil, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, nil, err
		}
		if line := head[start:]; len(line) == 1 || len(line) == 2 && line[0] == '\r' {
			return head, nil, nil
		}
		start = len(head)
	}
}

// A crlfReader reads what in yields with every LF that follows no CR made CRLF. What
// it yields goes to see, and at its end it calls done.
type crlfReader struct {
	in   *bufio.Reader
	see  io.Writer
	done func()

	out []byte // to be returned next
	buf []byte // that out is a part of
	cr  bool   // the last byte was CR
}

func (c *crlfReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.out) == 0 {
		// What is buffered, so that a slow message passes as it comes.
		if _, err := c.in.Peek(1); err != nil {
			if err == io.EOF && c.done != nil {
				c.done()
				c.done = nil
			}
			return 0, err
		}
		b, err := c.in.Peek(c.in.Buffered())
		if err != nil {
			return 0, err
		}
		c.buf = c.buf[:0]
		if b[0] == '\n' && c.cr {
			c.buf, b = append(c.buf, '\n'), b[1:]
		}
		c.buf = appendCRLF(c.buf, b)
		c.out, c.cr = c.buf, c.buf[len(c.buf)-1] == '\r'
		if _, err := c.in.Discard(c.in.Buffered()); err != nil {
			return 0, err
		}
		if _, err := c.see.Write(c.buf); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}
