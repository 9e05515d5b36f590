package imap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// line reads up to and with the next line feed and returns it without its line
// ending. Of a line of more than limit bytes it returns only both ends, and long.
func (w *wire) line(limit int) (line string, long bool, err error) {
	var b []byte
	total := 0
	for {
		part, err := w.br.ReadSlice('\n')
		total += len(part)
		b = append(b, part...)
		if total > limit+2 {
			from := min(lineStart, len(b))
			b = slices.Delete(b, from, max(from, len(b)-lineEnd))
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", false, err
		}
		if total > maxDiscard {
			return "", true, w.bye("The line does not end")
		}
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), total > limit+2, nil
}

// lineStart bytes are enough to see a line's tag, lineEnd bytes to see that it
// ends in a literal's announcement.
const (
	lineStart = maxTag + 1
	lineEnd   = 64
)

// command reads the first line of a command.
func (w *wire) command() error {
	line, long, err := w.line(maxCommand)
	if err != nil {
		return err
	}
	tag, rest, ok := strings.Cut(line, " ")
	verb, args, _ := strings.Cut(rest, " ")
	if !ok || !isTag(tag) {
		tag = "*"
	}
	switch {
	case long:
		return w.invalid(tag, line, fmt.Sprintf("The command has more than %d bytes", maxCommand))
	case tag == "*" || !isName(verb):
		return w.invalid(tag, line, "Syntax error: a command is a tag, a space and a name")
	}
	verb = strings.ToUpper(verb)
	if sub, _, _ := strings.Cut(args, " "); verb == "UID" {
		if !isName(sub) {
			return w.invalid(tag, line, "Syntax error: UID is followed by a command's name")
		}
		verb += " " + strings.ToUpper(sub)
	}
	w.mu.Lock()
	w.tag, w.verb, w.asked, w.lit, w.search = tag, verb, false, literal{}, searchFix{}
	authed := w.authed
	w.mu.Unlock()
	w.size = len(line)
	if verb == "STARTTLS" {
		switch {
		case w.secure:
			return w.invalid(tag, line, "TLS is in use already")
		case args != "":
			return w.invalid(tag, line, "Syntax error: STARTTLS has no arguments")
		case w.s.o.TLS != nil && !authed:
			return w.startTLS(tag)
		}
	}
	if !balanced(line) || strings.ContainsRune(line, 0) {
		return w.invalid(tag, line, "Syntax error in the arguments")
	}
	w.bad = 0
	return w.hand(line, true)
}

// invalid answers BAD to a line that the library is not shown.
func (w *wire) invalid(tag, line, text string) error {
	if err := w.say("%s BAD %s", tag, text); err != nil {
		return err
	}
	if unread(line) {
		return w.bye("The literal cannot be told from commands")
	}
	if w.bad++; w.bad >= maxBadCommands {
		return w.bye("Too many invalid commands")
	}
	return nil
}

// unread reports whether a literal follows the line unasked.
func unread(line string) bool {
	_, _, nonSync, ok := cutLiteral(line)
	return ok && nonSync
}

// hand gives the library a line of a command, with its literal's announcement if
// it ends in one.
func (w *wire) hand(line string, first bool) error {
	head, size, nonSync, ok := cutLiteral(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	words := 0 // of the line that are no arguments
	if first {
		words = 2 + strings.Count(w.verb, " ")
	}
	came := len(head)
	switch {
	case w.verb != "SEARCH" && w.verb != "UID SEARCH":
		if w.utf8 {
			head = escapeNames(w.verb, head, words)
		}
	case first:
		head = w.search.first(head, words, ok)
	default:
		head = w.search.next(head, ok)
	}
	if grown := len(head) - came; grown > 0 {
		if w.size += grown; w.size > maxCommand {
			head = poison
			if first {
				head = w.tag + " " + w.verb + " " + poison
			}
		}
	}
	line = head // where there is no literal
	if !ok {
		w.state = stateCommand
		if w.verb == "AUTHENTICATE" || w.verb == "IDLE" {
			w.state = stateAnswer
		}
		w.out = []byte(line + "\r\n")
		return nil
	}
	w.state = stateLiteral
	w.lit = literal{size: size, nonSync: nonSync}
	// The first argument of APPEND is a name, which may be a literal as well.
	w.lit.message = w.verb == "APPEND" && !(first && strings.Count(strings.TrimRight(head, " "), " ") == 1)
	w.lit.paren = w.lit.message && strings.HasSuffix(head, "(~")
	if !w.lit.message && size > maxString {
		w.out = []byte(head + poison + "\r\n")
		return nil
	}
	w.out = fmt.Appendf(nil, "%s{%d}\r\n", head, size)
	return nil
}

// rest reads what follows a literal.
func (w *wire) rest(verb string, lit literal) error {
	line, long, err := w.line(maxCommand - min(w.size, maxCommand))
	if err != nil {
		return err
	}
	w.size += len(line)
	end := ""
	if lit.paren {
		end = ")"
	}
	if lit.message && strings.TrimSuffix(line, " ") != end {
		// The library has stored the message by now and would answer nothing, or
		// BAD. A second literal (MULTIAPPEND, which is not announced) must not look
		// stored.
		return w.bye("APPEND takes one message, and nothing after it")
	}
	if long || !balanced(line) || strings.ContainsRune(line, 0) {
		if unread(line) {
			return w.bye("The literal cannot be told from commands")
		}
		w.set(stateCommand)
		w.out = []byte(poison + "\r\n")
		return nil
	}
	return w.hand(line, false)
}

// answer reads the client's line after a continuation request.
func (w *wire) answer(verb string) error {
	line, long, err := w.line(maxAnswer)
	if err != nil {
		return err
	}
	if verb == "IDLE" {
		// What is not DONE ends IDLE just the same: the library would go on
		// without waiting for the session's answer.
		w.set(stateCommand)
		w.out = []byte("DONE\r\n")
		if long || !strings.EqualFold(line, "DONE") {
			return w.say("* BAD Expected DONE")
		}
		return nil
	}
	w.set(stateAnswer) // a mechanism may ask more than once
	if long {
		line = "*" // cancels (RFC 9051 section 6.2.2)
	}
	w.out = []byte(line + "\r\n")
	return nil
}

// drain reads and drops a refused literal and the rest of its command.
func (w *wire) drain(size int64) error {
	defer func(library time.Time) { w.deadline = library }(w.deadline)
	for range maxLiterals {
		if size > maxDrain {
			return w.bye("The literal is too large")
		}
		for size > 0 {
			w.deadline = time.Now().Add(handshakeTimeout)
			n, err := io.CopyN(io.Discard, w.br, min(size, 1<<20))
			if err != nil {
				return err
			}
			size -= n
		}
		line, long, err := w.line(maxCommand)
		if err != nil {
			return err
		}
		var nonSync, ok bool
		if _, size, nonSync, ok = cutLiteral(line); long || !ok || !nonSync {
			return nil // a client sends a synchronizing literal only when asked
		}
	}
	return w.bye("Too many literals")
}

// isTag follows the tag rule of RFC 9051 section 9, less ], which the library
// does not take.
func isTag(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\+]`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxTag
}

const maxTag = 256 // bytes

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// cutLiteral splits a line before the {n} or {n+} at its end.
func cutLiteral(line string) (head string, size int64, nonSync, ok bool) {
	body, ok := strings.CutSuffix(line, "}")
	i := strings.LastIndexByte(body, '{')
	if !ok || i < 0 {
		return line, 0, false, false
	}
	digits, nonSync := strings.CutSuffix(body[i+1:], "+")
	for j := range len(digits) {
		if digits[j] < '0' || digits[j] > '9' {
			return line, 0, false, false
		}
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	if digits == "" {
		return line, 0, false, false
	}
	if err != nil {
		size = 1<<63 - 1 // more than anybody takes
	}
	return body[:i], size, nonSync, true
}

// balanced reports whether every quoted string ends: the library reads one
// across lines, and so would take the next commands for its text.
func balanced(line string) bool {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == '\\' && quoted:
			i++
		}
	}
	return !quoted
}
