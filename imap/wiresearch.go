package imap

import "strings"

// guardSmaller rewrites the search key SMALLER n as NOT NOT SMALLER n, which
// means the same. The library's SearchCriteria.And forgets a SMALLER when any
// date or LARGER follows it in the same list; a key below NOT has a list of its
// own. line is one line of a SEARCH, with quoted strings that end.
func guardSmaller(line string) string {
	if !strings.Contains(strings.ToUpper(line), "SMALLER") {
		return line
	}
	var out strings.Builder
	text := 0 // how many of the next words are a key's strings
	for len(line) > 0 {
		word, rest := cutWord(line)
		line = rest
		open := word[:len(word)-len(strings.TrimLeft(word, "( "))]
		key := strings.ToUpper(strings.TrimRight(word[len(open):], ") "))
		switch {
		case key == "":
		case text > 0:
			text--
		case key == "SMALLER":
			word = open + "NOT NOT " + word[len(open):]
		default:
			text = stringsOf[key]
		}
		out.WriteString(word)
	}
	return out.String()
}

// stringsOf says how many strings a search key takes (RFC 9051 section 6.4.4);
// they could read SMALLER as well.
var stringsOf = map[string]int{
	"BCC": 1, "BODY": 1, "CC": 1, "CHARSET": 1, "FROM": 1, "HEADER": 2,
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
