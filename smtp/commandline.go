package smtp

import (
	"bytes"
	"strconv"
)

// A commandLine counts the bytes of a client's commands as they are read, since the
// library's limit on a line has to be far above that of a command: it holds for bodies
// as well.
type commandLine struct {
	n     int      // bytes of the current line so far
	head  [32]byte // its beginning
	chunk int64    // bytes of a BDAT chunk that are still to come
}

// take reports whether all lines are within maxCommand after b, which is not of a body
// that follows DATA.
func (l *commandLine) take(b []byte) bool {
	for len(b) > 0 {
		if l.chunk > 0 {
			n := min(l.chunk, int64(len(b)))
			b, l.chunk = b[n:], l.chunk-n
			continue
		}
		part, ended := b, false
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			part, ended = b[:i+1], true
		}
		b = b[len(part):]
		if l.n < len(l.head) {
			copy(l.head[l.n:], part)
		}
		if l.n += len(part); l.n > maxCommand {
			return false
		}
		if ended {
			// The chunk follows whether or not the command is taken.
			l.chunk = chunkSize(l.head[:min(l.n, len(l.head))])
			l.n = 0
		}
	}
	return true
}

// chunkSize returns how many bytes follow a line that is BDAT (RFC 3030 section 2), and
// 0 for any other.
func chunkSize(line []byte) int64 {
	words := bytes.Fields(line)
	if len(words) < 2 || !bytes.EqualFold(words[0], []byte("BDAT")) {
		return 0
	}
	n, err := strconv.ParseUint(string(words[1]), 10, 32) // as the library does
	if err != nil {
		return 0
	}
	return int64(n)
}
