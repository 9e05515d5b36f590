package archive

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"mailproxy/proxy/mailbox"
)

// maxLevel is the longest name of a file in bytes, with room for an ending: systems
// take 255.
const maxLevel = 200

// reserved are names that Windows keeps for itself, whatever follows a dot, and those
// that a Maildir has for its own.
var reserved = map[string]bool{"con": true, "prn": true, "aux": true, "nul": true, "cur": true, "new": true, "tmp": true}

// endings are those of files here: a folder's name has none of them.
var endings = []string{mboxEnding, partEnding, thunderbirdEnding, ".msf"}

// names gives folders the paths of files. Each level of a folder's name is one of the
// path, in which what some system does not take is written as %XX, and so is the first
// letter where two names differ only in their case. A name that is too long is cut,
// and told from others by a sum.
type names struct {
	given map[string]string // from the folder's levels up to here to the file's
	taken map[string]bool   // paths in lower case
}

func newNames() *names {
	return &names{given: make(map[string]string), taken: make(map[string]bool)}
}

// path returns the path of a folder's file, with slashes and without an ending.
func (n *names) path(folder string) string {
	path, upTo := "", ""
	for i, level := range strings.Split(folder, mailbox.Delimiter) {
		if i > 0 {
			path, upTo = path+"/", upTo+mailbox.Delimiter
		}
		upTo += level
		file, ok := n.given[upTo]
		for escape := 0; !ok; escape++ {
			file = fileName(level, escape)
			lower := strings.ToLower(path + file)
			if ok = !n.taken[lower]; ok {
				n.taken[lower], n.given[upTo] = true, file
			}
		}
		path += file
	}
	return path
}

// fileName returns the name of a file for one level of a folder's name; escape is how
// many of the first runes are escaped whatever they are.
func fileName(level string, escape int) string {
	base, _, _ := strings.Cut(strings.ToLower(level), ".")
	if reserved[base] || len(base) == 4 && (base[:3] == "com" || base[:3] == "lpt") {
		escape = max(escape, 1)
	}
	dot := -1 // of an ending
	for _, e := range endings {
		if strings.HasSuffix(strings.ToLower(level), e) {
			dot = len(level) - len(e)
		}
	}
	normal := norm.NFC.IsNormalString(level)
	var b strings.Builder
	n := 0
	for at, r := range level {
		size := utf8.RuneLen(r)
		last := at+size == len(level)
		plain := r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_+@,()&=", r)) ||
			r >= utf8.RuneSelf && normal && (unicode.IsLetter(r) || unicode.IsDigit(r)) ||
			(r == ' ' || r == '.') && at > 0 && !last && at != dot
		if n++; plain && n > escape {
			b.WriteRune(r)
			continue
		}
		for _, c := range []byte(level[at : at+size]) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	s := b.String()
	if len(s) <= maxLevel {
		return s
	}
	cut := maxLevel - 10
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	if i := strings.LastIndexByte(s[:cut], '%'); i > cut-3 {
		cut = i
	}
	return fmt.Sprintf("%s~%x", s[:cut], sha256.Sum256([]byte(fmt.Sprint(level, escape))))[:cut+9]
}

// folderLevel is the way back, for a name that any program may have given.
func folderLevel(file string) string {
	var b []byte
	for i := 0; i < len(file); i++ {
		var c byte
		if file[i] == '%' && i+2 < len(file) {
			if _, err := fmt.Sscanf(file[i+1:i+3], "%02X", &c); err == nil && fmt.Sprintf("%02X", c) == file[i+1:i+3] {
				b = append(b, c)
				i += 2
				continue
			}
		}
		b = append(b, file[i])
	}
	// Some systems take names apart into letters and accents.
	if s := string(b); norm.NFC.IsNormalString(file) || !utf8.ValidString(s) {
		return s
	}
	return norm.NFC.String(string(b))
}
