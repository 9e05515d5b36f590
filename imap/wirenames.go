package imap

import (
	"bytes"
	"strings"
)

// After ENABLE IMAP4rev2 or UTF8=ACCEPT, folder names are UTF-8 and an ampersand
// is one (RFC 9051 section 5.1, RFC 6855 section 3). The library reads and writes
// modified UTF-7 all the same, in which an ampersand is "&-"; these two put
// the one in the place of the other. A name that comes as a literal is not
// reached.

// names says which commands have folder names in their arguments.
var names = map[string]bool{
	"SELECT": true, "EXAMINE": true, "CREATE": true, "DELETE": true, "RENAME": true, "SUBSCRIBE": true, "UNSUBSCRIBE": true,
	"LIST": true, "LSUB": true, "STATUS": true, "COPY": true, "MOVE": true, "UID COPY": true, "UID MOVE": true, "APPEND": true,
}

// escapeNames prepares a line of a command for the library. Its first words
// words are no arguments.
func escapeNames(verb, line string, words int) string {
	if !names[verb] || !strings.Contains(line, "&") {
		return line
	}
	head := ""
	for range words {
		word, rest := cutWord(line)
		head, line = head+word, rest
	}
	tail := ""
	if verb == "APPEND" { // keywords may have an ampersand, too
		if words == 0 {
			return head + line
		}
		line, tail = cutWord(line)
	}
	return head + strings.ReplaceAll(line, "&", "&-") + tail
}

// unescapeNames corrects a response of the library, which it writes in one piece.
func unescapeNames(verb string, p []byte) []byte {
	if names[verb] && (bytes.HasPrefix(p, []byte("* LIST ")) || bytes.HasPrefix(p, []byte("* LSUB ")) || bytes.HasPrefix(p, []byte("* STATUS "))) {
		return bytes.ReplaceAll(p, []byte("&-"), []byte("&"))
	}
	return p
}
