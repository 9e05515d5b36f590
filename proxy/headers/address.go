package headers

import (
	"io"
	"mime"
	"net/mail"
	"strings"
)

// parser reads addresses whatever the character set of a name: names are dropped.
var parser = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(string, io.Reader) (io.Reader, error) { return strings.NewReader("?"), nil },
}}

// addresses returns the addresses in a list (RFC 5322 section 3.4), without names,
// comments and group names, each once. Where the list cannot be read as a whole,
// its elements are tried one by one; those that cannot be read are dropped, since
// what in them is a name and what an address cannot be told, and counted in bad.
func addresses(list string) (out []string, bad int) {
	list = strings.ToValidUTF8(list, "\uFFFD")
	if strings.TrimSpace(list) == "" {
		return nil, 0
	}
	parsed, err := parser.ParseList(list)
	if err != nil {
		parsed, bad = elements(list)
	}
	seen := make(map[string]bool)
	for _, a := range parsed {
		if !printable(a.Address) {
			bad++
		} else if !seen[a.Address] {
			seen[a.Address] = true
			out = append(out, a.Address)
		}
	}
	return out, bad
}

// elements reads what it can of a list that is not well formed.
func elements(list string) (out []*mail.Address, bad int) {
	for _, e := range splitList(list) {
		if strings.TrimSpace(e) == "" {
			continue
		}
		a, err := parser.Parse(e)
		if err != nil {
			// Between angle brackets there can be an address only, after a
			// route perhaps (RFC 5322 section 4.4).
			_, angle, ok := strings.Cut(e, "<")
			angle, _, closed := strings.Cut(angle, ">")
			if !ok || !closed {
				bad++
				continue
			}
			if a, err = parser.Parse(angle[strings.LastIndexByte(angle, ':')+1:]); err != nil {
				bad++
				continue
			}
		}
		out = append(out, a)
	}
	return out, bad
}

// splitList cuts a list at commas and semicolons outside of quotes, comments and
// brackets, and drops the names of groups.
func splitList(list string) []string {
	var out []string
	start, depth := 0, 0
	quoted, angle := false, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '\\' && (quoted || depth > 0):
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == '<' || c == '[':
			angle = true
		case c == '>' || c == ']':
			angle = false
		case angle:
		case c == ',' || c == ';':
			out = append(out, list[start:i])
			start = i + 1
		case c == ':':
			start = i + 1
		}
	}
	return append(out, list[start:])
}

// printable reports whether an address can stand in a header: without control
// characters, and without what replaced bytes that are no UTF-8.
func printable(addr string) bool {
	return !strings.ContainsFunc(addr, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' })
}

// bare writes an address without name and, where it can be, without brackets.
func bare(addr string) string {
	s := (&mail.Address{Address: addr}).String()
	return strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
}
