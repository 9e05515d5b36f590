package imap

import (
	"errors"
	"io"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-message/charset"
)

// A searchFix rewrites the lines of one SEARCH command where the library would
// misread them, and keeps what it would not tell the session.
type searchFix struct {
	text int // how many of the next words are a key's strings

	// charset is the one that the client's strings are in, where the library does
	// not know it. The line then says UTF-8.
	charset string
	// saveOnly is set for RETURN (SAVE), which has no other answer than the tagged
	// one (RFC 9051 section 6.4.4). The library takes it for RETURN (ALL SAVE).
	saveOnly bool
}

// first rewrites the first line of a command, of which words words come before
// the search program. literal says that the line ends in a literal's
// announcement, which is cut off already.
func (f *searchFix) first(line string, words int, literal bool) string {
	*f = searchFix{}
	var out strings.Builder
	take := func() string {
		var word string
		word, line = cutWord(line)
		return word
	}
	for range words {
		out.WriteString(take())
	}
	word := take()
	if key(word) == "RETURN" && strings.HasPrefix(line, "(") {
		end := strings.IndexByte(line, ')') + 1
		f.saveOnly = strings.EqualFold(strings.Join(strings.Fields(strings.Trim(line[:end], "()")), " "), "SAVE")
		out.WriteString(word + line[:end])
		rest := strings.TrimLeft(line[end:], " ")
		out.WriteString(line[end : len(line)-len(rest)])
		line = rest
		word = take()
	}
	if key(word) == "CHARSET" && line != "" {
		out.WriteString(word)
		word = take()
		name := strings.Trim(word, `" `)
		if u := strings.ToUpper(name); name != "" && u != "UTF-8" && u != "US-ASCII" {
			f.charset = name
			word = "UTF-8" + word[len(strings.TrimRight(word, " ")):]
		}
		out.WriteString(word)
		word = ""
	}
	out.WriteString(f.next(word+line, literal))
	return out.String()
}

// next rewrites a line of the search program.
//
// It makes NOT NOT SMALLER n of the key SMALLER n, which means the same: the
// library's SearchCriteria.And forgets a SMALLER when any date or LARGER follows
// it in the same list; a key below NOT has a list of its own. SMALLER 0, which
// the library takes for no condition, becomes NOT ALL.
func (f *searchFix) next(line string, literal bool) string {
	var out strings.Builder
	for len(line) > 0 {
		var word string
		word, line = cutWord(line)
		open := word[:len(word)-len(strings.TrimLeft(word, "( "))]
		switch k := key(word); {
		case k == "":
		case f.text > 0:
			f.text--
		case k == "SMALLER":
			n, rest := cutWord(line)
			if digits := strings.TrimRight(n, ") "); digits != "" && strings.Trim(digits, "0") == "" {
				word, line = open+"NOT ALL"+n[len(digits):], rest
				break
			}
			word = open + "NOT NOT " + word[len(open):]
		default:
			f.text = stringsOf[k]
		}
		out.WriteString(word)
	}
	if literal && f.text > 0 {
		f.text--
	}
	return out.String()
}

// searchFix returns what the wire did to the SEARCH that is being carried out.
func (w *wire) searchFix() searchFix {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.search
}

// decodeCriteria puts the client's strings into UTF-8. It fails with BADCHARSET
// (RFC 9051 section 6.4.4) for a charset that is not known.
func decodeCriteria(name string, c *goimap.SearchCriteria) error {
	if name == "" {
		return nil
	}
	decode := func(s *string) error {
		r, err := charset.Reader(name, strings.NewReader(*s))
		if err == nil {
			var b []byte
			b, err = io.ReadAll(r)
			*s = string(b)
		}
		if err != nil {
			return no(goimap.ResponseCodeBadCharset+" (UTF-8 US-ASCII)", "This charset is not known")
		}
		return nil
	}
	if err := decode(new(string)); err != nil { // also where there is no string
		return err
	}
	var all func(c *goimap.SearchCriteria) error
	all = func(c *goimap.SearchCriteria) error {
		var errs []error
		for i := range c.Header {
			errs = append(errs, decode(&c.Header[i].Value))
		}
		for i := range c.Body {
			errs = append(errs, decode(&c.Body[i]))
		}
		for i := range c.Text {
			errs = append(errs, decode(&c.Text[i]))
		}
		for i := range c.Not {
			errs = append(errs, all(&c.Not[i]))
		}
		for i := range c.Or {
			errs = append(errs, all(&c.Or[i][0]), all(&c.Or[i][1]))
		}
		return errors.Join(errs...)
	}
	return all(c)
}

// key returns the search key that a word may be.
func key(word string) string { return strings.ToUpper(strings.Trim(word, "() ")) }

// stringsOf says how many strings a search key takes (RFC 9051 section 6.4.4);
// they could read SMALLER as well.
var stringsOf = map[string]int{
	"BCC": 1, "BODY": 1, "CC": 1, "FROM": 1, "HEADER": 2,
	"KEYWORD": 1, "SUBJECT": 1, "TEXT": 1, "TO": 1, "UNKEYWORD": 1,
}

// cutWord splits a line after its first word and the spaces that follow it. A
// quoted string is part of a word.
func cutWord(line string) (word, rest string) {
	quoted := false
	i := 0
	for ; i < len(line); i++ {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == '\\' && quoted:
			i++
		case line[i] == ' ' && !quoted:
			for i < len(line) && line[i] == ' ' {
				i++
			}
			return line[:i], line[i:]
		}
	}
	return line, ""
}
