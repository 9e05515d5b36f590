package pop3

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

var errSyntax = errors.New("syntax error")

// A command is one line of a client.
type command struct {
	verb string // upper case
	arg  string // all that follows the first space
}

// parseCommand reads a line without its CRLF (RFC 1939 section 3): a keyword of
// three or four letters and printable arguments.
func parseCommand(line []byte) (command, error) {
	if !utf8.Valid(line) {
		return command{}, errSyntax
	}
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return command{}, errSyntax
		}
	}
	verb, arg, _ := strings.Cut(string(line), " ")
	if len(verb) < 3 || len(verb) > 4 {
		return command{}, errSyntax
	}
	for i := range len(verb) {
		if c := verb[i] | 0x20; c < 'a' || c > 'z' {
			return command{}, errSyntax
		}
	}
	return command{verb: strings.ToUpper(verb), arg: arg}, nil
}

// numbers reads the arguments as want message numbers or line counts.
func (c command) numbers(want int) ([]int, error) {
	fields := strings.Fields(c.arg)
	if len(fields) != want {
		return nil, errSyntax
	}
	list := make([]int, want)
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 31)
		if err != nil {
			return nil, errSyntax
		}
		list[i] = int(n)
	}
	return list, nil
}
