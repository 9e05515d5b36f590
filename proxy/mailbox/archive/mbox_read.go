package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"mailproxy/proxy/mailbox"
)

// fromDate finds the date in a line that begins a message. Programs have written it
// in several ways: with and without the zone, before or after the year.
var fromDate = regexp.MustCompile(`(?i)\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +(\d{1,2}) +(\d{1,2}):(\d{2})(?::(\d{2}))?(?: +([A-Z]{1,5}|[+-]\d{4}))?(?: +[A-Z]{1,5})? +(\d{4})(?: +([+-]\d{4}))?\s*$`)

// parseFrom reads a line that begins a message; ok is false if it is none: text that
// begins with "From ".
func parseFrom(line []byte) (date time.Time, ok bool) {
	if !bytes.HasPrefix(line, []byte("From ")) {
		return date, false
	}
	m := fromDate.FindSubmatch(line)
	if m == nil {
		return date, false
	}
	n := func(i int) int { v, _ := strconv.Atoi(string(m[i])); return v } // an empty one is 0
	month, _ := time.Parse("Jan", strings.ToUpper(string(m[1][:1]))+strings.ToLower(string(m[1][1:])))
	zone := time.UTC
	for _, i := range []int{6, 8} {
		if s := string(m[i]); len(s) == 5 && (s[0] == '+' || s[0] == '-') {
			v, _ := strconv.Atoi(s)
			zone = time.FixedZone("", v/100*3600+v%100*60)
		}
	}
	return time.Date(n(7), month.Month(), n(2), n(3), n(4), n(5), 0, zone), true
}

// ReadMbox reads an mbox and calls fn for each message, which has no folder yet. file
// is what Skipped call it. An error of fn ends it.
func ReadMbox(r io.Reader, file string, fn func(*Message) error) ([]Skipped, error) {
	b := &mboxReader{in: bufio.NewReaderSize(r, 1<<16), file: file, blank: true}
	for {
		line, err := b.line()
		if err != nil && err != io.EOF {
			return b.skipped, fmt.Errorf("read %s: %w", file, err)
		}
		if len(line) == 0 {
			return b.skipped, b.finish(fn)
		}
		if bytes.HasPrefix(line, []byte("From ")) {
			if err := b.from(line, fn); err != nil {
				return b.skipped, err
			}
			continue
		}
		b.add(line)
	}
}

type mboxReader struct {
	in      *bufio.Reader
	file    string
	skipped []Skipped

	at    int  // number of the line that was read last
	long  bool // it was longer than any message
	blank bool // the line before the next one is blank, or there is none

	open  bool // a message is being read
	large bool // it is too large
	begin int  // its first line
	date  time.Time
	body  []byte
	stray bool // lines before the first message were reported

	expunged bool // the message was, by Thunderbird
}

func (b *mboxReader) skip(line int, format string, args ...any) {
	b.skipped = append(b.skipped, Skipped{File: b.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// line returns the next line with its line feed, of at most MaxMessage bytes.
func (b *mboxReader) line() ([]byte, error) {
	var line []byte
	b.at++
	b.long = false
	for {
		piece, err := b.in.ReadSlice('\n')
		if len(line)+len(piece) > MaxMessage {
			b.long = true
		} else {
			line = append(line, piece...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// from takes a line that begins with "From ".
func (b *mboxReader) from(line []byte, fn func(*Message) error) error {
	date, ok := parseFrom(line)
	switch {
	case ok && (b.blank || !b.open):
		if err := b.finish(fn); err != nil {
			return err
		}
		b.open, b.begin, b.date, b.blank = true, b.at, date, false
		return nil
	case ok:
		b.skip(b.at, "this line begins like a message, but none is before it that is blank; it is taken for text")
	case b.blank && b.open:
		b.skip(b.at, "this line begins with \"From \" and has no date; it is taken for text")
	}
	b.add(line)
	return nil
}

// add adds a line to the message.
func (b *mboxReader) add(line []byte) {
	b.blank = len(bytes.TrimRight(line, "\r\n")) == 0
	if !b.open {
		if !b.blank && !b.stray {
			b.stray = true
			b.skip(b.at, "this is not the beginning of a message, which is a line with \"From \" and a date; what is before the first one is left out")
		}
		return
	}
	if quoted(line) && line[0] == '>' {
		line = line[1:]
	}
	if b.large = b.large || b.long || len(b.body)+len(line) > MaxMessage; b.large {
		b.body = nil
		return
	}
	b.body = append(b.body, line...)
}

// finish ends the message that is being read, if there is one.
func (b *mboxReader) finish(fn func(*Message) error) error {
	if !b.open {
		return nil
	}
	body := b.body
	large := b.large
	b.open, b.large, b.body = false, false, nil
	if large {
		b.skip(b.begin, "the message that begins here has more than %d MiB", MaxMessage>>20)
		return nil
	}
	if b.blank { // the line that ends each message is not its own
		body = bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r"))
	}
	m := &Message{Date: b.date, Body: body}
	if own, ok := b.unmark(m); ok {
		return fn(own)
	}
	if b.strip(m) {
		return fn(m)
	}
	return nil
}

// mark is what markField says.
type mark struct {
	lines, end string
	fields     int
	date       time.Time
}

func parseMark(line []byte) (m mark, ok bool) {
	v, ok := strings.CutPrefix(strings.TrimRight(string(line), "\r\n"), markField+": ")
	if !ok {
		return m, false
	}
	version := ""
	for _, item := range strings.Split(v, "; ") {
		name, value, _ := strings.Cut(item, "=")
		var err error
		switch name {
		case "v":
			version = value
		case "lines":
			m.lines = value
		case "end":
			m.end = value
		case "fields":
			m.fields, err = strconv.Atoi(value)
		case "date":
			m.date, err = time.Parse(time.RFC3339, value)
		}
		if err != nil {
			return m, false
		}
	}
	return m, version == "1" && (m.lines == linesCRLF || m.lines == linesRaw) && (m.end == "open" || m.end == "closed") &&
		m.fields >= 0 && m.fields < 64 && !m.date.IsZero()
}

// unmark gets a message back that we wrote; ok is false for one of another program,
// or where another program has changed the fields with the flags.
func (b *mboxReader) unmark(m *Message) (own *Message, ok bool) {
	line, rest := cutLine(m.Body)
	k, ok := parseMark(line)
	if !ok {
		return nil, false
	}
	own = &Message{Date: k.date}
	for range k.fields {
		line, rest = cutLine(rest)
		if !b.status(own, line) {
			return nil, false
		}
	}
	if k.end == "open" {
		rest, ok = bytes.CutSuffix(rest, []byte("\n"))
		if !ok {
			return nil, false
		}
	}
	own.Flags, _ = cleanFlags(own.Flags) // bad ones were reported by status
	own.Body = unlines(k.lines, rest)
	return own, true
}

func cutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i+1], b[i+1:]
	}
	return b, nil
}

// cleanFlags keeps the flags that a message can have, and returns the others.
func cleanFlags(flags []string) (good, bad []string) {
	for _, f := range flags {
		if more, err := mailbox.CleanFlags(append(good[:len(good):len(good)], f)); err == nil {
			good = more
		} else {
			bad = append(bad, f)
		}
	}
	return good, bad
}

// expungedByThunderbird is set in X-Mozilla-Status of a message that was deleted and
// is only still in the file.
const expungedByThunderbird = 0x0008

// status takes the flags from a field in which mail programs keep them; false if it is
// none.
func (b *mboxReader) status(m *Message, line []byte) bool {
	name, value, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), ":")
	if !ok {
		return false
	}
	value = strings.TrimSpace(value)
	set := func(letters string, flags ...string) {
		for i, f := range flags {
			if strings.IndexByte(value, letters[i]) >= 0 {
				m.Flags = append(m.Flags, f)
			}
		}
	}
	switch strings.ToLower(name) {
	case "status":
		set("R", mailbox.FlagSeen)
	case "x-status":
		set("AFTD", mailbox.FlagAnswered, mailbox.FlagFlagged, mailbox.FlagDraft, mailbox.FlagDeleted)
	case "x-keywords", "x-mozilla-keys":
		good, bad := cleanFlags(strings.Fields(value))
		m.Flags = append(m.Flags, good...)
		if len(bad) > 0 {
			b.skip(b.begin, "the message that begins here has keywords that cannot be kept: %q", bad)
		}
	case "x-mozilla-status":
		bits, err := strconv.ParseUint(value, 16, 16)
		if err != nil {
			return true
		}
		for bit, f := range map[uint64]string{1: mailbox.FlagSeen, 2: mailbox.FlagAnswered, 4: mailbox.FlagFlagged} {
			if bits&bit != 0 {
				m.Flags = append(m.Flags, f)
			}
		}
		b.expunged = bits&expungedByThunderbird != 0
	case "x-mozilla-status2", "content-length", strings.ToLower(markField):
	default:
		return false
	}
	return true
}

// strip takes the fields with flags out of the header of a message that another
// program wrote. It returns false for one that is not to be read.
func (b *mboxReader) strip(m *Message) bool {
	var out []byte
	b.expunged = false
	rest := m.Body
	for len(rest) > 0 {
		line, after := cutLine(rest)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		rest = after
		if line[0] == ' ' || line[0] == '\t' || !b.status(m, line) {
			out = append(out, line...)
		}
	}
	if b.expunged {
		b.skip(b.begin, "the message that begins here was deleted in Thunderbird, and is only still in the file")
		return false
	}
	m.Body = foreign(append(out, rest...))
	m.Flags, _ = cleanFlags(m.Flags)
	return true
}
